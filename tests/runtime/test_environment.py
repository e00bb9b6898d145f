"""What operators do to the processes of a BOSH root, each command as one call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm import (
    ConfigError,
    Environment,
    HookError,
    HostError,
    JobNotFound,
    JobProcess,
    NotRunning,
    PlanError,
    ProcessNotFound,
    SpawnError,
    UnsafePathError,
)
from tests.conftest import BoshRoot
from tests.runtime.test_container import POLITE, started

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]


def events(environment: Environment, job: str = "web") -> list[str]:
    """The names of the events in bpm.log, in order, without ``bpm.``."""
    lines = Path(environment.layout.job(job).bpm_log.outside).read_text().splitlines()
    return [json.loads(line)["message"].removeprefix("bpm.") for line in lines]


LOCKED = ["acquiring-lifecycle-lock.starting", "acquiring-lifecycle-lock.complete", "starting"]
UNLOCKED = ["complete", "releasing-lifecycle-lock.starting", "releasing-lifecycle-lock.complete"]


# Looking


def test_jobs_are_those_with_a_config(environment: Environment, bosh_root: BoshRoot):
    """A directory without a bpm.yml is no job; the others come sorted."""
    for name in ("b", "a"):
        bosh_root.add_job(name, "processes: []")
    (bosh_root.path / "jobs/empty").mkdir()
    assert ("a", "b") == environment.jobs()


def test_an_empty_root_has_no_jobs(tmp_path: Path):
    """A root without a jobs directory has none, and lists nothing."""
    environment = Environment(str(tmp_path))
    assert ((), (), ()) == (environment.jobs(), environment.list().processes, environment.list().strangers)


def test_a_missing_root_is_named(tmp_path: Path):
    """A root that does not exist is a HostError that names it."""
    with pytest.raises(HostError, match="none"):
        Environment(str(tmp_path / "none"))


def test_a_missing_user_is_named(bosh_root: BoshRoot):
    """A user that does not exist is a HostError that names them, when a process is to be started."""
    bosh_root.add_job("web", "processes: [{name: web, executable: /bin/true}]")
    process = Environment(str(bosh_root.path), "no-such-user").process("web")
    with pytest.raises(HostError, match="no-such-user"):
        process.start()


def test_the_config_knows_its_place(environment: Environment, bosh_root: BoshRoot):
    """An error in a bpm.yml names the file by its path in jobs."""
    bosh_root.add_job("web", "processes: [{name: web, executable: [x]}]")
    with pytest.raises(ConfigError, match=f"{environment.root}/jobs/web/config/bpm.yml:1:"):
        environment.config("web")


def test_a_missing_config_is_named(environment: Environment):
    """A job without a bpm.yml is a JobNotFound that names the file."""
    path = f"{environment.root}/jobs/nothere/config/bpm.yml"
    with pytest.raises(JobNotFound) as caught:
        environment.config("nothere")
    assert f"open {path}: no such file or directory" == str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../x", "a\0b", "a\nb", "a\x7fb", "x" * 256, "é" * 128])
def test_a_name_that_is_none_is_refused(environment: Environment, name: str):
    """What cannot be the name of a directory in jobs is refused, and nothing is touched."""
    with pytest.raises(PlanError, match="invalid job name"):
        environment.process(name)


@pytest.mark.parametrize("name", ["a b", "a.b", "-x", "é", "x" * 200, os.fsdecode(b"\xff")])
def test_an_odd_name_works(environment: Environment, bosh_root: BoshRoot, name: str):
    """A job whose name has spaces, dots, other letters or other bytes starts and stops."""
    bosh_root.add_job(name, "processes: [{name: p, executable: /bin/sleep, args: [100]}]")
    process = environment.process(name, "p")
    with process.start() as container:
        assert container.pid == process.pid()


def test_names_too_long_together_are_refused(environment: Environment):
    """Names for which no lock file could be made are refused."""
    with pytest.raises(PlanError, match="too long together"):
        environment.process("x" * 200, "y" * 200)


def test_the_listing_has_everything(web: Make, environment: Environment, bosh_root: BoshRoot):
    """list() has every process in its file's order, what runs without a config, and what cannot be read."""
    bosh_root.add_job("aaa", "processes: [{name: one, executable: /x}, {name: aaa, executable: /y}]")
    bosh_root.add_job("bad", "{{")
    gone = bosh_root.add_job("gone", "processes: [{name: gone, executable: /bin/sleep, args: [100]}]")
    with started(web(POLITE)) as running, environment.process("gone").start() as stranger:
        os.unlink(gone / "config/bpm.yml")
        listing = environment.list()
        assert [("aaa.one", "stopped", None), ("aaa", "stopped", None), ("web", "running", running.pid)] == [
            (status.name, status.state, status.pid) for status in listing.processes
        ]
        assert [("gone", stranger.pid)] == [(status.name, status.pid) for status in listing.strangers]
        assert ["bad"] == [broken.job for broken in listing.broken]


