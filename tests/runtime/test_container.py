"""Containers that really run: how they end, how they are stopped, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

import bpm
from bpm import Container, Environment, JobProcess, NotRunning
from bpm.cgroup import Group
from bpm.runtime.container import find_container, has_ended, read_start_time
from tests.effort import patience, times

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]

# Asked to end by SIGTERM, it says which signal it was and ends; `wait` lets the trap run at once.
POLITE = "trap 'echo TERM; exit 3' TERM; trap 'echo INT; exit 4' INT; echo ready; sleep 100 & wait"
DEAF = "trap '' TERM INT; trap 'exit 5' QUIT; echo ready; while :; do sleep 0.01; done"
STONE = "trap '' TERM INT QUIT; echo ready; while :; do sleep 0.01; done"


def wait_for(path: str, text: str) -> None:
    deadline = time.monotonic() + 10
    while not os.path.exists(path) or text not in Path(path).read_text():
        assert time.monotonic() < deadline, f"{path} never said {text!r}"
        time.sleep(0.005)


def started(process: JobProcess) -> Container:
    """Its container, once it has said that it is ready."""
    container = process.start()
    wait_for(process.log_paths[0], "ready")
    return container


def inside(container: Container) -> tuple[int, ...]:
    return Group.from_paths(container.state.cgroup).processes()


# How it ends


@pytest.mark.parametrize(
    ("script", "code", "number"), [("exit 0", 0, None), ("exit 6", 6, None), ("kill -9 $$", None, 9)]
)
def test_an_end_is_recorded(web: Make, script: str, code: int | None, number: int | None):
    """wait() tells the exit code or the signal, and when it was."""
    before = time.time_ns()
    with web(script).start() as container:
        record = container.wait(10)
        assert (code, number, "nobody", False) == (
            record.exit_code,
            record.signal,
            record.stopped_by,
            record.oom_killed,
        )
        assert before < record.started_ns < record.ended_ns < time.time_ns()


def test_waiting_ends_in_time(web: Make):
    """wait() with a timeout raises TimeoutError while the program runs, after that time."""
    with started(web(POLITE)) as container:
        before = time.monotonic()
        with pytest.raises(TimeoutError):
            container.wait(0.05)
        assert 0.05 <= time.monotonic() - before < 1
        assert container.running


def test_the_memory_limit_is_told_apart(web: Make):
    """A program that was killed for its memory limit is recorded as such, with what it used."""
    process = web("exec /usr/bin/python3 -c 'b = bytearray(200 << 20)'", "limits: {memory: 32M}")
    with process.start() as container:
        record = container.wait(20)
    assert (9, True) == (record.signal, record.oom_killed)
    assert record.memory_peak_bytes <= 32 << 20


def test_what_was_counted_outlives_the_cgroup(web: Make):
    """Where a cgroup is gone as soon as it is empty, as systemd has it, the record still tells what it counted."""
    script = "/usr/bin/python3 -c 'b = bytearray(200 << 20)'\n(sleep 9 & sleep 9 & sleep 9 & sleep 9 & sleep 9 &)\ntrue"
    with web(script, "limits: {memory: 32M, processes: 5}").start() as container:
        assert has_ended(container.pidfd, 20)
        Group.from_paths(container.state.cgroup).remove()
        record = container.wait(0)
    peaks = "memory.peak" in container.state.counters or "memory.max_usage_in_bytes" in container.state.counters

    assert (True, "processes[0].limits.memory", 0) == (record.oom_killed, record.limit, record.exit_code)
    assert record.memory_failures is not None
    assert ("pids.events" in container.state.counters) == (record.processes_failures == 1)
    assert (16 << 20 < record.memory_peak_bytes <= 32 << 20) if peaks else record.memory_peak_bytes is None
    assert record.cpu_ns is None or record.cpu_ns > 1_000_000


def test_an_init_killed_for_memory_is_told_apart(web: Make):
    """Where it is init that the kernel chooses, and with it all that is inside, the limit is named all the same."""
    eat = "exec /usr/bin/python3 -c 'b = bytearray(200 << 20)'"
    process = web(f"until [ -e /var/vcap/sys/log/web/go ]; do sleep 0.1; done\n{eat}", "limits: {memory: 32M}")
    with process.start() as container:
        Path(f"/proc/{container.pid}/oom_score_adj").write_text("1000")
        Path(process.log_paths[0]).with_name("go").touch()
        record = container.wait(20)
    told: set[tuple[bool | None, str]] = {(True, "processes[0].limits.memory")}
    if os.path.isdir("/run/systemd/system"):
        told.add((None, ""))  # The scope may be gone before we look.

    assert (None, 9) == (record.exit_code, record.signal)
    assert (record.oom_killed, record.limit) in told


def test_what_is_lost_with_init_and_cgroup_is_not_called_known(web: Make):
    """Where init is killed, and a cgroup is gone as soon as it is empty, nobody knows whether it was for memory."""
    with web("sleep 100", "limits: {memory: 32M}").start() as container:
        container.signal(signal.SIGKILL)
        assert has_ended(container.pidfd, 20)
        Group.from_paths(container.state.cgroup).remove()
        record = container.wait(0)

    assert (None, None, "") == (record.oom_killed, record.memory_peak_bytes, record.limit)


def test_a_lost_init_is_not_called_an_exit(web: Make):
    """When init itself is killed, the record holds its signal, and no exit code of the program."""
    with started(web(POLITE)) as container:
        container.signal(signal.SIGKILL)
        record = container.wait(10)
        assert (None, 9) == (record.exit_code, record.signal)


# How it is stopped


@pytest.mark.parametrize(
    ("script", "code", "number", "stopped_by"),
    [(POLITE, 3, None, "operator"), (DEAF, 5, None, "timeout"), (STONE, None, 9, "timeout")],
)
def test_stop_insists(web: Make, script: str, code: int | None, number: int | None, stopped_by: str):
    """TERM comes first, QUIT after the grace, KILL after two graces, and the record says who gave way."""
    with started(web(script)) as container:
        before = time.monotonic()
        grace = patience(0.2)
        record = container.stop(grace=grace, quit_grace=grace)
        taken = time.monotonic() - before
        assert (code, number, stopped_by) == (record.exit_code, record.signal, record.stopped_by)
        graces, most = {POLITE: (0, 1), DEAF: (1, 2), STONE: (2, 25)}[script]
        assert graces * grace <= taken < most * grace
        assert not inside(container)
    # What is killed tells nothing any more; it was measured before.
    assert (False, True) == (record.oom_killed, bool(record.cpu_ns))


def test_the_shutdown_signal_is_the_plans(web: Make):
    """A process that asked for INT is stopped by INT."""
    with started(web(POLITE, "shutdown_signal: INT")) as container:
        assert 4 == container.stop().exit_code


def test_what_has_ended_needs_no_stop(web: Make):
    """stop() of what has ended by itself changes nothing of its record."""
    with web("exit 7").start() as container:
        container.wait(10)
        assert (7, "nobody") == (container.stop().exit_code, container.stop().stopped_by)


def test_orphans_end_with_it(web: Make):
    """What the program left in the background ends with it, also where the host's pid namespace is shared."""
    process = web(
        "setsid sleep 100 & echo ready; exit 0",
        "unsafe: {host_pid_namespace: true}",
    )
    with process.start() as container:
        container.wait(10)
        container.stop()
        assert () == inside(container)


