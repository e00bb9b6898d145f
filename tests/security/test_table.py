"""Every class of escape has tests that stand against it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.tables import missing, read_table

ESCAPES = read_table(Path(__file__).with_name("escapes.yml"))


@pytest.mark.parametrize("escape", ESCAPES)
def test_each_escape_has_a_test(escape: str) -> None:
    """The class has at least one test, and its tests exist."""
    says, by = ESCAPES[escape]

    assert says and by
    assert [] == missing(by)


def test_all_classes_are_there() -> None:
    """The record knows 26 of them."""

    assert 26 == len(ESCAPES)