# Starting


def test_start_tells_its_story(web: Make, environment: Environment):
    """A start writes the pid, and the events that operators know, in their order."""
    process = web(POLITE)
    with started(process) as container:
        assert str(container.pid) == Path(environment.layout.job("web").pidfile("web").outside).read_text()
        assert process.pid() == container.pid
    inner = [
        "starting",
        "creating-job-prerequisites",
        "building-spec",
        "creating-bundle",
        "running-container",
        "complete",
    ]
    expected = LOCKED + [f"start-process.{event}" for event in inner] + UNLOCKED
    assert [f"start.{event}" for event in expected] == events(environment)


def test_start_leaves_what_runs(web: Make, environment: Environment):
    """A second start gives the same container, and says so in the log."""
    process = web(POLITE)
    with started(process) as container:
        again = process.start()
        assert (container.pid, True) == (again.pid, again.running)
        again.close()
        assert "start.process-already-running" in events(environment)


def test_start_heals_the_pidfile(web: Make, environment: Environment):
    """A start of what runs, but has no pidfile, writes it: monit would never see it otherwise."""
    process = web(POLITE)
    pidfile = Path(environment.layout.job("web").pidfile("web").outside)
    with started(process) as container:
        pidfile.unlink()
        process.start().close()
        assert str(container.pid) == pidfile.read_text()


def test_start_replaces_the_dead(web: Make, environment: Environment):
    """A process that died is started again, with a new pid, and the log says that the dead one was removed."""
    process = web("echo ready; exit 1")
    first = process.start()
    assert 1 == first.wait(10).exit_code
    assert ("failed", 1) == (process.status().state, process.status().last_exit.exit_code)
    with process.start() as second:
        assert first.pid != second.pid
    assert "start.start-process.removing-stopped-process" in events(environment)
    first.close()


def test_a_dropped_mount_is_logged(web: Make, environment: Environment):
    """A volume that is named twice is mounted once, and the log names it."""
    volume = f"{environment.root}/data/a"
    process = web(POLITE, f"additional_volumes: [{{path: {volume}}}, {{path: {volume}}}]")
    with started(process):
        pass
    lines = Path(environment.layout.job("web").bpm_log.outside).read_text().splitlines()
    entries = [json.loads(line) for line in lines if "duplicate-mount" in line]
    assert [("bpm.start.start-process.duplicate-mount", volume, "1.2")] == [
        (entry["message"], entry["data"]["mount"], entry["data"]["session"]) for entry in entries
    ]


def test_what_cannot_start_is_shown_as_failed(web: Make, environment: Environment, bosh_root: BoshRoot):
    """A start without a program fails, has no pidfile, and is shown as failed at its stage until it is stopped."""
    bosh_root.add_job("web", "processes: [{name: web, executable: /nope}]")
    process = environment.process("web")
    with pytest.raises(SpawnError):
        process.start()
    status = process.status()
    assert ("failed", None, "program") == (status.state, status.pid, status.last_exit.spawn_failure.stage)
    assert not os.path.exists(environment.layout.job("web").pidfile("web").outside)
    process.stop()
    assert "stopped" == process.status().state


@pytest.mark.parametrize(
    ("config", "error", "event"),
    [
        ("{{", ConfigError, "failed-to-parse-config"),
        ("processes: [{name: '', executable: /x}]", ConfigError, "failed-to-parse-config"),
        ("processes: [{name: other, executable: /x}]", ProcessNotFound, "process-not-defined"),
        ("processes: [{name: web, executable: /x, limits: {memory: lots}}]", PlanError, "failed-to-plan"),
    ],
)
def test_a_config_that_will_not_do_is_logged(
    environment: Environment, bosh_root: BoshRoot, config: str, error: type[Exception], event: str
):
    """What is wrong with a bpm.yml fails the start, and is logged as an error with its reason."""
    bosh_root.add_job("web", config)
    with pytest.raises(error) as caught:
        environment.process("web").start()
    lines = Path(environment.layout.job("web").bpm_log.outside).read_text().splitlines()
    (entry,) = [json.loads(line) for line in lines if '"level":"error"' in line]
    assert (f"bpm.start.{event}", str(caught.value)) == (entry["message"], entry["data"]["error"])


