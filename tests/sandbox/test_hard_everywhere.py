"""The hard cases for every caller: root and an ordinary user, by run() and by bpm.aio, from any thread."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bpm import Prepared, ProcessTimeout, Sandbox, SpawnError, aio
from tests.effort import times
from tests.inside import wait_for
from tests.native.callers import in_child, with_own_mounts
from tests.native.test_caller import state
from tests.sandbox.leavings import leavings
from tests.sandbox.ordinary import become

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

GRANDCHILDREN = 500
SPAWNS = times(300)
LONG = f"94.{os.getpid()}"  # seconds that nobody else sleeps

Run = Callable[..., Any]
Case = Callable[[Run], Any]


def by_run(prepared: Prepared) -> Run:
    return prepared.run


def by_asyncio(prepared: Prepared) -> Run:
    return lambda args, **keys: asyncio.run(aio.run(prepared, args, **keys))


@pytest.fixture(params=["root", "user"])
def attempt(request: pytest.FixtureRequest) -> Any:
    """Do something with a prepared sandbox in a fork, as root or as an ordinary user, and see what is left."""
    user = request.getfixturevalue("user") if request.param == "user" else None

    def attempt(work: Callable[[Prepared], Any]) -> Any:
        def inside() -> Any:
            with_own_mounts()  # others on this host may mount something meanwhile
            if user is not None:
                become(user)
            with Sandbox.system().prepare() as prepared:
                with ThreadPoolExecutor(1) as pool:  # libc keeps a signal for itself once there are threads
                    pool.submit(asyncio.run, aio.run(prepared, ["true"])).result()
                before = state(), descriptors(), leavings()
                answer = work(prepared)
                wait_for(lambda: leavings() == before[2], 5)
                assert before == (state(), descriptors(), leavings())
            return answer

        return in_child(inside)

    return attempt


faces = pytest.mark.parametrize("face", [by_run, by_asyncio])


def descriptors() -> dict[int, tuple[int, int, str]]:
    """What is open, and how."""
    found = {}
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):
            flags = fcntl.fcntl(fd, fcntl.F_GETFD), fcntl.fcntl(fd, fcntl.F_GETFL)
            found[fd] = (*flags, os.readlink(f"/proc/self/fd/{fd}"))
    return found


def running(command: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().decode("latin-1").startswith(command):
                found.append(entry.name)
    return found


def closes_its_output_and_goes_on(run: Run) -> Any:
    started = time.monotonic()
    done = run(["sh", "-c", "echo x; exec >&- 2>&-; sleep 0.3; exit 4"], capture_output=True)
    return done.stdout, done.returncode, time.monotonic() - started >= 0.3


def double_forks(run: Run) -> Any:
    started = time.monotonic()
    done = run(["sh", "-c", f"(setsid sleep {LONG} &) ; echo done"], capture_output=True)
    return done.stdout, time.monotonic() - started < 5, running(f"sleep\0{LONG}")


def ignores_signals(run: Run) -> Any:
    script = "trap '' TERM INT HUP QUIT USR1; echo ready; while :; do sleep 0.1; done"
    with pytest.raises(ProcessTimeout) as caught:
        run(["sh", "-c", script], timeout=0.3, capture_output=True)
    return caught.value.output, caught.value.ending.reason  # type: ignore[union-attr]


def fills_a_pipe_that_nobody_reads(run: Run) -> Any:
    ours, theirs = os.pipe()
    try:
        with pytest.raises(ProcessTimeout) as caught:
            run(["cat", "/dev/zero"], stdout=theirs, timeout=0.2)
        return caught.value.ending.returncode, len(os.read(ours, 1 << 20)) > 4096  # type: ignore[union-attr]
    finally:
        os.close(ours)
        os.close(theirs)


def times_out_among_hundreds(run: Run) -> Any:
    ten = f"for j in 1 2 3 4 5 6 7 8 9; do sleep {LONG} & done; sleep {LONG}"
    all_there = f"until set -- /proc/[0-9]*; test $# -ge {GRANDCHILDREN}; do sleep 0.05; done"
    script = f"for i in $(seq {GRANDCHILDREN // 10}); do ({ten}) & done; {all_there}; echo $#; wait"
    for seconds in (0.8, 3, 20):
        with pytest.raises(ProcessTimeout) as caught:
            run(["sh", "-c", script], timeout=seconds, capture_output=True)
        if caught.value.output:
            break
    return int(caught.value.output) >= GRANDCHILDREN, running(f"sleep\0{LONG}")


def has_a_nul(run: Run) -> Any:
    with pytest.raises(ValueError, match="argument 1 holds a null byte"):
        run(["echo", "a\0b"])


def has_two_megabytes_of_environment(run: Run) -> Any:
    with pytest.raises(SpawnError, match=r"arguments and environment take \d+ bytes") as caught:
        run(["true"], env={"PATH": "/usr/bin", **{f"V{i}": "x" * 100_000 for i in range(200)}})
    return caught.value.errno


CASES: dict[Case, Any] = {
    closes_its_output_and_goes_on: (b"x\n", 4, True),
    double_forks: (b"done\n", True, []),
    ignores_signals: (b"ready\n", "killed"),
    fills_a_pipe_that_nobody_reads: (-9, True),
    times_out_among_hundreds: (True, []),
    has_a_nul: None,
    has_two_megabytes_of_environment: errno.E2BIG,
}


@faces
@pytest.mark.parametrize("case", CASES)
def test_a_program_that(attempt: Any, face: Any, case: Case) -> None:
    """It comes to what it should, nothing is left of it, and the caller is as it was."""
    assert CASES[case] == attempt(lambda prepared: case(face(prepared)))


@faces
def test_another_thread_is_as_it_was(attempt: Any, face: Any) -> None:
    """As is the main one; failing spawns too."""

    def work(prepared: Prepared) -> bool:
        run = face(prepared)

        def compare() -> bool:
            before = state()
            run(["true"], cwd="/usr", input=b"x", capture_output=True)
            for args, keys in ((["nothing"], {}), (["true"], {"cwd": "/nowhere"}), (["a\0"], {})):
                with pytest.raises((OSError, ValueError)):
                    run(args, **keys)
            return before == state()

        with ThreadPoolExecutor(1) as pool:
            return compare() and pool.submit(compare).result()

    assert attempt(work)


@faces
def test_many_spawns_leave_nothing(attempt: Any, face: Any) -> None:
    """From four threads."""

    def work(prepared: Prepared) -> set[int]:
        run = face(prepared)
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(lambda n: run(["/bin/true"], capture_output=n % 3 == 0).returncode, range(SPAWNS)))

    assert {0} == attempt(work)


@faces
def test_while_others_fork_open_and_close(attempt: Any, face: Any) -> None:
    """Other threads at work with descriptors disturb no spawn, nor does one of theirs leak into a sandbox."""

    def work(prepared: Prepared) -> set[bytes]:
        run = face(prepared)
        with disturbed():
            return {run(["ls", "/proc/self/fd"], capture_output=True).stdout for _ in range(times(60))}

    assert {b"0\n1\n2\n3\n"} == attempt(work)


@contextmanager
def disturbed() -> Iterator[None]:
    """By three threads that open, close and fork; an error of theirs is raised at the end."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def disturb(work: Callable[[], None]) -> None:
        while not stop.is_set():
            try:
                work()
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=disturb, args=(work,)) for work in (open_and_close, open_and_close, fork)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]


def open_and_close() -> None:
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    os.set_inheritable(fds[0], True)
    for fd in fds:
        os.close(fd)


def fork() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    time.sleep(0.002)


def test_a_prepared_sandbox_serves_run_and_asyncio_at_once(attempt: Any) -> None:
    """From two threads, one of which has a loop."""

    def work(prepared: Prepared) -> list[int]:
        async def many() -> list[int]:
            return [done.returncode for done in await asyncio.gather(*(aio.run(prepared, ["true"]) for _ in range(30)))]

        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(asyncio.run, many())
            return [prepared.run(["true"]).returncode for _ in range(30)] + other.result()

    assert [0] * 60 == attempt(work)


def test_pipe_ends_of_another_thread_are_not_kept_open(attempt: Any) -> None:
    """Each program sees the end of its input at once, however many are spawned meanwhile."""

    def work(prepared: Prepared) -> set[bytes]:
        def talk(number: int) -> bytes:
            with prepared.popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                out, _ = process.communicate(b"%d" % (number % 3), timeout=30)
            return bytes(out)

        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(talk, range(times(100))))

    assert {b"0", b"1", b"2"} == attempt(work)
