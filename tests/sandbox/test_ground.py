"""Where the cgroups of sandboxes are made, on hosts that this one is not."""

from __future__ import annotations

import pytest
from attrs import evolve

from bpm import Controller, Limits, Sandbox
from bpm.plan import LEAF
from bpm.sandbox.facts import look_around
from bpm.sandbox.planning import make_sandbox_plan

OWN = "/system.slice/wrapper.service"
TOP = "/sys/fs/cgroup"


@pytest.mark.parametrize("crowded", [True, False])
def test_a_crowded_cgroup_is_made_room_in(crowded: bool) -> None:
    """On v2, where our own cgroup holds processes, they are moved into a child of it; the limit is the reason."""
    sandbox = Sandbox.system(limits=Limits(memory="32M"))
    around = look_around(sandbox)
    controllers = tuple(Controller(name, 2, TOP, OWN) for name in ("cpu", "memory", "pids"))
    host = evolve(around.host, controllers=controllers, unified=Controller("", 2, TOP, OWN), crowded=crowded)
    plan = make_sandbox_plan(sandbox, evolve(around, host=host, missing_cgroups=frozenset()), ["true"])
    move = plan.cgroup.evacuation

    assert [f"{TOP}{OWN}"] == [directory.path.rpartition("/")[0] for directory in plan.cgroup.directories]
    if crowded:
        assert move is not None
        assert (f"{TOP}{OWN}", f"{TOP}{OWN}/{LEAF}", "limits.memory") == (move.path, move.leaf, move.because)
    else:
        assert move is None


def test_a_sandbox_without_limits_moves_nobody() -> None:
    """It needs no cgroup of its own."""
    sandbox = Sandbox.system()
    around = look_around(sandbox)
    plan = make_sandbox_plan(sandbox, evolve(around, host=evolve(around.host, crowded=True)), ["true"])

    assert ((), None) == (plan.cgroup.directories, plan.cgroup.evacuation)
