"""What is read from a report, and what is written into the docs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.hosts import HOSTS
from tests.vm.report import BEGIN, END, Result, Tally, read_tally, write_table

REPORT = """
<testsuites><testsuite name="pytest">
  <testcase classname="tests.cgroup.test_group" name="test_kill[v1]"/>
  <testcase classname="tests.cgroup.test_group" name="test_remove"><failure message="no"/></testcase>
  <testcase classname="tests.cgroup.test_group" name="test_clean"><error message="no"/></testcase>
  <testcase classname="tests.host.test_observe" name="test_a"><skipped message="no devices"/></testcase>
  <testcase classname="tests.host.test_observe" name="test_b"><skipped message="no devices"/></testcase>
</testsuite></testsuites>
"""


def test_a_tally_tells_run_failed_and_skipped_apart(tmp_path: Path) -> None:
    """A test that failed has run, one that was skipped has not, and reasons are counted."""
    (tmp_path / "junit.xml").write_text(REPORT)
    failed = "tests/cgroup/test_group.py::test_remove", "tests/cgroup/test_group.py::test_clean"

    assert Tally(3, failed, {"no devices": 2}) == read_tally(tmp_path / "junit.xml")


def test_no_report_is_an_empty_tally(tmp_path: Path) -> None:
    """Tests that were never begun are not taken for a success: none has run."""
    assert Tally() == read_tally(tmp_path / "junit.xml")


def test_a_row_takes_the_place_of_its_hosts_last_one(tmp_path: Path) -> None:
    """What is around the table's marks stays, so do other hosts' rows, and writing it twice changes nothing."""
    page = tmp_path / "hosts.md"
    page.write_text(f"above\n{BEGIN}\n| `nested` | kept |\n| `v1` | old |\n| `gone` | old |\n{END}\nbelow\n")
    for _ in range(2):
        write_table([Result(HOSTS["v1"], "6.1.1", "v1 a|b", Tally(7, (), {"no freezer": 1}))], page)
    lines = page.read_text().splitlines()

    assert ["above", BEGIN, END, "below"] == [*lines[:2], *lines[-2:]]
    assert [
        "| `v1` | v1, no systemd, `cpu` and `cpuacct` in one hierarchy | 6.1.1 | v1 a\\|b | 7 | 0 | 1 × no freezer |",
        "| `nested` | kept |",
    ] == lines[4:-2]


def test_a_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    """There is no place for a table where no marks are."""
    page = tmp_path / "hosts.md"
    page.write_text("no marks\n")

    with pytest.raises(ValueError, match="no place"):
        write_table([], page)
    assert "no marks\n" == page.read_text()
