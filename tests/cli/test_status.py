"""``bpm status`` and ``bpm list --json``, as people and their tools use them."""

from __future__ import annotations

import json
import os
import re

import pytest

from bpm import Environment
from bpm.cli.units import duration, size, time_of
from tests.cli.conftest import CommandLine
from tests.cli.test_commands import wait_until

pytestmark = pytest.mark.needs_root

SLEEP = "- {name: web, executable: /bin/sleep, args: [100], limits: {memory: 64M, processes: 20}}\n"
FAILS = "- {name: fails, executable: /bin/sh, args: [-c, exit 3]}\n"
EATER = "- {name: eater, executable: /usr/bin/tail, args: [/dev/zero], limits: {memory: 20M}}\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "-"), (0, "0B"), (999, "999B"), (1000, "1.0K"), (1536, "1.5K"), (20 << 20, "20.0M"), (743 << 20, "743M")],
)
def test_sizes(count: int | None, text: str) -> None:
    """A size has at most five letters."""

    assert text == size(count)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.00s"), (1.254, "1.25s"), (59.4, "59s"), (61, "1m 1s"), (3700, "1h 1m"), (90000, "1d 1h")],
)
def test_durations(seconds: float, text: str) -> None:
    """A duration has its two largest units."""

    assert text == duration(seconds)


def test_moments() -> None:
    """A moment is shown in UTC."""

    assert "2023-11-14T22:13:20Z" == time_of(1_700_000_000_999_999_999)


def test_a_running_process_is_told_of(bpm: CommandLine) -> None:
    """State, pids, uptime, restarts, memory and processes against their limits, processor time and plan are shown."""
    bpm.root.add_job("web", f"processes:\n{SLEEP}")
    assert 0 == bpm("start", "web").returncode
    plan = Environment(str(bpm.root.path)).records.read("bpm-web")
    assert plan is not None

    done = bpm("status", "web")

    pid = bpm("pid", "web").stdout.strip()
    first, *rest = done.stdout.splitlines()
    shown = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in rest)
    assert (0, "", "web: running") == (done.returncode, done.stderr, first)
    assert re.fullmatch(rf"{pid} \(init\), \d+ \(program\)", shown["pid"])
    assert re.fullmatch(r"20..-..-..T..:..:..Z, \d\.\d\ds ago", shown["started"])
    assert ("0", plan.plan_digest) == (shown["restarts"], shown["plan"])
    assert re.fullmatch(r"[\d.]+[BKM] now, [\d.]+[BKM] at most, of 64.0M", shown["memory"])
    assert shown["processes"].startswith("2 now, ") and shown["processes"].endswith("of 20")
    assert re.fullmatch(r"\d\.\d\ds", shown["cpu"])
    assert "last exit" not in shown


def test_without_limits_it_is_measured_too(bpm: CommandLine) -> None:
    """Where no controller counts, memory, processes and time are summed from /proc."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/sleep, args: [100]}]\n")
    assert 0 == bpm("start", "web").returncode

    (record,) = json.loads(bpm("status", "web", "--json").stdout)

    assert 2 == record["processes"]["now"]
    assert 100_000 < record["memory"]["now_bytes"] < 100_000_000
    assert record["memory"]["limit_bytes"] is None
    # systemd limits the processes of any unit: DefaultTasksMax=.
    assert os.path.isdir("/run/systemd/system") is (record["processes"]["limit"] is not None)


def test_restarts_are_counted(bpm: CommandLine) -> None:
    """What is started after it ended by itself has been restarted; a stop begins anew. Its last end is kept."""
    bpm.root.add_job("web", f"processes:\n{FAILS}")

    def status() -> dict[str, object]:
        (record,) = json.loads(bpm("status", "web", "-p", "fails", "--json").stdout)
        return record

    for restarts in (0, 1, 2):
        assert 0 == bpm("start", "web", "-p", "fails").returncode
        wait_until(lambda: status()["state"] == "failed", "it has failed")
        record = status()
        assert (restarts, 3) == (record["restarts"], record["last_exit"]["exit_code"])  # type: ignore[index]
    assert 0 == bpm("stop", "web", "-p", "fails").returncode
    assert ("stopped", 0, None) == ((record := status())["state"], record["restarts"], record["last_exit"])


def test_a_restarted_process_remembers_its_last_end(bpm: CommandLine) -> None:
    """While it runs again, it is shown how it ended before, and which limit that was."""
    job = bpm.root.add_job("web", f"processes:\n{EATER}")
    assert 0 == bpm("start", "web", "-p", "eater").returncode
    wait_until(lambda: "failed" in bpm("status", "web").stdout, "it has failed")
    failed = bpm("status", "web").stdout
    (job / "config/bpm.yml").write_text("processes: [{name: eater, executable: /bin/sleep, args: [100]}]\n")
    assert 0 == bpm("start", "web", "-p", "eater").returncode

    (record,) = json.loads(bpm("status", "web", "--json").stdout)

    why = "killed by SIGKILL, out of memory, by processes[0].limits.memory, 20"
    assert failed.startswith("web.eater: failed\n") and why in failed
    assert ("running", 1) == (record["state"], record["restarts"])
    assert (9, True, "processes[0].limits.memory") == (
        record["last_exit"]["signal"],
        record["last_exit"]["out_of_memory"],
        record["last_exit"]["limit"],
    )


def test_a_start_that_failed_is_told_of(bpm: CommandLine) -> None:
    """What could not be started is failed, and says at which stage."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /no/program}]\n")
    assert 1 == bpm("start", "web").returncode

    assert "  last exit  could not be started: program\n" in bpm("status", "web").stdout
    assert 1 == bpm("start", "web").returncode
    assert "  restarts   1\n" in bpm("status", "web").stdout


def test_all_jobs_are_shown(bpm: CommandLine) -> None:
    """Without a job, every process of every job is shown; what is wrong with a bpm.yml goes to stderr."""
    bpm.root.add_job("bad", "processes: 1\n")
    bpm.root.add_job("web", f"processes:\n{SLEEP}{FAILS}")

    done = bpm("status")

    assert (0, "web: stopped\n\nweb.fails: stopped\n") == (done.returncode, done.stdout)
    assert done.stderr.startswith("invalid config for bad: ")


def test_unknown_names_list_those_there_are(bpm: CommandLine) -> None:
    """A job or a process that does not exist names those that do."""
    bpm.root.add_job("web", f"processes:\n{SLEEP}{FAILS}")

    assert "jobs there: web" in bpm("status", "wob").stderr
    assert "processes there: web, fails" in bpm("status", "web", "-p", "x").stderr


def test_list_as_json(bpm: CommandLine) -> None:
    """``list --json`` has what the table has, and what stderr tells."""
    bpm.root.add_job("bad", "processes: 1\n")
    gone = bpm.root.add_job("gone", SLEEP.replace("web", "gone").replace("- ", "processes: [", 1).strip() + "]\n")
    bpm.root.add_job("web", f"processes:\n{SLEEP}{FAILS}")
    for job in ("web", "gone"):
        assert 0 == bpm("start", job).returncode
    (gone / "config/bpm.yml").unlink()

    listing = json.loads(bpm("list", "--json").stdout)

    assert [("web", "running"), ("web.fails", "stopped")] == [
        (each["name"], each["state"]) for each in listing["processes"]
    ]
    assert int(bpm("pid", "web").stdout) == listing["processes"][0]["pid"]
    assert ["gone"] == [each["name"] for each in listing["strangers"]]
    assert ["bad"] == [each["job"] for each in listing["broken"]]
