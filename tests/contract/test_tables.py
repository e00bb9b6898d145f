"""Every sentence of the contract, and every difference from it, is held by tests that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.tables import missing, names_in, read_table

pytestmark = pytest.mark.same_everywhere

HERE = Path(__file__).parent
SENTENCES = read_table(HERE / "sentences.yml")
DIFFERENCES = read_table(HERE / "differences.yml")


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_is_held_by_tests(sentence: str) -> None:
    """The sentence says something, has at least one test, and its tests exist."""
    says, by = SENTENCES[sentence]

    assert says and by
    assert [] == missing(by)


@pytest.mark.parametrize("row", DIFFERENCES)
def test_each_difference_is_shown_by_tests(row: str) -> None:
    """The difference has at least one test, and its tests exist."""
    by = DIFFERENCES[row][1]

    assert by
    assert [] == missing(by)


def test_the_sections_are_all_there_and_in_order() -> None:
    """Sections 1 to 9 have sentences, in their order; section 10 is the differences."""
    sections = [int(sentence.partition(".")[0]) for sentence in SENTENCES]

    assert sorted(sections) == sections
    assert {*range(1, 10)} == set(sections)


def test_the_manual_has_the_same_differences() -> None:
    """The rows of docs/differences.md, by their first column, are those of the table, in the same order."""
    lines = (HERE.parent.parent / "docs/differences.md").read_text().splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    rows = [row for row in rows if set(row) != {"-"}]

    assert list(DIFFERENCES) == rows


def test_a_test_that_is_none_is_found_out() -> None:
    """A file, a class or a function that does not exist is missing."""
    there = "contract/test_tables.py::test_a_test_that_is_none_is_found_out"
    none = ["contract/test_tables.py::test_nothing", "nowhere.py::test_x", "host/test_observe.py::TestRoot::test_y"]

    assert none == missing([there, *none, "host/test_observe.py::TestRoot::test_given"])
    assert names_in("contract/tables.py") == frozenset()
