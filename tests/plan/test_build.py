"""make_plan(): finding the process, and refusing what could not or should not be carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bpm.config import JobConfig, ProcessConfig, Variables, Volume
from bpm.errors import PlanError, ProcessNotFound
from bpm.plan import HostFacts, make_plan

FACTS = HostFacts()
WEB, WORKER = ProcessConfig("web", "/web"), ProcessConfig("worker", "/worker", args=("a", ""))
JOB = JobConfig((WORKER, WEB), job="web")


@pytest.mark.parametrize(
    ("process", "argv"),
    [(None, ("/web",)), ("worker", ("/worker", "a", "")), (WEB, ("/web",)), (WORKER, ("/worker", "a", ""))],
)
def test_process(process: str | ProcessConfig | None, argv: tuple[str, ...]) -> None:
    """A process is found by its name, by itself, or by the job's name."""
    assert argv == make_plan(JOB, process, FACTS).argv


def test_same_name_twice() -> None:
    """Of two processes of one name, the name means the first; the second can be given itself."""
    second = ProcessConfig("web", "/second")
    job = JobConfig((WEB, second), job="web")

    assert make_plan(job, "web", FACTS).argv == ("/web",)
    assert make_plan(job, second, FACTS).argv == ("/second",)


@pytest.mark.parametrize("process", ["other", ProcessConfig("other", "/x"), ProcessConfig("web", "/changed")])
def test_unknown_process(process: str | ProcessConfig) -> None:
    """An unknown process is an error that lists those there are."""
    name = process if isinstance(process, str) else process.name

    with pytest.raises(ProcessNotFound) as raised:
        make_plan(JOB, process, FACTS)

    assert f'process "{name}" not present in job configuration (processes there: worker, web)' == str(raised.value)


def test_no_processes() -> None:
    """A job without processes says so."""
    with pytest.raises(ProcessNotFound, match=r"processes there: none"):
        make_plan(JobConfig(job="web"), None, FACTS)


def test_container() -> None:
    """The container is named for job and process, and a signal is always planned."""
    plan = make_plan(JOB, "worker", FACTS)

    assert (plan.job, plan.process, plan.container_id) == ("web", "worker", "bpm-web.2eworker")
    assert (plan.shutdown_signal, plan.hostname) == ("TERM", None)


@pytest.mark.parametrize("name", ["", ".", "..", "a/../b", "/a", "a/", "a//b", "../../etc"])
def test_names_of_jobs(name: str) -> None:
    """A job's name cannot lead out of its directories."""
    with pytest.raises(PlanError) as raised:
        make_plan(JobConfig((WEB,), job=name), "web", FACTS)

    assert raised.value.key == "job"


@pytest.mark.parametrize("name", ["", "..", "../x", "a/../../x"])
def test_names_of_processes(name: str) -> None:
    """A process's name cannot lead its log files out of the log directory."""
    with pytest.raises(PlanError) as raised:
        make_plan(JobConfig((ProcessConfig(name, "/x"),), job="web"), name, FACTS)

    assert raised.value.key == "processes[0].name"


@pytest.mark.parametrize("bad", ["a\0b", "\ud800"])
@pytest.mark.parametrize(
    ("keys", "key"),
    [
        (lambda bad: {"executable": bad}, "executable"),
        (lambda bad: {"args": ("a", bad)}, "args[1]"),
        (lambda bad: {"env": Variables({"A": bad})}, "env.A"),
        (lambda bad: {"env": Variables({bad: "x"})}, "env.BAD"),
        (lambda bad: {"workdir": bad}, "workdir"),
        (lambda bad: {"additional_volumes": (Volume(bad),)}, "additional_volumes[0].path"),
    ],
)
def test_strings_for_no_kernel(keys: Callable[[str], dict[str, Any]], key: str, bad: str) -> None:
    """Text that no system call can be handed is refused by its key."""
    process = ProcessConfig(**{"name": "web", "executable": "/x", **keys(bad)})

    with pytest.raises(PlanError) as raised:
        make_plan(JobConfig((process,), job="web"), None, FACTS)

    assert raised.value.key == "processes[0]." + key.replace("BAD", bad)


@pytest.mark.parametrize(
    ("volumes", "env", "key"),
    [([Volume("/var/vcap/data/a\0")], {}, "flag -v[0].path"), ([], {"A": "\0"}, "flag -e[0][1]")],
)
def test_strings_of_flags(volumes: list[Volume], env: dict[str, str], key: str) -> None:
    """So is that of a flag."""
    with pytest.raises(PlanError) as raised:
        make_plan(JOB, None, FACTS, volumes=volumes, env=env)

    assert key == raised.value.key


@pytest.mark.parametrize("path", ["/etc", "/var/vcap", "/var/vcap/data/web", "/var/vcap/data/../data/x"])
def test_volumes_of_flags(path: str) -> None:
    """A volume of a flag is held to what those of the file are."""
    with pytest.raises(PlanError) as raised:
        make_plan(JOB, None, FACTS, volumes=[Volume("/var/vcap/data/good"), Volume(path)])

    assert raised.value.key == "flag -v[1]"
    assert "volume path" in raised.value.reason
