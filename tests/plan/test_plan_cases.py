"""Our plans are those that upstream computes, for its own cases and for the real files of other projects."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from bpm.config import JobConfig, ProcessConfig, load, parse_variable, parse_volume
from bpm.errors import ConfigError, PlanError
from bpm.plan import HostFacts, User, make_plan
from bpm.plan.mounts import is_within
from tests.plan.upstream import expected, shown, without_proc_volumes

ROOT = Path(__file__).parents[2]
CASES = json.loads((ROOT / "tests/data/plan-cases.json").read_text())

SHARED = Path(os.environ.get("BPM_SHARED") or ROOT.parent / "shared")
PLANS = SHARED / "jobs/plans.json"
JOBS = json.loads(PLANS.read_text()) if PLANS.exists() else []

OVER_PROC = (
    "a volume at or below /proc is refused; upstream plans it and leaves the refusal to runc, which lets some by"
)

# The cases that end otherwise here, on purpose, and why.
DIFFERENCES = {
    "unrestricted proc sys dev": OVER_PROC,
    "generated 57": OVER_PROC,
    "generated 61": OVER_PROC,
    "generated 70": OVER_PROC,
    "generated 75": OVER_PROC,
    "generated 85": OVER_PROC,
    "generated 97": OVER_PROC,
    "generated 103": OVER_PROC,
}


def facts(case: dict[str, Any]) -> HostFacts:
    """The host that the cases were computed for."""
    globs = tuple((pattern, tuple(found)) for pattern, found in case.get("globs", {}).items())
    return HostFacts(user=User("vcap", 2000, 3000), globs=globs)


def plan(case: dict[str, Any], config: JobConfig, process: ProcessConfig) -> dict[str, Any]:
    """Our plan for a case, in its words."""
    volumes = [parse_volume(text) for text in case.get("volumes", ())]
    env = [parse_variable(text) for text in case.get("env", ())]
    return shown(make_plan(config, process, facts(case), volumes=volumes, env=env))


def named(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", named([c for c in CASES if "plans" in c and c["name"] not in DIFFERENCES]))
def test_plans_as_upstream(case: dict[str, Any]) -> None:
    """Each process of the case is planned, or refused, as upstream does it."""
    config = load(case["yaml"], job=case["job"])

    assert [process.name for process in config.processes] == [theirs["process"] for theirs in case["plans"]]
    for process, theirs in zip(config.processes, case["plans"], strict=True):
        if "error" in theirs:
            with pytest.raises(ConfigError) as raised:
                plan(case, config, process)
            assert theirs["error"] == raised.value.problems[0].reason
        else:
            assert expected(theirs) == plan(case, config, process)


@pytest.mark.parametrize("case", named([c for c in CASES if "error" in c]))
def test_refuses_as_upstream(case: dict[str, Any]) -> None:
    """The whole file is refused with upstream's sentence."""
    with pytest.raises(ConfigError) as raised:
        load(case["yaml"], job=case["job"])

    assert case["error"] == raised.value.problems[0].reason


@pytest.mark.parametrize("case", named([c for c in CASES if DIFFERENCES.get(c["name"]) == OVER_PROC]))
def test_refuses_volumes_over_proc(case: dict[str, Any]) -> None:
    """A volume over /proc is refused by its key, and is the only thing in which the plan differs from upstream's."""
    config = load(case["yaml"], job=case["job"])
    (process,), (theirs,) = config.processes, case["plans"]
    volumes = process.unsafe.unrestricted_volumes
    (bad,) = (i for i, volume in enumerate(volumes) if is_within(volume.path, "/proc"))

    with pytest.raises(PlanError) as raised:
        plan(case, config, process)
    assert f"processes[0].unsafe.unrestricted_volumes[{bad}]" == raised.value.key

    unsafe = evolve(process.unsafe, unrestricted_volumes=(*volumes[:bad], *volumes[bad + 1 :]))
    process = evolve(process, unsafe=unsafe)
    wanted = expected(theirs)
    wanted["mounts"] = without_proc_volumes(wanted["mounts"])
    assert wanted == plan(case, evolve(config, processes=(process,)), process)


def test_every_difference_is_a_case() -> None:
    """The table of differences names only cases that there are."""
    assert set() == set(DIFFERENCES) - {case["name"] for case in CASES}


@pytest.mark.skipif(not JOBS, reason=f"the real files of other projects are not part of a clone: no {PLANS}")
@pytest.mark.parametrize("case", named(JOBS))
def test_plans_real_files_as_upstream(case: dict[str, Any]) -> None:
    """Each process of each real bpm.yml is planned as upstream plans it."""
    config = load((SHARED / case["file"]).read_bytes(), job=case["job"])

    ours = [plan(case, config, process) for process in config.processes]

    assert [expected(theirs) for theirs in case["plans"]] == ours
