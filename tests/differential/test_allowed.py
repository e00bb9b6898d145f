"""The table of differences says no more than there is, and the comparison lets nothing else through."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.differential.allowed import ALLOWED, judge, judged
from tests.differential.conftest import Lab
from tests.differential.facts import Facts, attempts_of, facts_of
from tests.differential.pair import Pair, Runc, run_both

pytestmark = pytest.mark.needs_root

PLAIN = "processes: [{name: job, executable: /var/vcap/packages/probe/bin/probe}]\n"
# Where a row cannot say more than that ours is as it is.
LOOSE = r"process: (pid|parent|process group|session)|mount: / \(.*\)|attempt: node:.*/node:c:10:200"

PRIVILEGED = PLAIN.replace("}]", ", unsafe: {privileged: true, host_pid_namespace: true}}]")


@pytest.fixture
def pairs(lab: Lab, runc: Runc) -> list[Pair]:
    """Of a job without privileges, and of one with all of them."""
    found = []
    for text in (PLAIN, PRIVILEGED):
        plan = lab.process(text).plan()
        found.append(run_both(plan, runc, attempts_of(plan)))
    return found


def test_every_row_is_needed(pairs: list[Pair]) -> None:
    """Each allowed difference is seen; and there is no other."""
    rows = [row for pair in pairs for _, _, _, row in judged(pair)]

    assert None not in rows
    assert [] == [row.name for row in ALLOWED if row not in rows]
    assert all(row.reason for row in ALLOWED)


def changed(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, tuple):
        return (*value[:-1], changed(value[-1])) if value else ("x",)
    return value + 1 if isinstance(value, int) else f"{value}x"


def test_whatever_else_differs_is_noticed(pairs: list[Pair]) -> None:
    """Any fact that runc's container does not have, or has otherwise, is a difference that no row allows."""
    facts = facts_of(pairs[0].ours, pairs[0].host)
    assert len(facts) > 300
    missed = []
    for name, value in facts.items():
        for other in ({**facts, name: changed(value)}, without(facts, name)):
            if all(row is not None for *_, row in judge(facts, other)):
                missed.append(name)

    assert [] == [name for name in missed if not re.fullmatch(LOOSE, name)]


def without(facts: Facts, name: str) -> Facts:
    return {other: value for other, value in facts.items() if other != name}
