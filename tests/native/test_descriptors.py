"""Which descriptors the program and init have, whatever numbers the caller's are."""

from __future__ import annotations

import fcntl
import itertools
import os
import resource
from pathlib import Path

import pytest
from attrs import evolve

from bpm._native import EXIT_SIZE, init_descriptor, parse_exit, spawn
from bpm._native.record import COUNTERS
from tests.effort import times
from tests.inside import World, read_seen, wait_for
from tests.native.callers import in_child

pytestmark = pytest.mark.needs_root

LOW = 7  # descriptors 0 to 6 are where child.c puts things, and from there on what a cgroup counts
F_GET_SEALS, ALL_SEALS = 1034, 0x1 | 0x2 | 0x4 | 0x8  # seal, shrink, grow, write


def test_the_program_has_0_1_and_2_and_nothing_else(world: World) -> None:
    """Not one more descriptor, inheritable ones of the caller included."""
    inheritable = world.keep(os.dup(world.null()))
    os.set_inheritable(inheritable, True)
    seen = world.see()

    assert [0, 1, 2] == sorted(seen.descriptors)
    assert ("/dev/null", "/dev/null") == (seen.descriptors[0].target, seen.descriptors[2].target)


def test_open_flags_are_kept(world: World) -> None:
    """A descriptor opened for appending appends inside."""
    request = world.request("/probe")
    appending = world.keep(os.open("/dev/null", os.O_WRONLY | os.O_APPEND))
    seen = world.run_request(world.with_stdio(request, (request.stdio[0], request.stdio[0], appending))).seen

    assert os.O_WRONLY | os.O_APPEND == seen.descriptors[2].flags & (os.O_ACCMODE | os.O_APPEND)


