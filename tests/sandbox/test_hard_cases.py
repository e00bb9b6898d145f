"""What programs do that nobody wants, and how many of them there may be."""

from __future__ import annotations

import os
import resource
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpm import Limits, Prepared, ProcessTimeout, Sandbox
from tests.effort import times
from tests.inside import wait_for
from tests.native.callers import in_child, with_own_mounts
from tests.native.test_caller import state
from tests.sandbox.leavings import leavings

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

SPAWNS = times(10_000)
GRANDCHILDREN = 500

PIPE = subprocess.PIPE


def resident() -> int:
    """Bytes of this process's memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def host() -> tuple[int, int]:
    """The mounts that we see, and the mount namespaces' worth of memory: none of our business but to be left alone."""
    return Path("/proc/self/mountinfo").read_bytes().count(b"\n"), len(os.listdir("/proc/self/task"))


@pytest.mark.timeout(300)
def test_ten_thousand_spawns_leave_nothing(system: Sandbox) -> None:
    """Descriptors, zombies, mounts, cgroups, threads and memory are as they were."""

    def spawn_all() -> tuple[object, object, int]:
        with_own_mounts()  # others on this host may mount something meanwhile
        limited = system.replace(limits=Limits(memory="64M", processes=20))
        with system.prepare() as free, limited.prepare() as held, ThreadPoolExecutor(4) as pool:

            def spawn(number: int) -> int:
                where = held if number % 20 == 0 else free
                return where.run(["/bin/true"], capture_output=number % 3 == 0).returncode

            def spawn_many(count: int) -> None:
                for _ in range(count // 100):
                    assert not any(pool.map(spawn, range(100)))

            spawn_many(500)
            before, size = (leavings(), host()), resident()
            spawn_many(SPAWNS)
            wait_for(lambda: leavings() == before[0], 5)
            return before, (leavings(), host()), resident() - size

    before, after, grown = in_child(spawn_all)

    assert before == after
    assert grown < 4 << 20


def test_a_program_that_closes_its_output_and_goes_on(prepared: Prepared) -> None:
    """Its output ends, and it is waited for all the same."""
    started = time.monotonic()
    done = prepared.run(["sh", "-c", "echo x; exec >&- 2>&-; sleep 0.5; exit 4"], capture_output=True)

    assert (b"x\n", 4) == (done.stdout, done.returncode)
    assert time.monotonic() - started >= 0.5


def test_a_program_that_double_forks(prepared: Prepared) -> None:
    """What it leaves behind, with its output still open, ends with it."""
    started = time.monotonic()
    done = prepared.run(["sh", "-c", "(setsid sleep 98 &) ; echo done"], capture_output=True)

    assert (b"done\n", 0) == (done.stdout, done.returncode)
    assert time.monotonic() - started < 5


def test_a_program_that_double_forks_among_the_hosts_processes(system: Sandbox) -> None:
    """Also where it shares the pid namespace: by its cgroup."""
    sandbox = system.replace(share=("network", "pid"))
    done = sandbox.run(["sh", "-c", "(setsid sleep 97 &) ; echo done"], capture_output=True)

    assert (b"done\n", 0) == (done.stdout, done.returncode)
    assert [] == running("sleep\x0097")


def test_a_killed_program_among_the_hosts_processes(system: Sandbox) -> None:
    """Nothing of it outlives the killing."""
    sandbox = system.replace(share=("network", "pid"))
    with pytest.raises(ProcessTimeout):
        sandbox.run(["sh", "-c", "setsid sleep 96 & sleep 95"], timeout=0.3, capture_output=True)

    assert [] == running("sleep\x0096") + running("sleep\x0095")


def running(command: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "cmdline").read_bytes().decode("latin-1").startswith(command):
                found.append(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def test_a_program_that_ignores_signals(prepared: Prepared) -> None:
    """SIGTERM is ignored; kill() is not."""
    script = "trap '' TERM INT HUP QUIT USR1; echo ready; while :; do sleep 1; done"
    with prepared.popen(["sh", "-c", script], stdout=PIPE) as process:
        assert process.stdout is not None
        assert b"ready\n" == process.stdout.readline()
        process.terminate()
        with pytest.raises(ProcessTimeout):
            process.wait(0.3)
        process.kill()

    assert (-9, "killed") == (process.returncode, process.ending.reason)


def test_a_fork_bomb(system: Sandbox) -> None:
    """Is held, reported and cleared away."""
    sandbox = system.replace(limits=Limits(processes=60, memory="256M"))
    with pytest.raises(ProcessTimeout) as caught:
        sandbox.run(["sh", "-c", "f() { f | f & }; f; while :; do :; done"], timeout=0.7, stderr=subprocess.DEVNULL)

    assert caught.value.ending is not None
    assert "processes" in caught.value.ending.limits_hit


def test_a_full_pipe_that_nobody_reads(prepared: Prepared) -> None:
    """Its writer waits, can be killed, and leaves nothing."""
    with prepared.popen(["cat", "/dev/zero"], stdout=PIPE, stderr=PIPE) as process:
        with pytest.raises(ProcessTimeout):
            process.wait(0.3)
        process.kill()

    assert -9 == process.returncode


def test_a_timeout_while_hundreds_of_grandchildren_run(system: Sandbox) -> None:
    """All are gone when the error is raised."""
    ten = "for j in 1 2 3 4 5 6 7 8 9; do sleep 94 & done; sleep 94"
    script = f"for i in $(seq {GRANDCHILDREN // 10}); do ({ten}) & done; wait"
    sandbox = system.replace(limits=Limits(processes=2000))
    process = sandbox.popen(["sh", "-c", script])
    try:
        assert wait_for(lambda: len(running("sleep\x0094")) >= GRANDCHILDREN, 20)
        with pytest.raises(ProcessTimeout):
            process.communicate(timeout=0.01)
    finally:
        process.kill()
        process.wait()

    assert [] == running("sleep\x0094")


def test_eight_threads(prepared: Prepared) -> None:
    """A thousand spawns from eight threads: no error, no output of another's, no descriptor of another's."""
    spawns = times(1000)

    def spawn(number: int) -> tuple[int, bytes]:
        done = prepared.run(["sh", "-c", f"echo /proc/self/fd/*; echo {number}"], capture_output=True)
        return done.returncode, done.stdout

    before = leavings()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(spawn, range(spawns)))

    # 0, 1, 2 and the directory that the shell reads.
    seen = b" ".join(b"/proc/self/fd/%d" % number for number in range(4))
    assert [(0, b"%s\n%d\n" % (seen, number)) for number in range(spawns)] == results
    assert before == leavings()


def test_while_others_fork_open_and_close(prepared: Prepared) -> None:
    """Other threads at work with descriptors disturb no spawn, nor does one of theirs leak into a sandbox."""
    stop = threading.Event()
    errors: list[BaseException] = []

    def disturb(work: object) -> None:
        while not stop.is_set():
            try:
                work()  # type: ignore[operator]
            except BaseException as error:
                errors.append(error)

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

    threads = [threading.Thread(target=disturb, args=(work,)) for work in (open_and_close, open_and_close, fork)]
    for thread in threads:
        thread.start()
    try:
        seen = {prepared.run(["ls", "/proc/self/fd"], capture_output=True).stdout for _ in range(150)}
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert ({b"0\n1\n2\n3\n"}, []) == (seen, errors)


def test_a_process_of_ten_thousand_descriptors(system: Sandbox) -> None:
    """None of them is seen inside; pipes and pidfd, whose numbers are above 10,000, work."""

    def see() -> tuple[bytes, int]:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 12_000 else 12_000, hard))
        fds = [os.dup(0) for _ in range(10_000)]
        for fd in fds:
            os.set_inheritable(fd, True)
        with system.prepare() as prepared:
            done = prepared.run(["ls", "/proc/self/fd"], capture_output=True, input=b"", timeout=30)
        return done.stdout, max(fds)

    seen, highest = in_child(see)

    assert (b"0\n1\n2\n3\n", True) == (seen, highest >= 10_000)


