"""The caller is the same after a spawn as before it, in every thread."""

from __future__ import annotations

import os
import resource
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bpm._native import SpawnFailure, SpawnRequest, spawn
from tests.effort import times
from tests.inside import World, is_readable, wait_for
from tests.native.callers import answer_of, check, children, in_child, leavings, libc

pytestmark = pytest.mark.needs_root

PR_GET_DUMPABLE = 3
LIMITS = 16  # RLIM_NLIMITS
KEPT = ("Umask", "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
MASKS = ("SigBlk", "SigIgn", "SigCgt")


def state() -> dict[str, Any]:
    """What this thread is."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return {
        "dumpable": check(libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)),
        "status": {key: status[key] for key in KEPT + MASKS},
        "cwd": os.getcwd(),
        "root": os.readlink("/proc/thread-self/root"),
        "host name": os.uname().nodename,
        "limits": [resource.getrlimit(number) for number in range(LIMITS)],
        "namespaces": [os.readlink(link) for link in sorted(Path("/proc/thread-self/ns").iterdir())],
        "cgroup": Path("/proc/thread-self/cgroup").read_text(),
        "session": (os.getsid(0), os.getpgid(0), os.getppid()),
        "handlers": [signal.getsignal(number) for number in sorted(signal.valid_signals())],
        "mounts": Path("/proc/thread-self/mountinfo").read_text(),
    }


def spawn_to_end(request: SpawnRequest) -> int:
    spawned = spawn(request)
    info = os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED)
    os.close(spawned.pidfd)
    assert info is not None
    return info.si_status


@pytest.fixture
def full_request(world: World) -> SpawnRequest:
    """A request that changes all that can be changed."""
    tasks = [Path(f"/sys/fs/cgroup/{name}/tasks") for name in ("pids", "cpu")]
    return world.request(
        "/bin/true",
        hostname=b"other",
        workdir=b"/tmp",
        groups=(5,),
        rlimits=((resource.RLIMIT_NOFILE, 50, 60), (resource.RLIMIT_CORE, 0, 0)),
        cgroup_tasks=tuple(world.keep(os.open(path, os.O_WRONLY)) for path in tasks if path.exists()),
    )


def test_a_spawn_changes_nothing_of_its_caller(full_request: SpawnRequest) -> None:
    """Dumpable flag, signals, umask, directories, ids, capabilities, limits, namespaces, cgroups stay."""
    before = state()
    spawn_to_end(full_request)

    assert before == state()


def test_a_failed_spawn_changes_nothing_of_its_caller(world: World, full_request: SpawnRequest) -> None:
    """Neither does one that fails after all has been dropped."""
    before = state()
    answers = [answer_of(evolve(full_request, candidates=())), answer_of(evolve(full_request, uid=2**32 - 1))]

    assert (before, ["program", "identity"]) == (state(), [answer[0] for answer in answers])


def test_a_spawn_from_a_thread_changes_nothing_of_it(full_request: SpawnRequest) -> None:
    """Nor of the thread that waited, with a signal mask of its own."""

    def spawn_between() -> tuple[dict[str, Any], dict[str, Any]]:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGRTMAX])
        before = state()
        spawn_to_end(full_request)
        return before, state()

    with ThreadPoolExecutor(1) as pool:
        before, after = pool.submit(spawn_between).result()

    assert before == after


def test_a_caller_with_an_odd_umask_gets_the_modes_it_asked_for(world: World) -> None:
    """The plan's modes hold whatever the caller's umask; the program's is 022."""

    def spawn_with_umask() -> tuple[int, str, int]:
        os.umask(0o777)
        seen = world.see("mode:/tmp")
        return seen.attempts["mode:/tmp"] & 0o7777, seen.status["Umask"], os.umask(0)

    assert (0o1777, "0022", 0o777) == in_child(spawn_with_umask)


def test_a_caller_that_ignores_sigchld_spawns(world: World) -> None:
    """The program runs to its end and its record is written, though the kernel reaps init."""

    def spawn_ignoring() -> bool:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        record = world.memory()
        pidfd = spawn(world.request("/bin/sh", "-c", "/bin/true; exit 7", exit_fd=record)).pidfd
        wait_for(lambda: os.fstat(record).st_size)
        os.close(pidfd)
        return os.fstat(record).st_size > 0

    assert in_child(spawn_ignoring)


def test_signal_handlers_of_the_caller_never_run_in_the_child(world: World) -> None:
    """A caller under a storm of signals spawns, and each signal is handled once, by the caller."""

    def spawn_in_a_storm() -> tuple[set[int], set[int]]:
        pids: set[int] = set()
        signal.signal(signal.SIGALRM, lambda number, frame: pids.add(os.getpid()))
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        request = world.request("/bin/true")
        statuses = {spawn_to_end(request) for _ in range(40)}
        signal.setitimer(signal.ITIMER_REAL, 0)
        return statuses, {pid - os.getpid() for pid in pids}

    assert ({0}, {0}) == in_child(spawn_in_a_storm)


def test_eight_threads_spawn_fifty_times_each(world: World) -> None:
    """Spawns side by side do not disturb each other: each program gets its own exit status out."""
    requests = [world.request("/bin/sh", "-c", f"exit {number}") for number in range(8)]

    def spawn_fifty(number: int) -> set[int]:
        return {spawn_to_end(requests[number]) for _ in range(times(50))}

    with ThreadPoolExecutor(8) as pool:
        assert [{number} for number in range(8)] == list(pool.map(spawn_fifty, range(8)))


def test_threads_that_fail_and_threads_that_succeed_are_told_apart(world: World) -> None:
    """Each spawn hears of its own failure only."""
    good, bad = world.request("/bin/true"), world.request("/bin/true", hostname=b"x" * 65)

    def outcome(number: int) -> str:
        try:
            return str(spawn_to_end(bad if number % 2 else good))
        except SpawnFailure as failure:
            return failure.stage.word

    with ThreadPoolExecutor(8) as pool:
        assert ["0", "hostname"] * times(50) == list(pool.map(outcome, range(2 * times(50))))


def test_other_threads_run_while_one_spawns(world: World) -> None:
    """The interpreter lock is not held: a thread counts on while another one's spawns wait for the kernel."""
    request, over, counted = world.request("/bin/true"), threading.Event(), [0]

    def count() -> None:
        while not over.is_set():
            counted[0] += 1
            time.sleep(0.0002)

    thread = threading.Thread(target=count)
    thread.start()
    try:
        for _ in range(50):
            spawn_to_end(request)
    finally:
        over.set()
        thread.join()

    assert counted[0] > 50


def test_three_hundred_spawns_leave_everything_as_it_was(world: World) -> None:
    """Descriptors, children and mounts are the same in number after 300 containers."""
    request = world.request("/bin/true")
    spawn_to_end(request)
    before = leavings()
    for _ in range(times(300)):
        spawn_to_end(request)
    wait_for(lambda: leavings()[2] == before[2], 5)

    assert before == leavings()


def outlives_its_caller(world: World, die_with_parent: bool) -> bool:
    """Whether a container goes on when the process that spawned it ends."""
    ours, theirs = os.pipe()
    request = world.request("/bin/sleep", "1000", die_with_parent=die_with_parent)
    pid = os.fork()
    if pid == 0:
        spawned = spawn(request)
        os.write(theirs, b"%d\n" % spawned.pid)
        signal.pause()
        os._exit(0)
    init = int(os.read(ours, 100))
    pidfd = os.pidfd_open(init)
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return not wait_for(lambda: is_readable(pidfd, 0), 1)
    finally:
        if not is_readable(pidfd, 0):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            wait_for(lambda: is_readable(pidfd, 0))
        for fd in (pidfd, ours, theirs):
            os.close(fd)


@pytest.mark.parametrize("dies", [True, False])
def test_it_dies_with_its_parent_only_if_asked_to(world: World, dies: bool) -> None:
    """die_with_parent takes the container along when its caller is killed; without it, it lives on."""
    assert dies is not outlives_its_caller(world, dies)


def test_our_children_are_only_what_runs(world: World) -> None:
    """A running container is one child of ours: init. There is no monitor."""
    before = children()
    spawned = world.start("/bin/sleep", "1000")

    assert sorted([*before, spawned.pid]) == children()
