"""Which files of this room only compute."""

from __future__ import annotations

from pathlib import Path

import pytest

import bpm.insight
from tests.test_architecture import IMPURE, imports_of

HERE = Path(bpm.insight.__file__).parent


@pytest.mark.parametrize("name", ["lint", "volumes", "text", "schema"])
def test_what_only_computes_does_not_look(name: str) -> None:
    """What can be told from a configuration or a plan alone is told without reading the machine or the clock."""
    found = [module for _, module in imports_of(HERE / f"{name}.py") if module.split(".")[0] in IMPURE]

    assert [] == found
