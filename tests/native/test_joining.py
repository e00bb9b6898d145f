"""Into a container that runs: a second program with an init of its own, which stays outside."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bpm._native import Spawned
from tests.inside import ISOLATED, Seen, World, wait_for
from tests.native.callers import answer_of

pytestmark = pytest.mark.needs_root


def see_from(world: World, container: Spawned, *attempts: str) -> Seen:
    """What the probe sees in the container."""
    return world.run("/probe", *attempts, **joining(container)).seen


def joining(container: Spawned) -> dict[str, Any]:
    return {"steps": (), "namespaces": 0, "join_fd": container.pidfd, "join_namespaces": ISOLATED}


def identifiers(pid: int) -> dict[str, str]:
    """The namespaces of a process of ours."""
    return {kind: os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("ipc", "mnt", "pid", "uts", "net", "user")}


def test_a_joiner_has_the_namespaces_of_the_container(world: World) -> None:
    """All that were asked for, and the host's others."""
    container = world.start("/bin/sleep", "1000", hostname=b"joined")
    seen = see_from(world, container)

    assert ("joined", identifiers(container.pid)) == (
        seen.hostname,
        {kind: seen.namespaces[kind] for kind in identifiers(container.pid)},
    )


def test_a_joiner_sees_what_the_container_sees(world: World) -> None:
    """The same mounts, and the same processes: pid 1 is the container's init."""
    container = world.start("/bin/sleep", "1000")
    seen = see_from(world, container, "list:/probe", "list:/work")
    inside = Path(f"/proc/{container.pid}/mountinfo").read_text().count("\n")

    assert (inside, -errno.ENOTDIR, -errno.ENOENT) == (len(seen.mounts), *seen.attempts.values())
    assert seen.pid > 2


def test_the_joiners_init_is_not_seen_inside(world: World) -> None:
    """It stays in the caller's pid namespace: nobody inside can reach it."""
    container = world.start("/bin/sleep", "1000")
    seen = see_from(world, container)
    processes = world.run("/bin/sh", "-c", "echo /proc/[0-9]*", **joining(container)).output.split()

    assert 0 == seen.ppid
    assert 3 == len(processes)


def test_a_joiner_is_as_unprivileged_as_it_was_asked_to_be(world: World) -> None:
    """Identity, capabilities, no_new_privs, descriptors: as for any spawn."""
    container = world.start("/bin/sleep", "1000")
    seen = see_from(world, container)
    sets = tuple(map(seen.bits, ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")))

    assert ((2000,) * 4, (3000,) * 4, (0,) * 5, "1", [0, 1, 2]) == (
        seen.ids("Uid"),
        seen.ids("Gid"),
        sets,
        seen.status["NoNewPrivs"],
        sorted(seen.descriptors),
    )


def test_a_joiner_ends_as_its_program_does(world: World) -> None:
    """Exit status, record, and the container goes on."""
    container = world.start("/bin/sleep", "1000")
    ended = world.shell("exit 9", **joining(container))

    assert ended.facts is not None
    assert (9, 9, False) == (ended.code, ended.facts.status, has_ended(container))


def has_ended(container: Spawned) -> bool:
    return os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def test_the_end_of_the_container_ends_its_joiners(world: World) -> None:
    """When the container's init is killed, so is everything in its pid namespace; the joiner's init says so."""
    container = world.start("/bin/sleep", "1000")
    joiner = world.start("/bin/sleep", "1000", **joining(container))
    world.finish(world.killed(container))

    assert 128 + 9 == world.finish(joiner)


def test_what_has_ended_cannot_be_joined(world: World) -> None:
    """Its pidfd is still ours, and joining it is ESRCH."""
    container = world.start("/bin/true")
    wait_for(lambda: has_ended(container))

    assert ("namespaces", -1, errno.ESRCH, None) == answer_of(world.request("/probe", **joining(container)))