def test_a_missing_store_is_named(web: Make):
    """persistent_disk without a store fails the start in the contract's words."""
    with pytest.raises(PlanError, match="requested persistent disk does not exist"):
        web("exit 0", "persistent_disk: true").start()


# Stopping


def test_stop_tells_its_story(web: Make, environment: Environment):
    """A stop ends the process at once, removes the pidfile, and writes the events that operators know."""
    process = web(POLITE)
    started(process).close()
    before = len(events(environment))
    record = process.stop()
    assert (3, "operator") == (record.exit_code, record.stopped_by)
    assert not os.path.exists(environment.layout.job("web").pidfile("web").outside)
    expected = [*LOCKED, "forcefully-deleting-container", "deleting-pidfile", "destroying-bundle", *UNLOCKED]
    assert [f"stop.{event}" for event in expected] == events(environment)[before:]


@pytest.mark.parametrize("config", [None, "{{", "processes: [{name: web, executable: /x}]"])
def test_what_is_stopped_needs_no_stop(environment: Environment, bosh_root: BoshRoot, config: str | None):
    """stop() of what does not run does nothing, whether its bpm.yml is good, bad or missing."""
    if config is not None:
        bosh_root.add_job("web", config)
    assert environment.process("web").stop() is None
    assert "stop.job-already-stopped" in events(environment)


@pytest.mark.parametrize(
    ("config", "error", "event"),
    [
        ("{{", ConfigError, "stop.failed-to-parse-config"),
        ("processes: []", ProcessNotFound, "stop.process-not-defined"),
    ],
)
def test_stop_of_what_runs_needs_its_config(
    web: Make, environment: Environment, config: str, error: type[Exception], event: str
):
    """stop() of what runs, but whose bpm.yml no longer tells what it is, is an error, and it runs on."""
    process = web(POLITE)
    path = Path(environment.layout.job("web").config)
    good = path.read_text()
    with started(process) as container:
        path.write_text(config)
        with pytest.raises(error):
            process.stop()
        assert container.running
        assert event in events(environment)
        path.write_text(good)


def test_a_forged_pidfile_changes_nothing(web: Make, environment: Environment):
    """stop() never looks at the pidfile."""
    stranger = subprocess.Popen(["/bin/sleep", "100"])
    process = web(POLITE)
    container = started(process)
    Path(environment.layout.job("web").pidfile("web").outside).write_text(str(stranger.pid))
    process.stop()
    assert (False, None) == (container.running, stranger.poll())
    stranger.kill()
    stranger.wait()
    container.close()


@pytest.mark.parametrize("planted", ["link", "directory", "fifo"])
def test_a_planted_log_stops_no_stop(web: Make, environment: Environment, planted: str):
    """What the job's user puts in the place of bpm.log keeps nothing running: it is stopped, and then refused."""
    process = web(POLITE)
    container = started(process)
    path = environment.layout.job("web").bpm_log.outside
    target = f"{environment.root}/target"
    os.unlink(path)
    {"link": lambda: os.symlink(target, path), "directory": lambda: os.mkdir(path), "fifo": lambda: os.mkfifo(path)}[
        planted
    ]()
    with pytest.raises(UnsafePathError, match=r"/web/bpm\.log"):
        process.stop()
    assert (False, "stopped", False) == (container.running, process.status().state, os.path.exists(target))
    with pytest.raises(UnsafePathError, match=r"/web/bpm\.log"):
        process.start()
    assert "stopped" == process.status().state
    container.close()


def test_the_pid_of_what_does_not_run_is_none(web: Make):
    """pid() raises NotRunning in the contract's words, for what never ran and for what died."""
    process = web("exit 1")
    with pytest.raises(NotRunning, match="process is not running or could not be found"):
        process.pid()
    with process.start() as container:
        container.wait(10)
        with pytest.raises(NotRunning):
            process.pid()


