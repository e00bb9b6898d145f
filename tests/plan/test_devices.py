"""The container's own /dev, the masks and the read-only paths."""

from __future__ import annotations

import os
from stat import S_ISCHR

import pytest

from bpm.config import Unsafe, Volume
from bpm.plan import HostFacts, Node
from bpm.plan.devices import NODES
from tests.plan.making import plan_of


@pytest.mark.parametrize("node", NODES, ids=[node.path for node in NODES])
def test_numbers(node: Node) -> None:
    """A node has the numbers that this kernel's own one has."""
    status = os.stat(node.path)

    assert S_ISCHR(status.st_mode)
    assert (node.major, node.minor) == (os.major(status.st_rdev), os.minor(status.st_rdev))


def test_names() -> None:
    """Our /dev has what a container of upstream's has."""
    plan = plan_of()

    names = [node.path for node in plan.nodes] + [link.path for link in plan.links]
    assert {path.removeprefix("/dev/") for path in names} == {
        *("null", "zero", "full", "random", "urandom", "tty"),
        *("ptmx", "fd", "stdin", "stdout", "stderr"),
    }


def test_core() -> None:
    """/dev/core is there where the host has /proc/kcore."""
    plan = plan_of(HostFacts(existing=frozenset({"/proc/kcore"})))

    assert [(link.path, link.target) for link in plan.links if "core" in link.path] == [("/dev/core", "/proc/kcore")]


def test_none_in_the_hosts() -> None:
    """Nothing is made in the host's /dev when a volume brings it in."""
    plan = plan_of(unsafe=Unsafe(unrestricted_volumes=(Volume("/dev", writable=True),)))

    assert (plan.nodes, plan.links) == ((), ())


def test_none_where_a_volume_is() -> None:
    """A node or a link gives way to a volume at its path, a link also to one below it."""
    plan = plan_of(unsafe=Unsafe(unrestricted_volumes=(Volume("/dev/null"), Volume("/dev/fd/3"), Volume("/dev/log"))))

    assert "/dev/null" not in [node.path for node in plan.nodes]
    assert "/dev/fd" not in [link.path for link in plan.links]
    assert (len(plan.nodes), len(plan.links)) == (5, 4)


def test_covers() -> None:
    """A privileged process has nothing masked and nothing made read-only."""
    plain, privileged = plan_of(), plan_of(unsafe=Unsafe(privileged=True))

    assert (len(plain.masked), len(plain.read_only)) == (7, 6)
    assert (privileged.masked, privileged.read_only) == ((), ())
