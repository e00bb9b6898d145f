"""The comparison of plan and inside is no rubber stamp: whatever is changed in a plan, it notices."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve

from bpm import ProcessPlan
from bpm.plan import Capability, Variable, Workdir
from tests.integration.agreement import disagreements
from tests.integration.conftest import Probing

pytestmark = pytest.mark.needs_root

CHANGES: dict[str, Callable[[ProcessPlan], ProcessPlan]] = {
    "a uid": lambda plan: evolve(plan, identity=evolve(plan.identity, uid=plan.identity.uid + 1)),
    "a gid": lambda plan: evolve(plan, identity=evolve(plan.identity, gid=plan.identity.gid + 1)),
    "a group": lambda plan: evolve(plan, identity=evolve(plan.identity, groups=(4,))),
    "a capability": lambda plan: evolve(plan, capabilities=(Capability("CHOWN", ""),)),
    "no_new_privs": lambda plan: evolve(plan, no_new_privs=not plan.no_new_privs),
    "the filter": lambda plan: evolve(plan, seccomp=None),
    "an argument": lambda plan: evolve(plan, argv=(*plan.argv, "x")),
    "a variable": lambda plan: evolve(plan, env=(*plan.env, Variable("X", "1", ""))),
    "their order": lambda plan: evolve(plan, env=plan.env[::-1]),
    "the directory": lambda plan: evolve(plan, workdir=Workdir("/", "")),
    "the host name": lambda plan: evolve(plan, hostname="other"),
    "a limit": lambda plan: evolve(plan, rlimits=(evolve(plan.rlimits[0], soft=plan.rlimits[0].soft - 1),)),
    "a namespace": lambda plan: evolve(plan, namespaces=plan.namespaces[1:]),
    "a mount less": lambda plan: evolve(plan, mounts=tuple(m for m in plan.mounts if m.target != "/etc")),
    "a mount's ro": lambda plan: evolve(plan, mounts=tuple(m.writable() for m in plan.mounts)),
    "a mount's noexec": lambda plan: evolve(plan, mounts=tuple(m.executable() for m in plan.mounts)),
    "a mount's nosuid": lambda plan: evolve(plan, mounts=tuple(m.without("nosuid") for m in plan.mounts)),
    "a mount's kind": lambda plan: evolve(plan, mounts=tuple(evolve(m, kind="proc") for m in plan.mounts)),
}


def test_every_change_of_a_plan_is_noticed(probing: Probing) -> None:
    """One probe, and a plan that differs in one thing at a time."""
    told = probing.run(limits={"open_files": 300})
    seen = told.seen

    assert [] == disagreements(told.plan, seen)
    assert [] == [what for what, change in CHANGES.items() if not disagreements(change(told.plan), seen)]