def test_the_caller_is_as_it_was(system: Sandbox) -> None:
    """From the main thread, with limits and a failing spawn: flag, masks, handlers, umask, ids, limits, cgroups."""
    before = state()
    with system.replace(limits=Limits(memory="64M", open_files=50), hostname="other", umask=0o77).prepare() as prepared:
        prepared.run(["true"], cwd="/usr")
        with pytest.raises(OSError):
            prepared.run(["nothing"])

    assert before == state()


def test_any_thread_of_the_caller_is_as_it_was(prepared: Prepared) -> None:
    """And from another thread, in that one as in the main one."""
    main = state()

    def compare() -> bool:
        before = state()
        prepared.run(["true"])
        return before == state()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(compare).result()
    assert main == state()


def test_sigchld_may_be_ignored(system: Sandbox) -> None:
    """As programs do that want no zombies; the status is known all the same."""

    def run() -> tuple[int, str]:
        import signal

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        done = system.run(["sh", "-c", "exit 6"])
        return done.returncode, done.reason

    assert (6, "exited") == in_child(run)


def test_what_a_killed_caller_left_is_swept(system: Sandbox) -> None:
    """The next one to make a cgroup removes those of processes that are no more."""
    code = """
import os, bpm
process = bpm.Sandbox.system(limits=bpm.Limits(memory="64M")).popen(["sleep", "99"])
print(os.getpid(), *process.cgroups, flush=True)
os.kill(os.getpid(), 9)
"""
    import sys

    from bpm.sandbox import groups

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    _, *paths = done.stdout.split()
    assert paths
    assert wait_for(lambda: all(not (Path(path) / "cgroup.procs").read_text() for path in paths), 5)
    groups._swept.clear()
    system.replace(limits=Limits(memory="64M")).run(["true"])

    assert [] == [path for path in paths if os.path.exists(path)]