def test_any_three_low_descriptors_can_be_the_standard_ones(probe: Path) -> None:
    """All 343 triples out of 0 to 6, in each of which init's own descriptors go to 3, 4, 5 and 6, arrive in order."""

    def run_all() -> list[tuple[int, int, int]]:
        # Descriptors 0 to 6 become seven files, told apart by their names. Init's memfd may be among what goes.
        null = os.open("/dev/null", os.O_RDWR)
        for fd in range(LOW):
            os.dup2(null, fd)
        wrong = []
        with World(probe) as world:
            request = world.request("/probe")
            record = fcntl.fcntl(world.memory(), fcntl.F_DUPFD, LOW)
            for fd in range(LOW):
                os.dup2(os.memfd_create(f"low{fd}"), fd)
            triples = list(itertools.product(range(LOW), range(LOW), range(LOW)))
            for triple in triples[:: len(triples) // times(len(triples))]:
                os.ftruncate(triple[1], 0)
                os.lseek(triple[1], 0, os.SEEK_SET)
                os.ftruncate(record, 0)
                os.lseek(record, 0, os.SEEK_SET)
                world.finish(world.spawn(evolve(request, stdio=triple, exit_fd=record)))
                seen = read_seen(os.pread(triple[1], 1 << 20, 0))
                expected = {at: f"/memfd:low{fd} (deleted)" for at, fd in enumerate(triple)}
                arrived = {at: descriptor.target for at, descriptor in seen.descriptors.items()}
                if expected != arrived or parse_exit(os.pread(record, EXIT_SIZE, 0)) is None:
                    wrong.append(triple)
        return wrong

    assert [] == in_child(run_all, above=50)


@pytest.mark.parametrize("gone", [(3, 4, 5, 6), (0, 1, 2, 3, 4, 5, 6), (0, 3, 6)])
def test_a_caller_whose_low_descriptors_are_closed_spawns(probe: Path, gone: tuple[int, ...]) -> None:
    """Where the letter, the pipe or a mount gets one of the numbers 0 to 6 itself, all still arrives."""

    def run_one() -> tuple[list[int], str, bool]:
        os.dup2(os.open("/dev/null", os.O_RDWR), 60)
        for fd in range(LOW):
            os.dup2(60, fd)
        with World(probe) as world:
            output, record = (fcntl.fcntl(world.memory(), fcntl.F_DUPFD, 70) for _ in range(2))
            request = evolve(world.request("/probe"), stdio=(60, output, 60), exit_fd=record)
            for fd in gone:
                os.close(fd)
            world.finish(world.spawn(request))
            seen = read_seen(os.pread(output, 1 << 20, 0))
            written = parse_exit(os.pread(record, EXIT_SIZE, 0)) is not None
            for fd in gone:
                os.dup2(60, fd)
            return sorted(seen.descriptors), seen.descriptors[2].target, written

    assert ([0, 1, 2], "/dev/null", True) == in_child(run_one, above=100)


@pytest.mark.parametrize("has_exit", [False, True])
@pytest.mark.parametrize("count", [0, 1, COUNTERS])
def test_init_holds_nothing_but_what_the_exit_record_takes(world: World, has_exit: bool, count: int) -> None:
    """Init keeps no descriptor of the program's, no letter and no pipe."""
    record, counters = world.memory(), tuple(world.memory() for _ in range(count))
    spawned = world.start("/bin/sleep", "1000", exit_fd=record if has_exit else -1, counters=counters)
    numbers = [*([5] if has_exit else []), *range(LOW, LOW + count)]
    expected = {str(number): "/memfd:test (deleted)" for number in numbers}

    def held() -> dict[str, str]:
        fds = f"/proc/{spawned.pid}/fd"
        return {name: os.readlink(f"{fds}/{name}") for name in os.listdir(fds)}

    # It lets go of them just after it has said that the program runs.
    wait_for(lambda: held() == expected)

    assert expected == held()


def test_the_program_holds_none_of_inits(world: World) -> None:
    """Where init holds files until the end, the program has what it was passed, and no more."""
    passed = world.keep(fcntl.fcntl(world.null(), fcntl.F_DUPFD, 9))
    seen = world.see(counters=tuple(world.memory() for _ in range(COUNTERS)), exit_fd=world.memory(), passed=(passed,))

    assert [0, 1, 2, passed] == sorted(seen.descriptors)


def test_a_reader_as_exit_fd_does_no_harm(world: World) -> None:
    """Where the exit record cannot be written, init ends as the program did all the same."""
    assert 5 == world.finish(world.start("/bin/sh", "-c", "exit 5", exit_fd=world.source("/")))


def test_inits_memfd_is_sealed() -> None:
    """What init is executed from can never be changed again."""
    assert ALL_SEALS == fcntl.fcntl(init_descriptor(), F_GET_SEALS)


def test_inits_memfd_is_made_again_when_it_was_closed(world: World) -> None:
    """A program that closes all descriptors to become a daemon can still spawn."""

    def close_and_spawn() -> int:
        os.close(init_descriptor())
        return world.run("/bin/true").code

    assert 0 == in_child(close_and_spawn)


def test_inits_memfd_is_made_again_when_its_number_is_another_file(world: World) -> None:
    """Nothing but our own memfd is ever executed, and what has its number now is left alone."""

    def replace_and_spawn() -> tuple[int, bool, str]:
        taken = init_descriptor()
        os.dup2(world.memory(), taken)
        return world.run("/bin/true").code, taken == init_descriptor(), os.readlink(f"/proc/self/fd/{taken}")

    assert (0, False, "/memfd:test (deleted)") == in_child(replace_and_spawn)


def test_a_caller_with_few_descriptors_spawns(world: World) -> None:
    """A RLIMIT_NOFILE of 64, soft and hard, is enough, and is the program's too."""

    def spawn_limited() -> tuple[int, int]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        return world.see().rlimits[resource.RLIMIT_NOFILE]

    assert (64, 64) == in_child(spawn_limited)


def test_a_caller_with_five_thousand_descriptors_spawns(world: World) -> None:
    """However many the caller has, the program has three."""

    def spawn_crowded() -> list[int]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (6000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        for _ in range(5000):
            os.dup(0)
        return sorted(world.see().descriptors)

    assert [0, 1, 2] == in_child(spawn_crowded)


def test_descriptors_in_the_request_stay_the_callers(world: World) -> None:
    """spawn() closes none of them, and what they refer to keeps its flags."""
    request = world.request("/bin/true", exit_fd=world.memory())
    fds = {*request.stdio, request.exit_fd, *(step.source_fd for step in request.steps if step.source_fd >= 0)}
    before = {fd: (os.fstat(fd).st_ino, fcntl.fcntl(fd, fcntl.F_GETFD)) for fd in fds}
    spawned = spawn(request)
    os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED)
    os.close(spawned.pidfd)

    assert before == {fd: (os.fstat(fd).st_ino, fcntl.fcntl(fd, fcntl.F_GETFD)) for fd in fds}


def test_the_pidfd_is_closed_on_exec(world: World) -> None:
    """What spawn() returns is not inherited by what the caller executes."""
    assert not os.get_inheritable(world.start("/bin/sleep", "1000").pidfd)
