"""The environment and the working directory."""

from __future__ import annotations

import pytest

from bpm.config import JobConfig, ProcessConfig, Variables
from bpm.errors import PlanError
from bpm.plan import HostFacts, Variable, Workdir, make_plan
from tests.plan.making import plan_of


def test_defaults() -> None:
    """Four variables are set by default, with the paths that the container sees."""
    plan = plan_of(HostFacts(root="/srv/bosh"))

    assert {variable.name: variable.value for variable in plan.env} == {
        "HOME": "/var/vcap/data/web",
        "LANG": "en_US.UTF-8",
        "PATH": "/var/vcap/jobs/web/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:.",
        "TMPDIR": "/var/vcap/data/web/tmp",
    }


def test_keys_and_flags() -> None:
    """A key wins over a default, a flag over a key, and the last of two flags over the first."""
    process = ProcessConfig("web", "/x", env=Variables({"LANG": "C", "A": "key", "B": "key"}))
    flags = [("A", "1"), ("", "nameless"), ("A", "2")]
    plan = make_plan(JobConfig((process,), job="web"), "web", HostFacts(), env=flags)

    assert (
        Variable("", "nameless", "flag -e[1]"),
        Variable("A", "2", "flag -e[2]"),
        Variable("B", "key", "processes[0].env.B"),
    ) == plan.env[:3]
    assert Variable("LANG", "C", "processes[0].env.LANG") in plan.env


def test_flags_as_a_mapping() -> None:
    """Variables may be given as a mapping."""
    config = JobConfig((ProcessConfig("web", "/x"),), job="web")

    assert make_plan(config, None, HostFacts(), env=[("A", "1")]) == make_plan(
        config, None, HostFacts(), env={"A": "1"}
    )


def test_workdir() -> None:
    """The working directory is the job's unless a key says otherwise, and stays as it was written."""
    assert Workdir("/var/vcap/jobs/web", "default: working directory") == plan_of().workdir
    assert Workdir("some/where", "processes[0].workdir") == plan_of(workdir="some/where").workdir


@pytest.mark.parametrize("path", ["/proc", "/proc/self/fd/9", "/sys/../proc/1/cwd", "proc/self/root"])
def test_workdir_below_proc(path: str) -> None:
    """A working directory at or below /proc is refused."""
    with pytest.raises(PlanError) as raised:
        plan_of(workdir=path)

    assert raised.value.key == "processes[0].workdir"
    assert f"the working directory cannot be at or below /proc: {path}" == raised.value.reason
