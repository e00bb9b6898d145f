"""start, stop and run of one process at once, and bpm killed at any instant: each ends in a state that list shows."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from bpm import Environment
from tests.cli.conftest import CommandLine
from tests.cli.test_commands import is_alive, wait_until
from tests.effort import patience, times

pytestmark = pytest.mark.needs_root

# An argument by which its processes are found.
MARK = f"{86400 + os.getpid()}"
SLEEPER = f"processes: [{{name: web, executable: /bin/sleep, args: ['{MARK}']}}]\n"

KILLS = times(100)
STARTS = times(20)


def slow_start(bpm: CommandLine) -> Path:
    """A job whose start waits in its hook until a file is made; that file."""
    gate = bpm.root.path / "gate"
    job = bpm.root.add_job(
        "web",
        f"processes: [{{name: web, executable: /bin/sleep, args: ['{MARK}'],"
        " hooks: {pre_start: /var/vcap/jobs/web/bin/hook}}]\n".replace("/var/vcap", str(bpm.root.path)),
    )
    hook = job / "bin/hook"
    hook.write_text(f"#!/bin/sh\necho in the hook\nwhile ! [ -e {gate} ]; do sleep 0.02; done\n")
    hook.chmod(0o755)
    return gate


def in_the_hook(bpm: CommandLine) -> bool:
    log = bpm.root.path / "sys/log/web/web.stdout.log"
    return log.exists() and "in the hook" in log.read_text()


def state_of(bpm: CommandLine) -> tuple[str, str]:
    """The pid and the state that list shows of ``web``."""
    done = bpm("list")
    assert (0, "") == (done.returncode, done.stderr)
    (row,) = done.stdout.splitlines()[1:]
    _, pid, state = row.split()
    return pid, state


def programs() -> list[int]:
    """The processes that are the job's."""
    found = []
    for name in os.listdir("/proc"):
        try:
            if name.isdigit() and MARK.encode() in Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0"):
                found.append(int(name))
        except OSError:
            pass
    return found


def leftovers(environment: Environment) -> list[str]:
    """What a stopped ``web`` has left: records, cgroups, processes."""
    process = environment.process("web")
    left = [name for name in os.listdir(environment.records.layout.state) if not name.startswith(".")]
    left += [d.path for d in process.plan().cgroup.directories if os.path.exists(d.path)]
    return left + [str(pid) for pid in programs()]


def test_twenty_starts_are_one(bpm: CommandLine) -> None:
    """Twenty starts at once, or as many as the host can take, all succeed; one process runs, its pid in the pidfile."""
    bpm.root.add_job("web", SLEEPER)
    starts = [bpm.begin("start", "web") for _ in range(STARTS)]
    ends = [(start.communicate(timeout=100), start.returncode) for start in starts]
    pid, state = state_of(bpm)

    assert [((b"", b""), 0)] * STARTS == ends
    assert ("running", (bpm.root.path / "sys/run/bpm/web/web.pid").read_text()) == (state, pid)
    assert 1 == len(programs())


def test_a_stop_waits_for_the_start(bpm: CommandLine) -> None:
    """A stop while a start is under way stops what that start has started."""
    gate = slow_start(bpm)
    start = bpm.begin("start", "web")
    wait_until(lambda: in_the_hook(bpm), "it is starting")
    stop = bpm.begin("stop", "web")
    time.sleep(0.5)
    between = state_of(bpm), stop.poll(), start.poll()
    gate.touch()
    ends = [(command.communicate(timeout=60), command.returncode) for command in (start, stop)]

    assert (("-", "stopped"), None, None) == between
    assert [((b"", b""), 0)] * 2 == ends
    assert ("-", "stopped") == state_of(bpm)
    assert [] == leftovers(Environment(str(bpm.root.path), bpm.environment["BPM_USER"]))