def test_a_dead_one_takes_no_signal(web: Make):
    """signal() to what has ended raises NotRunning."""
    with web("exit 0").start() as container:
        container.wait(10)
        with pytest.raises(NotRunning):
            container.signal(signal.SIGTERM)


# What is left


def test_leaving_stops_and_removes(web: Make, environment: Environment):
    """After the with block there is no process, no cgroup, no record and no descriptor."""
    process = web(POLITE)
    before = sorted(os.listdir("/proc/self/fd"))
    with started(process) as container:
        paths = container.state.cgroup
        assert inside(container)
    assert not any(map(os.path.exists, paths))
    assert [] == os.listdir(environment.layout.state)
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_an_error_inside_kills(web: Make, environment: Environment):
    """When the with block ends by an error, that is the error, and the container is gone."""
    with pytest.raises(KeyError), started(web(STONE)):
        raise KeyError
    assert () == environment.records.ids()


def test_nothing_adds_up(web: Make):
    """Many starts and stops leave descriptors, mounts, children and cgroups as they were."""
    process = web(POLITE)
    with process.start():
        pass

    def count() -> tuple[int, int, int]:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        mounts = Path("/proc/self/mountinfo").read_text().count("\n")
        return len(os.listdir("/proc/self/fd")), mounts, len(children)

    before = count()
    for _ in range(times(20)):
        with process.start():
            pass
    assert before == count()


