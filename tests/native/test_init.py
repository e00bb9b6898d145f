"""Init, seen from the program that it runs: neither reachable nor changeable; and small."""

from __future__ import annotations

import errno
import os
import platform
import signal
import struct
from pathlib import Path

import pytest

from bpm._native import Spawned
from tests.effort import times
from tests.inside import CLONE_NEWNS, World, read_seen, wait_for

pytestmark = pytest.mark.needs_root

ALL_CAPABILITIES = {
    "uid": 0,
    "gid": 0,
    "bounding": 2**41 - 1,
    "no_new_privs": False,
}


def held() -> int:
    """Our own effective capabilities: all that a spawn could give away."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapEff:"))
    return int(line.split()[1], 16)


def test_a_program_of_the_same_user_reaches_nothing_of_init(world: World) -> None:
    """Memory, descriptors, environment, executable: all refused, though the user is the same."""
    files = ("environ", "mem", "maps", "auxv", "syscall", "stack", "personality")
    reads = [f"read:/proc/1/{name}" for name in files if os.path.exists(f"/proc/self/{name}")]
    lists = ["list:/proc/1/fd", "list:/proc/1/map_files", "list:/proc/1/root/", "list:/proc/1/cwd/"]
    writes = ["write:/proc/1/mem", "write:/proc/1/exe"]
    attempts = world.see(*reads, *lists, *writes, "ptrace:1").attempts
    refused = {-errno.EACCES, -errno.EPERM}

    assert [] == [name for name, answer in attempts.items() if answer not in refused]


def test_init_has_the_programs_user_and_no_environment(world: World) -> None:
    """Its command line says what it is, and its environment is empty, even for root outside."""
    spawned = world.start("/bin/sleep", "1000", env=(b"SECRET=1",))
    proc = Path(f"/proc/{spawned.pid}")
    uids = next(line for line in (proc / "status").read_text().splitlines() if line.startswith("Uid:"))

    assert (b"bpm-init\0", b"", "Uid:\t2000\t2000\t2000\t2000") == (
        (proc / "cmdline").read_bytes(),
        (proc / "environ").read_bytes(),
        uids,
    )


def test_a_privileged_program_cannot_write_inits_executable(world: World) -> None:
    """Root inside, with every capability that there is, opens /proc/1/exe neither now nor as a copy of it."""
    all_held = held()
    seen = world.see("write:/proc/1/exe", **{**ALL_CAPABILITIES, "permitted": all_held, "bounding": all_held})

    assert all_held == seen.bits("CapEff")
    assert -errno.ETXTBSY == seen.attempts["write:/proc/1/exe"]


def test_init_is_confined_to_the_calls_of_its_loop(world: World) -> None:
    """A filter of its own, and no_new_privs, whatever the program was given: who traces it gets no more."""
    seen = world.shell("cat /proc/1/status", **ALL_CAPABILITIES, permitted=held()).output.decode()
    status = dict(line.split(":\t", 1) for line in seen.splitlines() if ":\t" in line)

    assert ("2", "1", "1") == (status["Seccomp"], status["Seccomp_filters"].strip(), status["NoNewPrivs"])


def test_init_is_confined_when_a_start_returns(world: World) -> None:
    """With a filter for the program, init makes its own beside the program's first steps: and only then says so."""
    allow_all = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)
    for _ in range(times(20)):
        spawned = world.start("/bin/sleep", "1000", filter=allow_all)
        lines = Path(f"/proc/{spawned.pid}/status").read_text().splitlines()
        assert {"Seccomp:\t2", "NoNewPrivs:\t1"} < set(lines)


def test_inits_confinement_is_not_the_programs(world: World) -> None:
    """A program without a filter, and with no_new_privs off, has neither from init."""
    seen = world.see(no_new_privs=False)

    assert ("0", "0") == (seen.status["Seccomp"], seen.status["NoNewPrivs"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV, signal.SIGABRT])
def test_the_program_cannot_kill_init(world: World, number: int) -> None:
    """What init does not forward back to it, pid 1 does not even notice from inside."""
    script = f"trap '' SEGV ABRT; kill -{int(number)} 1; sleep 0.05; exit 3"

    assert 3 == world.shell(script).code


def test_without_a_pid_namespace_the_program_can_end_init(world: World) -> None:
    """With the host's pid namespace init is an ordinary process of the program's user, who may end both."""
    spawned = world.start("/bin/sh", "-c", "sleep 0.1; kill -9 $PPID", namespaces=CLONE_NEWNS)

    assert -signal.SIGKILL == world.finish(spawned)


def test_the_memory_of_init_is_at_most_100_kib(world: World) -> None:
    """A running container costs one init, whose private memory is small."""
    spawned = world.start("/bin/sleep", "1000")

    assert wait_for(lambda: 0 < private_memory(spawned) <= 100 << 10), private_memory(spawned)


def private_memory(spawned: Spawned) -> int:
    """Bytes that exist for this process alone."""
    lines = Path(f"/proc/{spawned.pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {key: int(rest.split()[0]) for key, _, rest in (line.partition(":") for line in lines)}
    return (sizes["Private_Clean"] + sizes["Private_Dirty"]) << 10


def test_nothing_of_the_environment_stays_in_inits_memory(world: World) -> None:
    """What the program was told is gone from init, once the program runs."""
    secret = os.urandom(24).hex().encode()
    spawned = world.start("/bin/sleep", "1000", env=(b"SECRET=" + secret,))

    def remembered() -> bool:
        with open(f"/proc/{spawned.pid}/maps") as maps, open(f"/proc/{spawned.pid}/mem", "rb", 0) as memory:
            for line in maps:
                first, last = (int(word, 16) for word in line.split()[0].split("-"))
                if "[v" in line:  # [vdso], [vvar]: the kernel's
                    continue
                memory.seek(first)
                try:
                    if secret in memory.read(last - first):
                        return True
                except OSError:  # unmapped just now
                    return True
        return False

    assert wait_for(lambda: not remembered())


def test_a_running_container_is_two_processes(world: World) -> None:
    """Init and the program: pids 1 and 2 inside, and no other."""
    listed = world.shell("echo /proc/[0-9]*").output.split()

    assert [b"/proc/1", b"/proc/2"] == listed


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe writes the registers of x86_64 only")
def test_a_traced_init_makes_no_other_calls(world: World) -> None:
    """CAP_SYS_PTRACE lets root inside trace init; a call that its loop does not make ends the whole container."""
    everything = {**ALL_CAPABILITIES, "permitted": held(), "bounding": held()}

    # 39 is getpid(2).
    assert -signal.SIGSYS == world.run("/probe", "sleep:100", "inject:1:39", **everything).code


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the probe writes the registers of x86_64 only")
def test_a_traced_neighbour_makes_the_call(world: World) -> None:
    """What the probe does to init, it can do to a process without such a filter: the test above can fail."""
    everything = {**ALL_CAPABILITIES, "permitted": held(), "bounding": held()}
    script = "/bin/sleep 1000 & sleep 0.1; exec /probe inject:$!:39"
    attempts = read_seen(world.shell(script, **everything).output).attempts

    assert {"inject:3:39": 3} == attempts
