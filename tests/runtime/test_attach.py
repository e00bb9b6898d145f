"""Programs in the foreground: what they write arrives, signals reach them, and they never outlive the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm import JobProcess
from bpm.runtime.attach import FORWARDED, write_all
from tests.runtime.test_container import wait_for
from tests.runtime.test_environment import run_elsewhere

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]


def running_elsewhere(process: JobProcess, **keys: int) -> subprocess.Popen[bytes]:
    """A process that runs it in the foreground, and ends with its status."""
    environment = process.environment
    program = (
        "import sys, bpm\n"
        f"process = bpm.Environment({environment.root!r}, {environment.user.name!r}).process('web')\n"
        "sys.exit(process.run().status)"
    )
    return subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.DEVNULL, **keys)


def test_nothing_is_lost(web: Make):
    """Megabytes on both streams arrive in order and whole, at the caller and in the log files."""
    lines = "".join(f"{i}\n" for i in range(200_000))
    process = web("seq 0 199999 & seq 0 199999 >&2; wait")
    done = run_elsewhere(process, "")
    logs = [Path(path).read_text() for path in process.log_paths]
    assert [lines] * 4 == [done.stdout, done.stderr, *logs]


def test_the_last_words_are_kept(web: Make):
    """What is written just before death arrives."""
    done = run_elsewhere(web("echo last; kill -9 $$"), "")
    assert (137, "last\n") == (done.returncode, done.stdout)


def test_the_input_is_empty(web: Make):
    """The program reads the end of its input at once, whatever the caller's input is."""
    assert "null\n" == run_elsewhere(web("cat; readlink /proc/self/fd/0 | xargs basename"), "").stdout


def test_its_output_can_be_opened(web: Make):
    """The program's user may open /dev/stdout and /dev/stderr."""
    done = run_elsewhere(web("echo a > /dev/stdout; echo b > /dev/stderr"), "")
    assert (0, "a\n", "b\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("number", [number for number in FORWARDED if number != signal.SIGQUIT])
def test_a_signal_reaches_it(web: Make, number: int):
    """A signal to the caller reaches the program, whose end is the caller's."""
    name = signal.Signals(number).name.removeprefix("SIG")
    process = web(f"trap 'echo got {name}; exit 9' {name}; echo ready; while :; do sleep 0.01; done")
    runner = running_elsewhere(process, stdout=subprocess.DEVNULL)
    wait_for(process.log_paths[0], "ready")
    runner.send_signal(number)
    assert (9, f"ready\ngot {name}\n") == (runner.wait(10), Path(process.log_paths[0]).read_text())


def test_it_dies_with_the_caller(web: Make):
    """When the caller is killed, the program is too, and the next command clears away what is left."""
    process = web("trap '' TERM INT HUP QUIT; echo ready; while :; do sleep 0.01; done")
    runner = running_elsewhere(process, stdout=subprocess.DEVNULL)
    wait_for(process.log_paths[0], "ready")
    container = process.container()
    assert container.running
    runner.kill()
    runner.wait()
    container.wait(10)
    container.close()
    process.stop()
    assert () == process.environment.records.ids()


def test_a_caller_who_stops_listening_loses_only_itself(web: Make):
    """When the caller's output is closed, the program runs on, and its log file is whole."""
    process = web("echo first; sleep 0.2; seq 0 9999; echo end")
    reader, writer = os.pipe()
    runner = running_elsewhere(process, stdout=writer)
    os.close(writer)
    assert b"first\n" == os.read(reader, 6)
    os.close(reader)
    assert 0 == runner.wait(20)
    assert Path(process.log_paths[0]).read_text().endswith("9999\nend\n")


def test_an_orphan_does_not_hold_it(web: Make):
    """run() ends with the program, also when something in the host's pid namespace holds its output open."""
    process = web("setsid sleep 100 & echo done", "unsafe: {host_pid_namespace: true}")
    before = time.monotonic()
    done = run_elsewhere(process, "")
    assert (0, "done\n") == (done.returncode, done.stdout)
    assert time.monotonic() - before < 10


def test_handlers_are_given_back(web: Make):
    """After run() signals do what they did before, and no descriptor is left."""
    process = web("exit 0")
    reader, writer = os.pipe()
    process.run(stdout=writer, stderr=writer)
    before = [signal.getsignal(number) for number in FORWARDED], sorted(os.listdir("/proc/self/fd"))
    process.run(stdout=writer, stderr=writer)
    assert before == ([signal.getsignal(number) for number in FORWARDED], sorted(os.listdir("/proc/self/fd")))
    os.close(reader)
    os.close(writer)


def test_writing_waits():
    """What a descriptor that does not block cannot take at once is written when it can."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    data = bytes(range(256)) * 1000
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        write_all(writer, data)
        os._exit(0)
    os.close(writer)
    time.sleep(0.05)
    read = b""
    while piece := os.read(reader, 65536):
        read += piece
    os.close(reader)
    assert (data, 0) == (read, os.waitpid(pid, 0)[1])