# Found again


def test_another_process_can_stop_it(web: Make, environment: Environment):
    """A container outlives who started it, and anyone who reads its record can stop it."""
    process = web(POLITE)
    program = (
        f"import bpm; bpm.Environment({environment.root!r}, {environment.user.name!r}).process('web').start().close()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    container = process.container()
    assert container.running
    with container:
        record = container.stop()
    assert (3, "operator") == (record.exit_code, record.stopped_by)


@pytest.mark.parametrize("change", ["boot_id", "start_time", "pidfd_inode", "pid"])
def test_a_stranger_is_never_signalled(web: Make, environment: Environment, change: str):
    """A record whose boot, start time or identity does not match the process of that number is a dead container's."""
    stranger = subprocess.Popen(["/bin/sleep", "100"])
    try:
        with started(web(POLITE)) as container:
            forged = {
                "boot_id": "another boot",
                "start_time": container.state.start_time + 1,
                "pidfd_inode": container.state.pidfd_inode + 1,
                "pid": stranger.pid,
            }
            environment.records.write(evolve(container.state, **{change: forged[change]}))
            found = find_container(environment.records, container.id)
            assert not found.running
            with pytest.raises(NotRunning):
                found.signal(signal.SIGKILL)
            found.close()
            environment.records.write(container.state)
            assert container.running
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_zombie_does_not_run(web: Make):
    """What has ended, but was not waited for, does not run."""
    process = web("exit 2")
    container = process.start()
    deadline = time.monotonic() + 10
    while container.running and time.monotonic() < deadline:
        time.sleep(0.002)
    assert f"{container.pid} (bpm-init) Z" in Path(f"/proc/{container.pid}/stat").read_text()
    found = process.container()
    assert (False, 2) == (found.running, found.wait(0).exit_code)
    found.close()
    container.close()


def test_removing_spares_a_successor(web: Make):
    """remove() of a container that was replaced meanwhile leaves its successor alone."""
    process = web(POLITE)
    first = started(process)
    process.stop()
    second = started(process)
    first.remove()
    assert second.running
    first.close()
    with second:
        pass


def test_the_start_time_is_that_of_the_process():
    """read_start_time() reads past a name that holds parentheses; a number without a process has none."""
    odd = subprocess.Popen([sys.executable, "-c", "open('/proc/self/comm', 'w').write(') R 1 ('); input()"], stdin=-1)
    try:
        deadline = time.monotonic() + 10
        while ") R 1 (" not in Path(f"/proc/{odd.pid}/comm").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        fields = Path(f"/proc/{odd.pid}/stat").read_text().rsplit(")", 1)[1].split()
        assert int(fields[19]) == read_start_time(odd.pid)
    finally:
        odd.kill()
        odd.wait()
        odd.stdin.close()
    assert read_start_time(odd.pid) is None


def test_the_readme_works(web: Make, environment: Environment):
    """load, observe, make_plan, start and wait are all that an embedder needs."""
    web("exit 6")
    text = Path(environment.layout.job("web").config).read_text()
    config = bpm.load(text, job="web", root=environment.root)
    facts = bpm.observe(config, root=environment.root, user=environment.user.name)
    with bpm.start(bpm.make_plan(config, "web", facts)) as container:
        assert 6 == container.wait(timeout=60).exit_code
