"""The golden plans are the plans made now."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.plan.golden import HERE, names, plan_of, render


@pytest.mark.parametrize("name", names())
def test_golden(name: str) -> None:
    """The plan is the one on file; ``make golden`` writes it anew."""
    assert (HERE / f"{name}.json").read_text() == render(plan_of(name))


def test_none_is_left_over() -> None:
    """Each plan and each host on file belongs to a bpm.yml."""
    files = {path.name.removesuffix(".json").removesuffix(".facts") for path in HERE.glob("*.json")}

    assert set(names()) == files


@pytest.mark.parametrize("seed", ["0", "1"])
def test_does_not_depend_on_hashing(seed: str) -> None:
    """Another process, with another seed for its hashes, makes the same bytes."""
    program = "from tests.plan.golden import *; print(''.join(render(plan_of(n)) for n in names()), end='')"

    output = subprocess.run(
        [sys.executable, "-c", program],
        cwd=HERE.parents[2],
        env={"PYTHONHASHSEED": seed},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert "".join((HERE / f"{name}.json").read_text() for name in names()) == output