def test_one_at_a_time(web: Make):
    """A start that meets a stop waits for its end, and then starts anew."""
    process = web("trap 'sleep 0.3; exit 0' TERM; echo ready; sleep 100 & wait")
    first = started(process)
    stopper = threading.Thread(target=process.stop)
    stopper.start()
    time.sleep(0.1)
    second = process.start()
    stopper.join()
    with second:
        assert (False, True) == (first.running, second.running)
    first.close()


# Hooks


def test_the_hook_runs_on_the_host(web: Make, environment: Environment, bosh_root: BoshRoot):
    """pre_start runs before the process: on the host, as root, with its environment only, into its log files."""
    hook = bosh_root.path / "hook"
    hook.write_text("#!/bin/sh\nid -u\nenv | sort\necho oops >&2\nreadlink /proc/self/fd/0\ntouch $0.ran\n")
    hook.chmod(0o755)
    process = web("echo ready", f"hooks: {{pre_start: {hook}}}\nenv: {{A: b}}")
    with process.start() as container:
        container.wait(10)
        out, err = (Path(path).read_text() for path in process.log_paths)
    names = [line.partition("=")[0] for line in out.splitlines()[1:-2]]
    assert ("0", ["A", "HOME", "LANG", "PATH", "PWD", "TMPDIR"]) == (out.splitlines()[0], names)
    assert ["/dev/null", "ready"] == out.splitlines()[-2:]
    assert ("oops\n", True) == (err, Path(f"{hook}.ran").exists())


@pytest.mark.parametrize(
    ("hook", "words"),
    [
        ("/bin/false", "prestart hook failed: exit status 1 (/bin/false)"),
        ("/no/hook", "prestart hook failed: /no/hook: No such file or directory (ENOENT)"),
    ],
)
def test_a_failed_hook_fails_the_start(web: Make, environment: Environment, hook: str, words: str):
    """A hook that fails, or cannot be run, fails the start in the contract's words, and nothing was started."""
    process = web("echo ready", f"hooks: {{pre_start: {hook}}}")
    with pytest.raises(HookError) as caught:
        process.start()
    assert (words, "stopped") == (str(caught.value), process.status().state)
    assert "" == Path(process.log_paths[0]).read_text()


# Running


def run_elsewhere(process: JobProcess, call: str) -> subprocess.CompletedProcess[str]:
    """Runs it from a process of its own, whose output is captured; `record` is what run() returned."""
    environment = process.environment
    program = (
        "import sys, bpm\n"
        f"process = bpm.Environment({environment.root!r}, {environment.user.name!r}).process('web')\n"
        f"record = process.run({call})\n"
        "sys.exit(99 if record is None else record.status)"
    )
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, stdin=-3)


def test_run_tees(web: Make, environment: Environment):
    """run() writes what the program writes to the caller and to the log files, and says how it ended."""
    process = web("echo out; echo err >&2; exit 6")
    done = run_elsewhere(process, "")
    assert (6, "out\n", "err\n") == (done.returncode, done.stdout, done.stderr)
    assert ["out\n", "err\n"] == [Path(path).read_text() for path in process.log_paths]
    assert ("stopped", ()) == (process.status().state, environment.records.ids())
    assert not os.path.exists(environment.layout.job("web").pidfile("web").outside)


def test_run_adds_volumes_and_variables(web: Make, environment: Environment):
    """run() has further volumes and variables; of equal names the last wins."""
    volume = f"{environment.root}/data/more"
    process = web(f"echo $A; touch {volume}/x && echo made")
    done = run_elsewhere(process, f"[bpm.Volume({volume!r}, writable=True)], [('A', '1'), ('A', '2')]")
    assert (0, "2\nmade\n") == (done.returncode, done.stdout)


def test_run_refuses_volumes_elsewhere(web: Make):
    """A volume outside of the root is refused as in the file."""
    from bpm import Volume

    with pytest.raises(ConfigError, match="invalid volume path: /etc must be within"):
        web("exit 0").run([Volume("/etc")])


def test_run_leaves_what_runs(web: Make):
    """run() of what runs already does nothing, and returns None."""
    process = web(POLITE)
    with started(process) as container:
        assert process.run() is None
        assert container.running


def test_run_raises_what_start_does(environment: Environment, bosh_root: BoshRoot):
    """run() of a missing program raises SpawnError, and leaves nothing."""
    bosh_root.add_job("web", "processes: [{name: web, executable: /nope}]")
    with pytest.raises(SpawnError, match="/nope does not exist"):
        environment.process("web").run()
    assert () == environment.records.ids()
