"""`bpm trace`: the real strace at the program of a running container."""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from bpm import Environment
from tests.cli.conftest import CommandLine

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)"),
]

BUSY = """
processes:
- name: web
  executable: /bin/bash
  args: [-c, "while :; do : > /dev/null; /bin/true; read -t 0.05 < /dev/zero; done"]
  unsafe: {host_pid_namespace: %s}
"""


@pytest.mark.parametrize("shared", ["false", "true"])
def test_it_shows_the_programs_calls(bpm: CommandLine, shared: str) -> None:
    """The program's calls and its children's are shown, not init's; interrupted, bpm exits 0, the program goes on."""
    bpm.root.add_job("web", BUSY % shared)
    assert 0 == bpm("start", "web").returncode
    with bpm.begin("trace", "web") as tracing:
        assert tracing.stderr is not None
        lines = []
        while not any("execve(" in line and "/bin/true" in line for line in lines):
            lines.append(tracing.stderr.readline().decode())
            assert tracing.poll() is None, lines
        tracing.send_signal(signal.SIGINT)
        tracing.stderr.read()
        status = tracing.wait(20)

    container = Environment(str(bpm.root.path), bpm.environment["BPM_USER"]).process("web").running()
    program = container.program
    container.close()
    assert 0 == status
    assert f"Process {program} attached" in lines[0]
    assert Path(f"/proc/{program}/cmdline").read_bytes().startswith(b"/bin/bash\0")
    assert not any("rt_sigtimedwait" in line for line in lines)
    assert "running" in bpm("list").stdout


def test_it_ends_with_the_program(bpm: CommandLine) -> None:
    """When the process is stopped, trace ends with 0."""
    bpm.root.add_job("web", BUSY % "false")
    assert 0 == bpm("start", "web").returncode
    with bpm.begin("trace", "web") as tracing:
        assert tracing.stderr is not None
        assert b"attached" in tracing.stderr.readline()
        reader = subprocess.Popen(["cat"], stdin=tracing.stderr, stdout=subprocess.DEVNULL)
        assert 0 == bpm("stop", "web").returncode
        assert 0 == tracing.wait(20)
        reader.wait()


def test_a_missing_strace_is_told(bpm: CommandLine) -> None:
    """Where there is no strace, that is the error."""
    bpm.root.add_job("web", BUSY % "false")
    assert 0 == bpm("start", "web").returncode

    done = bpm("trace", "web", PATH="/nowhere")

    assert (1, "Error: failed to trace job-process: strace is not installed\n") == (done.returncode, done.stderr)
