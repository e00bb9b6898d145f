"""The real monit over a job of two processes, with the real logrotate at their logs meanwhile."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpm import Environment
from tests.cli.conftest import CommandLine, bpm
from tests.conftest import BoshRoot

__all__ = ["bpm"]

MISSING = [tool for tool in ("monit", "logrotate") if shutil.which(tool) is None]

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {' '.join(MISSING)} (apt-get install monit logrotate)"),
]

RESTARTS = 20
PROCESSES = ("web", "worker")

# As on a BOSH VM.
DESCRIPTORS = 1024

CONFIG = """
processes:
- name: web
  executable: /var/vcap/jobs/web/bin/server
  args: [web]
  ephemeral_disk: true
- name: worker
  executable: /var/vcap/jobs/web/bin/server
  args: [worker]
  ephemeral_disk: true
"""

# Numbered lines, under a lock that whoever rotates the log holds meanwhile: what is written between copytruncate's copy
# and its truncation would be lost, whoever wrote it. Two copies of one process would both want the other lock.
SERVER = """#!/bin/bash
exec 8>>"$HOME/$1.only" 9>>"$HOME/rotation"
run=$(date +%s%N)
flock -n 8 || { echo "$run second"; exit 1; }
trap 'ending=1; touch "$HOME/$1.ends"' TERM
say() { flock -s 9; echo "$run $*"; flock -u 9; }
n=0
while [ -z "$ending" ]; do say $n; n=$((n + 1)); sleep 0.02; done
sleep 0.4
say end $n
"""

# The program says that it ends a while before it does. Where none runs, there is only a stop that ends at once.
RESTART = """#!/bin/sh
rm -f {ends}
{tool} stop web -p {name} &
while [ ! -e {ends} ] && kill -0 $!; do sleep 0.01; done
{tool} start web -p {name}
wait
"""


class Monit:
    """monit in the foreground, with a control file of its own."""

    def __init__(self, root: BoshRoot, tool: Path) -> None:
        self.directory = root.path / "monit"
        self.directory.mkdir(mode=0o700)
        self.control = self.directory / "monitrc"
        self.control.write_text(self._describe(root, tool))
        self.control.chmod(0o600)
        self.process = subprocess.Popen(
            ["monit", "-I", "-c", str(self.control)],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
        )

    def _describe(self, root: BoshRoot, tool: Path) -> str:
        directory = self.directory
        lines = [
            "set daemon 1",
            f"set log {directory}/log",
            f"set pidfile {directory}/pid",
            f"set idfile {directory}/id",
            f"set statefile {directory}/state",
            f"set httpd unixsocket {directory}/socket allow admin:monit",
        ]
        for name in PROCESSES:
            lines += [
                f"check process {name} with pidfile {root.path}/sys/run/bpm/web/{name}.pid",
                f'  start program = "{tool} start web -p {name}" with timeout 30 seconds',
                f'  stop program = "{tool} stop web -p {name}" with timeout 30 seconds',
            ]
            if name == "web":
                lines.append(f'  restart program = "{self._write_restart(root, tool, name)}" with timeout 30 seconds')
        return "\n".join(lines) + "\n"

    def _write_restart(self, root: BoshRoot, tool: Path, name: str) -> Path:
        """A program that restarts as monit 5.2.5 does: the start begins before the stop has ended."""
        program = self.directory / "restart"
        program.write_text(RESTART.format(tool=tool, name=name, ends=f"{root.path}/data/web/{name}.ends"))
        program.chmod(0o755)
        return program

    def tell(self, *words: str) -> None:
        """Tell the daemon what to do, when it has done what it was told before."""
        end = time.monotonic() + 30
        while True:
            done = subprocess.run(
                ["monit", "-c", str(self.control), *words], capture_output=True, text=True, check=False
            )
            if done.returncode == 0:
                return
            assert time.monotonic() < end, done.stderr + self.log
            time.sleep(0.05)

    def knows(self, name: str, pid: int | None) -> bool:
        """Whether it has seen that a process runs with this pid, and has nothing to do for it any more."""
        done = subprocess.run(
            ["monit", "-c", str(self.control), "status", name], capture_output=True, text=True, check=False
        )
        said = dict(line.split(None, 1) for line in done.stdout.splitlines() if len(line.split()) == 2)
        return (said.get("status"), said.get("pid")) == ("OK", str(pid))

    @property
    def log(self) -> str:
        """What it did."""
        return (self.directory / "log").read_text()

    def end(self) -> None:
        """End it, and leave the processes alone."""
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def monit(bpm: CommandLine) -> Iterator[Monit]:
    """monit over the job ``web``, whose processes it has not started yet."""
    server = bpm.root.add_job("web", CONFIG) / "bin/server"
    server.write_text(SERVER)
    server.chmod(0o755)
    tool = bpm.root.path / "bpm"
    variables = " ".join(f"{name}={value}" for name, value in bpm.environment.items())
    tool.write_text(f'#!/bin/sh\nexec env -i {variables} {sys.executable} -m bpm "$@"\n')
    tool.chmod(0o755)
    monit = Monit(bpm.root, tool)
    try:
        yield monit
    finally:
        monit.end()


class Rotation(threading.Thread):
    """logrotate with copytruncate, again and again."""

    def __init__(self, root: BoshRoot) -> None:
        super().__init__()
        self.config = root.path / "logrotate.conf"
        self.config.write_text(
            f"{root.path}/sys/log/web/*.log {{ copytruncate\n rotate 10000\n missingok\n su root root\n }}\n"
        )
        self.config.chmod(0o644)
        self.lock = root.path / "data/web/rotation"
        self.over = threading.Event()
        self.count = 0
        self.complaints: list[str] = []

    def run(self) -> None:
        while not self.over.wait(0.3):
            with self.lock.open("a") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                state = f"{self.config}.state"
                done = subprocess.run(
                    ["logrotate", "-f", "-s", state, str(self.config)], capture_output=True, text=True, check=False
                )
            self.count += 1
            if done.returncode or done.stderr:
                self.complaints.append(done.stderr)

    def finish(self) -> None:
        """Rotate no more."""
        self.over.set()
        self.join()


def wait_for(condition: Callable[[], object], monit: Monit, what: str) -> None:
    """Wait for what monit must see to."""
    end = time.monotonic() + 40
    while not condition():
        assert time.monotonic() < end, f"{what}:\n{monit.log}"
        time.sleep(0.02)


def pids(environment: Environment) -> dict[str, int | None]:
    """The pid of each process that runs."""
    return {name: environment.process("web", name).status().pid for name in PROCESSES}


def pidfile(root: BoshRoot, name: str) -> int:
    try:
        return int((root.path / f"sys/run/bpm/web/{name}.pid").read_text())
    except FileNotFoundError:
        return 0


def is_bare(environment: Environment) -> bool:
    """Whether no process has a record or a pidfile."""
    pidfiles = (environment.layout.job("web").pidfile(name).outside for name in PROCESSES)
    return not environment.records.ids() and not any(map(os.path.exists, pidfiles))


def lines_of(root: BoshRoot, name: str) -> list[str]:
    """All that was ever written to a log, over all its rotations, in order."""
    directory = root.path / "sys/log/web"
    rotated = sorted(
        directory.glob(f"{name}.*"), key=lambda path: int(path.name.removeprefix(f"{name}.")), reverse=True
    )
    return "".join(path.read_text() for path in [*rotated, directory / name]).splitlines()


def check_lines(lines: list[str], killed: int) -> int:
    """That each run's lines are all there, in order, by themselves; how many runs there were.

    Args:
        killed: How many of the runs had no chance to say that they end.
    """
    runs: dict[str, list[str]] = {}
    last = ""
    for line in lines:
        run, _, said = line.partition(" ")
        assert run == last or run not in runs, f"{run} and {last} ran at once"
        runs.setdefault(run, []).append(said)
        last = run
    ended = 0
    for run, said in runs.items():
        if said[-1].startswith("end "):
            ended += 1
            assert [*map(str, range(len(said) - 1)), f"end {len(said) - 1}"] == said, run
        else:
            assert [*map(str, range(len(said)))] == said, run
    assert killed == len(runs) - ended
    return len(runs)


@pytest.mark.timeout(400)
def test_monit_keeps_a_job_of_two_processes(bpm: CommandLine, monit: Monit) -> None:
    """monit starts both, restarts one that was killed, restarts them 20 times, and stops all.

    No line of theirs is lost meanwhile, though logrotate truncates their logs; never do two copies run.
    """
    environment = Environment(str(bpm.root.path), bpm.environment["BPM_USER"])
    wait_for(lambda: all(pids(environment).values()), monit, "both are started")
    started = pids(environment)
    limits = Path(f"/proc/{started['web']}/limits").read_text()
    assert ["Max open files", str(DESCRIPTORS), str(DESCRIPTORS)] == [
        next(line for line in limits.splitlines() if line.startswith("Max open files"))[:14],
        *next(line for line in limits.splitlines() if line.startswith("Max open files")).split()[3:5],
    ]
    rotation = Rotation(bpm.root)
    rotation.start()
    try:
        first = started["web"]
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: pids(environment)["web"] not in (None, first), monit, "the killed one is restarted")
        for number in range(RESTARTS):
            name, other = PROCESSES[number % 2], PROCESSES[1 - number % 2]
            wait_for(lambda: all(map(monit.knows, *zip(*pids(environment).items(), strict=True))), monit, "all is well")
            before = pids(environment)
            monit.tell("restart", name)
            wait_for(lambda n=name, p=before: pids(environment)[n] not in (None, p[n]), monit, f"{name} restarts")
            after = pids(environment)
            wait_for(lambda n=name: pidfile(bpm.root, n) == pids(environment)[n], monit, "the pidfile follows")
            assert before[other] == after[other]
        monit.tell("stop", "all")
        wait_for(lambda: is_bare(environment), monit, "both are stopped, and nothing is left of them")
    finally:
        rotation.finish()
    monit.end()

    assert [] == rotation.complaints
    assert rotation.count > 20
    # On a busy machine monit may find a process missing between stop and start, and start it once more.
    assert 2 + RESTARTS // 2 <= check_lines(lines_of(bpm.root, "web.stdout.log"), killed=1)
    assert 1 + RESTARTS // 2 <= check_lines(lines_of(bpm.root, "worker.stdout.log"), killed=0)
    assert ["stopped"] * 2 == [row.split()[2] for row in bpm("list").stdout.splitlines()[1:]]
    failures = [line for line in lines_of(bpm.root, "bpm.log") if json.loads(line)["level"] == "error"]
    assert [] == failures
