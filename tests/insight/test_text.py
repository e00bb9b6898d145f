"""A plan in words."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from bpm import (
    HostFacts,
    JobConfig,
    Limits,
    ProcessConfig,
    ProcessPlan,
    Volume,
    compare_plans,
    describe_plan,
    make_plan,
)
from tests.plan import golden
from tests.plan.because import every_because


def plan(**keys: Any) -> ProcessPlan:
    return make_plan(JobConfig((ProcessConfig("web", "/bin/true", **keys),), job="web"), "web", HostFacts())


def lines(of: ProcessPlan, title: str) -> list[tuple[tuple[str, ...], str]]:
    (section,) = [section for section in describe_plan(of) if section.title == title]
    return [(row.cells, row.because) for row in section.rows]


@pytest.mark.parametrize("name", golden.names())
def test_every_line_has_its_reason(name: str) -> None:
    """Every line has a reason, and every reason of a plan is on some line."""
    made = golden.plan_of(name)
    rows = [row for section in describe_plan(made) for row in section.rows]

    assert [] == [row for row in rows if not row.because or not all(row.cells[:1])]
    assert set() == set(every_because(made)) - {row.because for row in rows}


def test_a_section_is_in_order() -> None:
    """Mounts are told in the order in which they are made, each with what it shows, how and why."""
    told = lines(plan(additional_volumes=(Volume("/var/vcap/data/x", writable=True),)), "Mounts")

    assert (("/proc", "proc", ""), "default: kernel file systems") == told[0]
    volume = ("/var/vcap/data/x", "the same", "rbind,noexec,nosuid,nodev,rw")
    assert (volume, "processes[0].additional_volumes[0]") in told


def test_what_is_left_out_is_told() -> None:
    """What was asked for and is not mounted has a section."""
    twice = (Volume("/var/vcap/data/x"), Volume("/var/vcap/data/x"))

    assert [
        (("/var/vcap/data/x", "an earlier entry mounts the same destination"), "processes[0].additional_volumes[1]")
    ] == lines(plan(additional_volumes=twice), "Not mounted")


def test_equal_plans_do_not_differ() -> None:
    """Nothing is told of two equal plans."""

    assert () == compare_plans(plan(), plan())


def test_what_differs_is_told_from_both_sides() -> None:
    """A changed line is gone and is new; lines that both have are not told."""
    before, after = (plan(limits=Limits(open_files=count)) for count in (100, 200))

    assert [
        ("-", "Limits", ("RLIMIT_NOFILE", "100")),
        ("+", "Limits", ("RLIMIT_NOFILE", "200")),
    ] == [(change.sign, change.title, change.row.cells) for change in compare_plans(before, after)]


def test_another_order_differs() -> None:
    """Where nothing but the order of mounts differs, that is told."""
    before = plan()

    assert compare_plans(before, evolve(before, mounts=before.mounts[::-1]))


def test_mount_points_are_told() -> None:
    """Where bpm makes the place that a mount hangs over, the plan says so."""
    facts = HostFacts(root="/tmp/bosh")
    below = make_plan(
        JobConfig((ProcessConfig("web", "/bin/true", additional_volumes=(Volume("/tmp/bosh/data/x"),)),), job="web"),
        "web",
        facts,
    )

    (point,) = [row for row, _ in lines(below, "On the host, before") if row[0] == "mount point"]
    assert "for /tmp/bosh/data/x" in point[2]
