"""The program: how it is found, what it is given, how it ends, and who is told."""

from __future__ import annotations

import errno
import os
import resource
import signal
import time
from pathlib import Path

import pytest

from bpm._native import EXIT_SIZE, Spawned, Step, StepKind, parse_exit
from bpm._native.record import COUNTER_SIZE, COUNTERS
from tests.inside import CLONE_NEWNS, NO_LIMIT, World, wait_for
from tests.native.callers import answer_of

pytestmark = pytest.mark.needs_root

EXITED, KILLED, DUMPED = 1, 2, 3
NOEXEC = 8


@pytest.fixture
def bin_directory(open_directory: Path, request: pytest.FixtureRequest) -> Path:
    """A new directory that everyone can read."""
    directory: Path = open_directory / request.node.name.partition("[")[0]
    directory.mkdir(exist_ok=True)
    return directory


def add_program(directory: Path, name: str, content: bytes, mode: int = 0o755) -> None:
    path = directory / name
    path.write_bytes(content)
    path.chmod(mode)


@pytest.mark.parametrize("status", [0, 1, 7, 70, 127, 255])
def test_an_exit_status_is_recorded_and_is_inits_own(world: World, status: int) -> None:
    """The program's exit status stands in the record, and init ends with the same."""
    ended = world.shell(f"exit {status}")

    assert ended.facts is not None
    assert (EXITED, status, status) == (ended.facts.code, ended.facts.status, ended.code)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1, 34, 64])
def test_a_signal_is_recorded_and_init_exits_with_128_more(world: World, number: int) -> None:
    """A program that a signal ended is recorded as killed; init's exit status is 128 + N."""
    ended = world.shell(f"kill -{int(number)} $$")

    assert ended.facts is not None
    assert (KILLED, number, 128 + number) == (ended.facts.code, ended.facts.status, ended.code)


def test_a_core_is_recorded_as_dumped(world: World) -> None:
    """A program that died of SIGSEGV and left a core is recorded as dumped."""
    limits = ((resource.RLIMIT_CORE, NO_LIMIT, NO_LIMIT),)
    ended = world.shell("kill -SEGV $$", workdir=b"/tmp", rlimits=limits)

    assert ended.facts is not None
    assert (DUMPED, signal.SIGSEGV, 128 + signal.SIGSEGV) == (ended.facts.code, ended.facts.status, ended.code)


def test_without_a_core_a_segmentation_fault_is_a_kill(world: World) -> None:
    """RLIMIT_CORE 0 and a core_pattern that is a file: killed, not dumped."""
    piped = Path("/proc/sys/kernel/core_pattern").read_text().startswith("|")
    ended = world.shell("kill -SEGV $$", rlimits=((resource.RLIMIT_CORE, 0, 0),))

    assert ended.facts is not None
    assert (DUMPED if piped else KILLED, signal.SIGSEGV) == (ended.facts.code, ended.facts.status)


def test_times_and_memory_are_the_programs(world: World) -> None:
    """The record has when it started and ended, its cpu time, and its largest resident size."""
    before = time.time_ns()
    ended = world.run("/probe", "eat:24", "sleep:60")
    after = time.time_ns()
    facts = ended.facts

    assert facts is not None
    # The kernel's clock for file times and ours differ by no more than a tick.
    assert before - 10_000_000 <= facts.started < facts.ended <= after + 10_000_000
    assert facts.ended - facts.started >= 60_000_000
    assert facts.user + facts.system > 0
    assert 24 << 20 <= facts.max_rss < 100 << 20