def test_a_start_waits_for_the_stop(bpm: CommandLine) -> None:
    """As `monit restart` has it: a start that begins before the stop has ended starts a new process."""
    bpm.root.add_job(
        "web",
        "processes: [{name: web, executable: /bin/bash, args: [-c, "
        f"\"trap 'sleep 0.7; exit' TERM; echo ready; while :; do sleep 0.02; done\", '{MARK}']}}]\n",
    )
    assert 0 == bpm("start", "web").returncode
    log = bpm.root.path / "sys/log/web/web.stdout.log"
    wait_until(log.read_text, "it runs")
    before, _ = state_of(bpm)
    stop = bpm.begin("stop", "web")
    wait_until(lambda: "bpm.stop.starting" in (bpm.root.path / "sys/log/web/bpm.log").read_text(), "it stops")
    start = bpm("start", "web")
    stop.communicate(timeout=60)
    pid, state = state_of(bpm)

    assert (0, 0, "running") == (start.returncode, stop.returncode, state)
    assert pid != before
    assert not is_alive(before)
    assert "ready\n" * 2 == log.read_text()


def test_a_stop_waits_for_the_errand(bpm: CommandLine) -> None:
    """While run runs, list says so, and a stop waits until it has ended by itself."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/sh, args: [-c, 'echo on; sleep 1; exit 4']}]\n")
    run = bpm.begin("run", "web")
    assert run.stdout is not None
    assert b"on\n" == run.stdout.readline()
    _, state = state_of(bpm)
    done = bpm("stop", "web")
    run.communicate(timeout=60)

    assert ("running", 0, 4) == (state, done.returncode, run.returncode)
    assert ("-", "stopped") == state_of(bpm)


def test_a_start_during_an_errand_waits(bpm: CommandLine) -> None:
    """A start while run runs begins when that has ended, so never two run."""
    bpm.root.add_job("web", f"processes: [{{name: web, executable: /bin/sleep, args: ['1.{MARK}']}}]\n")
    run = bpm.begin("run", "web")
    wait_until(lambda: state_of(bpm)[1] == "running", "it runs")
    errand, _ = state_of(bpm)
    done = bpm("start", "web")

    assert 0 == done.returncode
    assert not is_alive(errand)
    assert 0 == run.wait(10)
    run.communicate()


@pytest.mark.parametrize("command", ["start", "run"])
def test_a_killed_holder_leaves_nothing_locked(bpm: CommandLine, command: str) -> None:
    """When a bpm that holds the lock is killed, one that waits goes on at once."""
    gate = slow_start(bpm)
    holder = bpm.begin(command, "web")
    wait_until(lambda: in_the_hook(bpm), "it is starting")
    waiting = bpm.begin("stop", "web")
    time.sleep(0.3)
    assert waiting.poll() is None
    holder.kill()
    holder.communicate()
    waiting.communicate(timeout=10)
    gate.touch()

    assert 0 == waiting.returncode
    assert ("-", "stopped") == state_of(bpm)
    assert 0 == bpm("start", "web").returncode
    assert "running" == state_of(bpm)[1]


def test_bpm_killed_at_any_instant_is_healed(bpm: CommandLine) -> None:
    """Whenever a start or a stop is killed, the next start or stop works; list is right; at last nothing is left."""
    bpm.root.add_job("web", SLEEPER)
    environment = Environment(str(bpm.root.path), bpm.environment["BPM_USER"])
    process = environment.process("web")
    chance = random.Random(20261122)
    mounts = Path("/proc/self/mountinfo").read_text()
    killed = 0
    for _ in range(KILLS):
        killed += kill_within(
            process.start if chance.random() < 0.5 else process.stop, chance.uniform(0, patience(0.02))
        )
        shown = process.status()
        if shown.state == "running":
            assert shown.pid is not None
            assert is_alive(str(shown.pid))
        if chance.random() < 0.5:
            process.start().close()
            assert "running" == process.status().state
            assert 1 == len(programs())
        else:
            process.stop()
            assert "stopped" == process.status().state
            wait_until(lambda: not programs(), "the program has gone")
    process.stop()

    assert [] == leftovers(environment)
    assert mounts == Path("/proc/self/mountinfo").read_text()
    assert KILLS / 5 < killed


def kill_within(command: object, delay: float) -> bool:
    """Do it in a process of its own, and kill that after so many seconds; whether it was killed."""
    assert callable(command)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            command()
            status = 0
        finally:
            os._exit(status)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert end in (0, -signal.SIGKILL)
    return end != 0
