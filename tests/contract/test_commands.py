"""What the commands do that no other test says."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.jobs import Jobs
from tests.cli.conftest import CommandLine
from tests.cli.test_commands import is_alive
from tests.conftest import BoshRoot
from tests.effort import times
from tests.inside import wait_for

pytestmark = pytest.mark.needs_root


def states(jobs: Jobs) -> list[list[str]]:
    """The rows of list."""
    return [line.split() for line in jobs.must("list").splitlines()[1:]]


def events(jobs: Jobs) -> str:
    """All of bpm.log."""
    return (jobs.path / "sys/log/web/bpm.log").read_text()


def test_list_shows_names_as_they_were_written(jobs: Jobs) -> None:
    """A name with signs that its container's identifier spells otherwise is listed as it is, running and stopped."""
    jobs.write("processes: [{name: a.b_c, executable: /bin/sleep, args: [1000]}]", "a.b_c")
    jobs.write("processes: [{name: w.x, executable: /bin/true}]", "web")
    jobs.must("start", "a.b_c")

    assert [["a.b_c", "running"], ["web.w.x", "stopped"]] == [[row[0], row[2]] for row in states(jobs)]
    assert (jobs.path / "data/bpm/locks/job-bpm-a.2eb_c.lock").exists()


def test_list_tells_running_failed_and_stopped_apart(jobs: Jobs) -> None:
    """What runs has its pid; what died by itself is failed, what was stopped or never started stopped, both with -."""
    for job, executable, *args in (("up", "/bin/sleep", "1000"), ("died", "/bin/false"), ("never", "/bin/true")):
        jobs.define(executable, *args, job=job)
    jobs.define("/bin/sleep", "1000", job="was")
    for job in ("up", "died", "was"):
        jobs.must("start", job)
    jobs.must("stop", "was")
    pid = jobs.must("pid", "up").strip()

    expected = [["died", "-", "failed"], ["never", "-", "stopped"], ["up", pid, "running"], ["was", "-", "stopped"]]
    assert wait_for(lambda: states(jobs) == expected), states(jobs)


def test_a_link_in_a_logs_place_is_refused_in_the_contracts_words(jobs: Jobs) -> None:
    """start and logs say: refusing to open symlink at PATH."""
    jobs.define("/bin/true")
    jobs.must("start", "web")
    jobs.must("stop", "web")
    log = jobs.path / "data/sys/log/web/web.stdout.log"
    log.unlink()
    log.symlink_to("/etc/passwd")

    for command in ("start", "logs"):
        assert "refusing to open symlink at " in jobs.bpm(command, "web").stderr


@pytest.mark.same_everywhere
def test_a_process_that_ignores_term_and_quit_takes_seventeen_seconds_to_stop(jobs: Jobs) -> None:
    """TERM, 15 s, QUIT, 2 s, KILL: and then it is stopped, with everything inside."""
    jobs.define("/bin/bash", "-c", "trap '' TERM QUIT; echo ready; while :; do sleep 0.1; done")
    jobs.must("start", "web")
    log = jobs.path / "sys/log/web/web.stdout.log"
    assert wait_for(log.read_text)
    pid = jobs.must("pid", "web").strip()

    begun = time.monotonic()
    jobs.must("stop", "web")
    took = time.monotonic() - begun

    assert 17 <= took < 22
    assert not is_alive(pid)
    assert [["web", "-", "stopped"]] == states(jobs)


