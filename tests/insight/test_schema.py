"""What is published of the code: the schema of a plan, and the keys of bpm.yml."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from bpm import HostFacts, JobConfig, ProcessConfig, Unsafe, make_plan
from tests.insight.publish import DOCS, PAGES
from tests.plan import golden

SCHEMA = json.loads((DOCS / "plan.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def plan(**keys: Any) -> dict[str, Any]:
    config = JobConfig((ProcessConfig("web", "/bin/true", **keys),), job="web")
    read: dict[str, Any] = json.loads(make_plan(config, "web", HostFacts()).to_json())
    return read


@pytest.mark.parametrize("name", PAGES)
def test_what_is_published_is_what_the_code_says(name: str) -> None:
    """The schema of plans and the page of bpm.yml's keys: ``python -m tests.insight.publish`` writes them."""
    assert PAGES[name]() == (DOCS / name).read_text()


def test_the_schema_is_one() -> None:
    """It follows its own draft, and every class has a description."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    assert [] == [name for name, schema in SCHEMA["$defs"].items() if not schema["description"]]


@pytest.mark.parametrize("name", golden.names())
def test_plans_follow_it(name: str) -> None:
    """Every golden plan is valid."""
    read = json.loads(golden.plan_of(name).to_json())

    assert [] == [error.message for error in VALIDATOR.iter_errors(read)]


@pytest.mark.parametrize("keys", [{}, {"unsafe": Unsafe(privileged=True)}], ids=str)
def test_plans_made_now_follow_it(keys: dict[str, Any]) -> None:
    """A plan with a filter is valid, and one without."""

    assert VALIDATOR.is_valid(plan(**keys))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda read: read.pop("mounts"),
        lambda read: read.update(more=1),
        lambda read: read["mounts"][0].pop("because"),
        lambda read: read["mounts"][0].update(options="ro"),
        lambda read: read.update(no_new_privs=1),
        lambda read: read["seccomp"]["errno_of"].append(["clone3"]),
        lambda read: read["identity"].update(uid="0"),
    ],
)
def test_what_is_no_plan_does_not(spoil: Any) -> None:
    """What lacks a field, has one too many or one of another type is not valid."""
    read = plan()
    spoil(read)

    assert not VALIDATOR.is_valid(read)