def test_the_record_has_what_files_say_at_the_end(world: World) -> None:
    """What they said before is of no matter; of a long one the first whole lines are there, of none, nothing."""
    record, first, long, empty = (world.memory() for _ in range(4))
    os.write(first, b"kills 0\n")
    os.write(long, b"usage 123456789\n" * 100)
    unreadable = world.source("/")
    counters = (first, long, empty, unreadable)
    spawned = world.start("/bin/sleep", "1000", exit_fd=record, counters=counters)
    os.pwrite(first, b"kills 1\n", 0)
    os.kill(spawned.pid, signal.SIGTERM)
    world.finish(spawned)
    facts = parse_exit(os.pread(record, EXIT_SIZE, 0))

    assert facts is not None
    assert ("kills 1\n", "usage 123456789\n" * (COUNTER_SIZE // 16), *[""] * (COUNTERS - 2)) == facts.counters


def test_a_program_that_outlives_its_children_reaps_none_of_them(world: World) -> None:
    """Orphans that end are reaped by init: the container has no zombies."""
    script = """
        for i in 1 2 3 4 5; do (/bin/sh -c 'exec /bin/sleep 0.02' &) ; done
        sleep 0.3
        for one in /proc/[0-9]*/stat; do read -r line <$one && echo "$line"; done
    """
    states = [line.rpartition(b") ")[2][:1] for line in world.shell(script).output.splitlines()]

    assert b"Z" not in states
    # Init, the shell and nobody else.
    assert 2 == len(states)


def test_init_without_a_pid_namespace_reaps_orphans_too(world: World) -> None:
    """With the host's pid namespace, orphans come to init, as their subreaper."""
    script = "(/bin/sh -c 'sleep 0.05; read -r a b c d rest </proc/self/stat; echo $d' &); sleep 0.3; echo $PPID"
    orphans_parent, parent = world.shell(script, namespaces=CLONE_NEWNS).output.split()

    assert parent == orphans_parent


def test_the_end_of_the_program_ends_all_others(world: World) -> None:
    """When the program ends, whatever it left running in the pid namespace is killed."""
    began = time.monotonic()
    ended = world.shell("sleep 1000 & exit 4")

    assert (4, True) == (ended.code, time.monotonic() - began < 20)


def forwarding(world: World, script: str) -> tuple[Spawned, int]:
    """A shell that runs, and the memory file it writes to."""
    output = world.memory()
    request = world.request("/bin/sh", "-c", script)
    null = request.stdio[0]
    spawned = world.spawn(world.with_stdio(request, (null, output, null)))
    wait_for(lambda: b"ready" in os.pread(output, 4096, 0))
    return spawned, output


def test_every_signal_that_can_be_is_forwarded(world: World) -> None:
    """What init receives, the program receives: all but those that no one can catch, and init's own SIGCHLD."""
    numbers = [n for n in range(1, 65) if n not in (9, 19, 17, 32, 33) and n not in (18, 20, 21, 22)]
    traps = "; ".join(f"trap 'echo got {n}' {n}" for n in numbers)
    spawned, output = forwarding(world, f"{traps}; echo ready; while :; do sleep 0.01; done")
    for number in numbers:
        signal.pidfd_send_signal(spawned.pidfd, number)
        got = f"got {number}\n".encode()
        wait_for(lambda got=got: got in os.pread(output, 65536, 0))  # type: ignore[misc]

    assert [f"got {number}".encode() for number in numbers] == os.pread(output, 65536, 0).splitlines()[1:]


def test_a_stop_and_a_continue_are_forwarded(world: World) -> None:
    """SIGTSTP stops the program, SIGCONT lets it go on; init takes neither for its end."""
    spawned, output = forwarding(world, "echo ready; while :; do echo x; sleep 0.01; done")

    def grows() -> bool:
        size = os.fstat(output).st_size
        time.sleep(0.1)
        return os.fstat(output).st_size > size

    signal.pidfd_send_signal(spawned.pidfd, signal.SIGTSTP)
    stopped = wait_for(lambda: not grows())
    signal.pidfd_send_signal(spawned.pidfd, signal.SIGCONT)

    assert (True, True) == (stopped, wait_for(grows))


def test_a_signal_sent_before_the_program_is_ready_is_not_lost(world: World) -> None:
    """SIGTERM straight after spawn() ends a program that does not handle it."""
    spawned = world.start("/bin/sleep", "1000")
    signal.pidfd_send_signal(spawned.pidfd, signal.SIGTERM)

    assert 128 + signal.SIGTERM == world.finish(spawned)


def test_the_program_starts_with_no_signal_blocked_or_ignored(world: World) -> None:
    """Python ignores SIGPIPE and SIGXFSZ; the program does not inherit that, nor any mask."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        seen = world.see()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR1])

    assert (0, 0, 0) == (seen.bits("SigBlk"), seen.bits("SigIgn"), seen.bits("SigCgt"))


def test_the_program_is_pid_2_in_a_group_of_its_own(world: World) -> None:
    """Init is pid 1 and leads the session; the program leads a process group."""
    seen = world.see()

    assert (2, 1, 2, 1) == (seen.pid, seen.ppid, seen.pgid, seen.sid)


def test_candidates_are_tried_until_one_exists(world: World) -> None:
    """Missing ones, and ones below what is no directory, are passed over."""
    candidates = b"/nowhere/probe", b"/etc/passwd/probe", b"/probe", b"/bin/false"

    assert ("/probe",) == world.run("/probe", candidates=candidates).seen.argv


def test_a_candidate_that_may_not_be_executed_is_remembered(world: World) -> None:
    """EACCES is the answer of a search that found one without the execute bit, and then nothing better."""
    candidates = b"/nowhere", b"/etc/passwd", b"/nowhere"

    assert ("program", 1, errno.EACCES, None) == answer_of(world.request("/probe", candidates=candidates))


def test_a_search_goes_on_after_one_that_may_not_be_executed(world: World) -> None:
    """As in execvp(3), what comes after an EACCES is tried."""
    assert 0 == world.run("/probe", candidates=(b"/etc/passwd", b"/probe")).code


def test_the_first_of_several_that_are_missing_is_named(world: World) -> None:
    """Where no candidate exists, the item is the first."""
    assert ("program", 0, errno.ENOENT, None) == answer_of(world.request("/probe", candidates=(b"/a", b"/b")))


def test_no_candidates_at_all_is_not_found(world: World) -> None:
    """An empty search is ENOENT, of no item."""
    assert ("program", -1, errno.ENOENT, None) == answer_of(world.request("/probe", candidates=()))


def test_a_script_that_names_no_interpreter_is_run_by_the_shell(world: World, bin_directory: Path) -> None:
    """As execvp(3) does: /bin/sh, the script's path, and the arguments."""
    add_program(bin_directory, "script", b'echo "$0 $# $1"\n')
    steps = world.bind(bin_directory, b"own")

    assert b"/own/script 1 x y\n" == world.run("/own/script", "x y", extra=steps).output


@pytest.mark.parametrize(
    ("content", "mode", "number"),
    [
        pytest.param(b"\x7fELF\x00 foreign", 0o755, errno.ENOEXEC, id="foreign"),
        pytest.param(b"#!/nowhere/sh\n", 0o755, errno.ENOENT, id="no-interpreter"),
        pytest.param(b"#!/bin/sh\n", 0o644, errno.EACCES, id="no-execute-bit"),
        pytest.param(b"#!/etc/passwd\n", 0o755, errno.EACCES, id="interpreter-no-program"),
    ],
)
def test_what_cannot_run_is_told_by_errno(
    world: World, bin_directory: Path, content: bytes, mode: int, number: int
) -> None:
    """A foreign binary, a missing interpreter, a missing permission: a failed spawn, never an exit status."""
    add_program(bin_directory, "program", content, mode)
    steps = world.bind(bin_directory, b"own")

    assert ("program", 0, number, None) == answer_of(world.request("/own/program", extra=steps))


def test_a_mount_without_exec_is_permission_denied(world: World, bin_directory: Path) -> None:
    """A program on a noexec mount is EACCES."""
    add_program(bin_directory, "program", b"#!/bin/sh\n")
    steps = world.bind(bin_directory, b"own", set_attributes=NOEXEC)

    assert ("program", 0, errno.EACCES, None) == answer_of(world.request("/own/program", extra=steps))


def test_arguments_and_environment_arrive_byte_by_byte(world: World) -> None:
    """Any bytes but NUL, empty strings, and hundreds of them."""
    weird = bytes(range(1, 256))
    argv = b"/probe", *(b"sleep:0" for _ in range(300))
    environment = b"A=" + weird, b"", b"=", b"no equals sign", b"A=again", b"PATH=", b"\xff=\xfe"
    seen = world.run(*argv, env=environment).seen

    assert environment == tuple(map(os.fsencode, seen.environment))
    assert 301 == len(seen.argv)


def test_arg_zero_is_what_was_asked_for(world: World) -> None:
    """argv[0] is any bytes at all, whatever the candidate is."""
    seen = world.run(b"-\xff name\n", candidates=(b"/probe",)).seen

    assert (b"-\xff name\n",) == tuple(map(os.fsencode, seen.argv))


def test_an_environment_of_a_megabyte_arrives(world: World) -> None:
    """What the kernel's limit allows is passed on whole."""
    environment = tuple(b"V%d=" % i + b"x" * 100_000 for i in range(10))

    assert 10 * 100_000 < sum(map(len, world.run("/probe", env=environment).seen.environment))


@pytest.mark.parametrize("environment", [(b"x" * 200_000,), tuple(b"%d" % i + b"x" * 100_000 for i in range(80))])
def test_too_large_an_environment_is_told(world: World, environment: tuple[bytes, ...]) -> None:
    """One string of more than 128 KiB, or more than a quarter of the stack's limit, is E2BIG."""
    assert ("program", 0, errno.E2BIG, None) == answer_of(world.request("/probe", env=environment))


def test_the_output_ends_when_the_program_closes_it(world: World) -> None:
    """Init holds none of the program's descriptors: a pipe is at its end while the program goes on."""
    ours, theirs = os.pipe()
    request = world.request("/bin/sh", "-c", "exec >&- 2>&- <&-; sleep 1000")
    world.spawn(world.with_stdio(request, (request.stdio[0], theirs, theirs)))
    os.close(theirs)
    with open(ours, "rb") as pipe:
        assert b"" == pipe.read()


def test_limits_are_the_programs(world: World) -> None:
    """Resource limits hold for the program, soft and hard apart."""
    limits = (
        (resource.RLIMIT_NOFILE, 100, 200),
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_FSIZE, 1 << 40, NO_LIMIT),
    )
    seen = world.see(rlimits=limits)

    assert limits == tuple((number, *seen.rlimits[number]) for number, _, _ in limits)


def test_a_limit_of_few_descriptors_is_met(world: World) -> None:
    """A program may be limited to fewer descriptors than init's own take."""
    assert (1, 1) == world.see(rlimits=((resource.RLIMIT_NOFILE, 1, 1),)).rlimits[resource.RLIMIT_NOFILE]


def test_identity_and_capabilities_are_the_requests(world: World) -> None:
    """Four uids, four gids, the groups, and each of the five capability sets as asked for."""
    chown, kill, raw = 1 << 0, 1 << 5, 1 << 13
    seen = world.see(
        groups=(7, 8, 9),
        bounding=chown | kill | raw,
        permitted=chown | kill,
        inheritable=kill,
        ambient=kill,
        no_new_privs=False,
    )

    assert ((2000,) * 4, (3000,) * 4, (7, 8, 9)) == tuple(map(seen.ids, ("Uid", "Gid", "Groups")))
    # What exec makes of them: only ambient ones stay permitted and effective for a program without file capabilities.
    sets = tuple(map(seen.bits, ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")))
    assert (chown | kill | raw, kill, kill, kill, kill) == sets
    assert "0" == seen.status["NoNewPrivs"]


def test_by_default_there_are_no_privileges_to_be_had(world: World) -> None:
    """No capability in any set, no group, and no_new_privs."""
    seen = world.see()
    sets = tuple(map(seen.bits, ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")))

    assert ((0,) * 5, (), "1") == (sets, seen.ids("Groups"), seen.status["NoNewPrivs"])


def test_the_host_name_is_the_containers_own(world: World) -> None:
    """It is set in a UTS namespace of the container's own; the host's stays."""
    before = os.uname().nodename

    assert ("x" * 64, before) == (world.see(hostname=b"x" * 64).hostname, os.uname().nodename)


def test_the_working_directory_is_inside(world: World) -> None:
    """A link on the way to it is resolved inside."""
    steps = (Step(StepKind.LINK, 0, b"link", b"/../../../tmp"),)

    assert "/tmp" == world.see(workdir=b"/link", extra=steps).cwd