@pytest.mark.same_everywhere
def test_stop_returns_when_the_process_is_gone(jobs: Jobs) -> None:
    """A process that takes 50 ms to leave is not waited for until the next full second."""
    jobs.define("/bin/bash", "-c", "trap 'sleep 0.05; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
    took = []
    for _ in range(3):
        jobs.must("start", "web")
        log = jobs.path / "sys/log/web/web.stdout.log"
        assert wait_for(log.read_text)
        begun = time.monotonic()
        jobs.must("stop", "web")
        took.append(time.monotonic() - begun)

    assert min(took) < 0.9


def test_run_has_no_pidfile_and_no_input(jobs: Jobs) -> None:
    """While an errand runs it has no pidfile; its input ends at once."""
    jobs.define("/bin/sh", "-c", "cat; readlink /proc/self/fd/0; echo ready; exec sleep 1000")
    with jobs.bpm.begin("run", "web") as running:
        assert running.stdout is not None
        lines = [running.stdout.readline(), running.stdout.readline()]
        pidfiles = list((jobs.path / "sys/run/bpm").rglob("*.pid"))
        listed = states(jobs)
        running.terminate()
        running.communicate(timeout=20)

    assert ([b"/dev/null\n", b"ready\n"], []) == (lines, pidfiles)
    assert ["web", "running"] == [listed[0][0], listed[0][2]]


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137)])
def test_run_exits_as_the_program_does(jobs: Jobs, script: str, status: int) -> None:
    """Its status is run's, with 128 more than the signal's number, and is told where it is not 0."""
    done = jobs.attempt(script)
    words = f"Error: failed to run job-process: exit status {status} (exit status {status})\n" if status else ""

    assert (status, words) == (done.returncode, done.stderr)


@pytest.mark.parametrize(
    "keys",
    [{"hooks": {"pre_start": "/bin/false"}}, {"persistent_disk": True}, {"limits": {"memory": "lots"}}],
    ids=["hook", "disk", "limit"],
)
def test_a_run_whose_set_up_failed_exits_1(jobs: Jobs, keys: dict[str, Any]) -> None:
    """An errand that was never run does not look like one that went well."""
    jobs.define("/bin/true", **keys)

    assert 1 == jobs.bpm("run", "web").returncode


def test_stop_of_a_process_that_leaves_meanwhile(jobs: Jobs) -> None:
    """Processes that end by themselves at about the time that they are stopped are stopped, without a word."""
    for tenths in range(0, 6, 6 // times(6)):
        jobs.define("/bin/sleep", f"0.{tenths}")
        jobs.must("start", "web")
        done = jobs.bpm("stop", "web")

        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
        assert [["web", "-", "stopped"]] == states(jobs)


def test_every_event_that_is_grepped_for_is_written(jobs: Jobs) -> None:
    """start, start again, restart of the dead, run, stop, stop again, and what is wrong: each leaves its event."""
    volumes = [{"path": str(jobs.path / "data/a")}] * 2
    jobs.define("/bin/sleep", "1000", additional_volumes=volumes)
    for words in (["start"], ["start"], ["stop"], ["stop"]):
        jobs.must(*words, "web")
    jobs.define("/bin/true")
    jobs.must("run", "web")
    jobs.must("start", "web")
    assert wait_for(lambda: states(jobs)[0][2] == "failed")
    jobs.must("start", "web")
    jobs.bpm("start", "web", "-p", "nobody")
    jobs.write("{{")
    jobs.bpm("start", "web")
    written = events(jobs)

    for event in (
        *("bpm.start.starting", "bpm.start.complete", "bpm.stop.starting", "bpm.stop.complete"),
        *("bpm.run.starting", "bpm.run.complete", "process-already-running", "job-already-stopped"),
        *("failed-to-parse-config", "process-not-defined", "removing-stopped-process", "duplicate-mount"),
    ):
        assert f'{event}"' in written, event


def test_the_same_name_under_two_roots_is_two_containers(jobs: Jobs, job_user: pwd.struct_passwd) -> None:
    """Each has its own process, cgroup and end."""
    directory = tempfile.mkdtemp(prefix="bpm-root-", dir="/srv")
    os.chmod(directory, 0o755)
    other = CommandLine(BoshRoot(Path(directory)), job_user.pw_name)
    try:
        config = "processes: [{name: web, executable: /bin/sleep, args: [1000], limits: {memory: 64M}}]"
        jobs.write(config)
        other.root.add_job("web", config)
        pids = []
        for bpm in (jobs.bpm, other):
            assert 0 == bpm("start", "web").returncode
            pids.append(bpm("pid", "web").stdout.strip())
        cgroups = [Path(f"/proc/{pid}/cgroup").read_text() for pid in pids]
        assert 0 == other("stop", "web").returncode

        assert [True, False] == [is_alive(pid) for pid in pids]
        assert cgroups[0] != cgroups[1]
        assert pids[0] == jobs.must("pid", "web").strip()
    finally:
        other.stop_all()
        shutil.rmtree(directory)
