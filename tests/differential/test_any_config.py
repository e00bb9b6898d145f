"""Law: whatever bpm.yml says, the container that bpm makes is the one that runc makes of the exported bundle."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, assume, given, settings

from bpm import PlanError
from tests.differential.allowed import unmeant
from tests.differential.configs import texts
from tests.differential.conftest import Lab
from tests.differential.facts import attempts_of
from tests.differential.pair import Runc, run_both
from tests.effort import times

pytestmark = pytest.mark.needs_root

MANY = int(os.environ.get("BPM_DIFFERENTIAL", "0")) or times(120)
"""So many jobs; `make differential` says how many."""


@pytest.mark.timeout(0)
@settings(
    max_examples=MANY,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(text=texts())
def test_runc_makes_the_same_of_any_bundle(lab: Lab, runc: Runc, text: str) -> None:
    """Mounts, ids, capabilities, limits, environment, namespaces, devices, descriptors, paths; but for ALLOWED."""
    try:
        plan = lab.process(text).plan()
    except PlanError:
        assume(False)
    pair = run_both(plan, runc, attempts_of(plan))
    differences = unmeant(pair)

    assert not differences, "\n".join([*differences, "with", text])
    assert pair.ends[0] == pair.ends[1], text
