"""Without root: a container in a user namespace of its own."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from bpm._native import SpawnRequest, Step, StepKind
from tests.inside import ISOLATED, Seen, World
from tests.native.callers import answer_of, check, in_child, libc

pytestmark = pytest.mark.needs_root  # to become someone else

CLONE_NEWUSER = 0x1000_0000
USER = 31337


def request_of(world: World, *argv: str, **changes: Any) -> SpawnRequest:
    """The small root, as an unprivileged user makes it: everything bound recursively, nodes bound from the host."""
    kinds = StepKind
    steps = [Step(kinds.FILESYSTEM, 0, b"", b"tmpfs", ((b"mode", b"755"),))]
    for name in ("usr", "bin", "sbin", "lib", "lib64", "etc"):
        steps += world.bind("/" + name, name.encode(), source=b"/" + name.encode())
    steps += world.bind(world.probe, b"probe", source=os.fsencode(world.probe))
    steps += [Step(kinds.DIRECTORY, 2, b"proc", mode=0o755), Step(kinds.FILESYSTEM, 2, b"proc", b"proc")]
    keys: dict[str, Any] = {
        "steps": tuple(steps),
        "namespaces": ISOLATED | CLONE_NEWUSER,
        "uid": USER,
        "gid": USER,
        "uid_map": b"%d %d 1" % (USER, USER),
        "gid_map": b"%d %d 1" % (USER, USER),
        "keep_groups": True,
    }
    return world.request(*argv, **{**keys, **changes})


def as_user() -> None:
    """This process (a fork) becomes an ordinary user, who may dump and trace itself as any other."""
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    check(libc.prctl(4, 1, 0, 0, 0))  # PR_SET_DUMPABLE: a change of user took it, and /proc/self with it


def see_as_user(world: World, *attempts: str) -> Seen:
    def see() -> Seen:
        as_user()
        return world.run_request(request_of(world, "/probe", *attempts)).seen

    return in_child(see)


def test_an_ordinary_user_makes_a_container(world: World) -> None:
    """With its own ids, no capability, and a root of its own."""
    seen = see_as_user(world, "list:/work", "create:/usr/x", "unmount:/proc")
    sets = tuple(map(seen.bits, ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")))

    assert ((USER,) * 4, (USER,) * 4, (0,) * 5) == (seen.ids("Uid"), seen.ids("Gid"), sets)
    assert [-errno.ENOENT, -errno.EROFS, -errno.EPERM] == list(seen.attempts.values())
    assert (2, 1) == (seen.pid, seen.ppid)


def test_its_failures_are_told_as_any(world: World) -> None:
    """A missing program, and a map that the user may not have."""

    def fail() -> list[tuple[str, int, int, int | None]]:
        as_user()
        return [
            answer_of(request_of(world, "/nowhere")),
            answer_of(request_of(world, "/probe", uid_map=b"0 0 2")),
            answer_of(request_of(world, "/probe", keep_groups=False)),
        ]

    assert [
        ("program", 0, errno.ENOENT, None),
        ("namespaces", 1, errno.EPERM, None),
        ("namespaces", 2, errno.EPERM, None),
    ] == in_child(fail)


def test_the_caller_stays_dumpable(world: World) -> None:
    """The child, which has all capabilities of its namespace, leaves the shared memory's flag alone."""

    def see() -> int:
        as_user()
        world.run_request(request_of(world, "/probe"))
        return check(libc.prctl(3, 0, 0, 0, 0))

    assert 1 == in_child(see)


def test_without_a_user_namespace_an_ordinary_user_gets_nowhere(world: World) -> None:
    """The clone is EPERM, or already the sources."""

    def fail() -> tuple[str, int]:
        as_user()
        stage, _, number, _ = answer_of(world.request("/probe"))
        return stage, number

    assert ("sources", errno.EPERM) == in_child(fail)


def test_user_namespaces_are_allowed_here() -> None:
    """Where they are not, the tests of this file say so by EPERM or ENOSPC; this is the switch to look at."""
    assert int(Path("/proc/sys/user/max_user_namespaces").read_text()) > 0
