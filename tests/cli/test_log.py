"""bpm.log: what the operator saw on stderr stands there, too."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.needs_root


def entries(bpm: CommandLine, job: str = "web") -> list[dict[str, Any]]:
    """The lines of the job's bpm.log."""
    return [json.loads(line) for line in (bpm.root.path / f"sys/log/{job}/bpm.log").read_text().splitlines()]


FAILURES = {
    "yaml": ("{{", "bpm.{}.failed-to-parse-config"),
    "types": ("processes: [{name: web, executable: /x, args: 1, env: 2}]", "bpm.{}.failed-to-parse-config"),
    "invalid": ("processes: [{name: web}]", "bpm.{}.failed-to-parse-config"),
    "process": ("processes: [{name: other, executable: /x}]", "bpm.{}.process-not-defined"),
    "memory": ("processes: [{name: web, executable: /x, limits: {memory: much}}]", "bpm.{}.failed-to-plan"),
    "disk": ("processes: [{name: web, executable: /x, persistent_disk: true}]", "bpm.{}.{}-process.failed"),
    "hook": ("processes: [{name: web, executable: /x, hooks: {pre_start: /bin/false}}]", "bpm.{}.{}-process.failed"),
    "program": ("processes: [{name: web, executable: /no/such}]", "bpm.{}.{}-process.failed"),
    "workdir": (
        "processes: [{name: web, executable: /bin/true, workdir: /usr/none}]",
        "bpm.{}.{}-process.failed",
    ),
    "volume": (
        "processes: [{name: web, executable: /x, additional_volumes: [{path: ROOT/data/none, mount_only: true}]}]",
        "bpm.{}.{}-process.failed",
    ),
}


@pytest.mark.parametrize("kind", FAILURES)
@pytest.mark.parametrize("command", ["start", "run"])
def test_a_failure_is_in_the_log(bpm: CommandLine, command: str, kind: str) -> None:
    """What stderr says after the command's own words is the error of one line of level error, and of no other."""
    config, event = FAILURES[kind]
    bpm.root.add_job("web", config.replace("ROOT", str(bpm.root.path)))

    done = bpm(command, "web")
    failures = [entry for entry in entries(bpm) if entry["level"] == "error"]

    assert 1 == done.returncode
    assert [event.format(command, command)] == [entry["message"] for entry in failures]
    (entry,) = failures
    shown = done.stderr.removeprefix("Error: ").removesuffix("\n").removesuffix(" (exit status 1)")
    assert shown.endswith(entry["error"])
    assert entry["error"] == entry["data"]["error"]
    assert shown.removesuffix(entry["error"]) in (
        "",
        f"failed to {command} job-process: ",
        "failed to parse job configuration: ",
    )


def test_a_spawn_that_stopped_has_its_stage_in_the_log(bpm: CommandLine) -> None:
    """The stage, the item and the cause are in the log as they were on stderr."""
    bpm.root.add_job("web", FAILURES["workdir"][0])

    done = bpm("start", "web")
    (entry,) = [entry for entry in entries(bpm) if entry["level"] == "error"]

    stopped = "cannot start web: workdir: /usr/none (because processes[0].workdir): No such file or directory (ENOENT)"
    assert stopped == entry["error"]
    assert entry["error"] in done.stderr


def test_a_failed_stop_is_in_the_log(bpm: CommandLine) -> None:
    """A stop that cannot read bpm.yml says so in the log, and the process goes on."""
    job = bpm.root.add_job("web", "processes: [{name: web, executable: /bin/sleep, args: [100]}]")
    assert 0 == bpm("start", "web").returncode
    config = (job / "config/bpm.yml").read_text()
    (job / "config/bpm.yml").write_text("{{")

    done = bpm("stop", "web")
    (entry,) = [entry for entry in entries(bpm) if entry["level"] == "error"]
    (job / "config/bpm.yml").write_text(config)

    assert (1, "bpm.stop.failed-to-parse-config") == (done.returncode, entry["message"])
    assert entry["error"] in done.stderr
    assert 0 == bpm("pid", "web").returncode


def test_a_systems_refusal_is_in_the_log(bpm: CommandLine) -> None:
    """Where something of bpm's own cannot be written, the system's words are in the log, too."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/sleep, args: [100]}]")
    assert 0 == bpm("start", "web").returncode
    assert 0 == bpm("stop", "web").returncode
    state = bpm.root.path / "data/bpm/containers"
    os.rmdir(state)
    state.write_text("")

    done = bpm("start", "web")
    failures = [entry for entry in entries(bpm) if entry["level"] == "error"]
    state.unlink()

    assert 1 == done.returncode
    assert 1 == len(failures)
    assert failures[0]["error"] in done.stderr


def test_the_sequence_of_a_start_and_a_stop(bpm: CommandLine) -> None:
    """The events that operators know, in their order."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/sleep, args: [100]}]")
    bpm("start", "web")
    bpm("start", "web")
    bpm("stop", "web")
    bpm("stop", "web")
    locked = ["acquiring-lifecycle-lock.starting", "acquiring-lifecycle-lock.complete", "starting"]
    unlocked = ["complete", "releasing-lifecycle-lock.starting", "releasing-lifecycle-lock.complete"]
    steps = ("starting", "creating-job-prerequisites", "building-spec", "creating-bundle", "running-container")
    start = [f"start-process.{step}" for step in (*steps, "complete")]
    stop = ["forcefully-deleting-container", "deleting-pidfile", "destroying-bundle"]
    expected = [f"bpm.start.{event}" for event in (*locked, *start, *unlocked)]
    expected += [f"bpm.start.{event}" for event in (*locked, "process-already-running", *unlocked)]
    expected += [f"bpm.stop.{event}" for event in (*locked, *stop, *unlocked)]
    expected += [f"bpm.stop.{event}" for event in (*locked, "job-already-stopped", *unlocked)]

    assert expected == [entry["message"] for entry in entries(bpm)]
