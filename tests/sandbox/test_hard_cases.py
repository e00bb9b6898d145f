"""What programs do that nobody wants, and how many of them there may be."""

from __future__ import annotations

import os
import resource
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpm import Limits, Prepared, ProcessTimeout, Sandbox
from tests.effort import times
from tests.inside import wait_for
from tests.native.callers import in_child, with_own_mounts
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
