"""The commands, as operators and their tools use them; what upstream's do too is in test_transcripts.py."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm import ExitRecord, SpawnStop
from bpm.cli.list import align, describe_exit
from tests.cli.conftest import CommandLine, log_file
from tests.conftest import BoshRoot

pytestmark = pytest.mark.needs_root

SERVER = """
processes:
- name: web
  executable: /bin/bash
  args:
  - -c
  - "trap 'echo got TERM; exit 7' TERM; trap 'echo got INT; exit 8' INT; echo ready; while :; do sleep 0.02; done"
"""

SHELL = "processes: [{{name: web, executable: /bin/bash, args: [-c, '{}']}}]\n"


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for what must come true soon."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, f"not within ten seconds: {what}"
        time.sleep(0.01)


def is_alive(pid: str) -> bool:
    """Whether a process runs; one that has ended may wait for pid 1 to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# list


def test_columns_are_as_wide_as_they_must_be() -> None:
    """Every column but the last is as wide as its widest entry and a space, and no line ends in spaces."""
    table = [["Name", "Pid", "Status"], ["a", "1234567", "running"], ["a.longer.name", "-", "failed"]]

    assert [
        "Name          Pid     Status",
        "a             1234567 running",
        "a.longer.name -       failed",
    ] == align(table)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (None, "-"),
        (ExitRecord(), "killed together with its init"),
        (ExitRecord(signal=9, oom_killed=None), "killed by SIGKILL, what its cgroup had counted is lost"),
        (ExitRecord(exit_code=3), "exit status 3"),
        (ExitRecord(exit_code=3, ended_ns=1_700_000_000_999_999_999), "exit status 3, 2023-11-14T22:13:20Z"),
        (ExitRecord(signal=9, oom_killed=True), "killed by SIGKILL, out of memory"),
        (ExitRecord(signal=11, core_dumped=True), "killed by SIGSEGV, core dumped"),
        (ExitRecord(signal=50), "killed by signal 50"),
        (ExitRecord(exit_code=137, oom_killed=True), "exit status 137, out of memory"),
        (ExitRecord(spawn_failure=SpawnStop("mounts", 3, 2)), "could not be started: mounts"),
    ],
    ids=str,
)
def test_an_end_is_worded(record: ExitRecord | None, words: str) -> None:
    """How a process ended is said in a few words."""

    assert words == describe_exit(record)


def test_list_long_shows_how_the_failed_ones_ended(bpm: CommandLine) -> None:
    """``list --long`` says with what status a process ended by itself, and that it met its memory limit."""
    bpm.root.add_job(
        "web",
        "processes:\n"
        "- {name: six, executable: /bin/bash, args: [-c, exit 6]}\n"
        "- {name: eater, executable: /usr/bin/tail, args: [/dev/zero], limits: {memory: 20M}}\n"
        "- {name: web, executable: /bin/true}\n",
    )
    for name in ("six", "eater"):
        assert 0 == bpm("start", "web", "-p", name).returncode
    wait_until(lambda: bpm("list").stdout.count("failed") == 2, "both have ended")

    heading, six, eater, web = bpm("list", "-l").stdout.splitlines()

    assert heading.split() == ["Name", "Pid", "Status", "Last", "exit"]
    assert "exit status 6" in six
    assert "killed by SIGKILL, out of memory" in eater
    assert web.split() == ["web", "-", "stopped", "-"]


def test_list_tells_of_strangers(bpm: CommandLine) -> None:
    """What runs, but is in no job's configuration any more, is told of on stderr."""
    job = bpm.root.add_job("web", SERVER)
    assert 0 == bpm("start", "web").returncode
    pid = bpm("pid", "web").stdout.strip()
    (job / "config/bpm.yml").unlink()

    done = bpm("list")

    assert (0, "Name Pid Status\n") == (done.returncode, done.stdout)
    assert f"web is running with pid {pid}, but no job's configuration has it\n" == done.stderr


def test_list_gives_each_problem_a_line(bpm: CommandLine) -> None:
    """Everything wrong with a configuration is told, each on a line that names the job."""
    bpm.root.add_job("bad", "processes:\n- {name: a, executable: /x, args: 1, env: 2}\n")

    lines = bpm("list").stderr.splitlines()

    assert len(lines) == 2
    assert all(line.startswith("invalid config for bad: ") for line in lines)


# start, stop, pid


def test_warnings_do_not_keep_a_job_from_starting(bpm: CommandLine) -> None:
    """An unknown key is told of in one line on stderr, by start and by run, and the job starts."""
    bpm.root.add_job("web", "processes:\n- name: web\n  executable: /bin/sleep\n  args: [100]\n  limit: {memory: 1G}\n")

    for command in ("start", "run"):
        done = bpm(command, "web")
        assert (0, 1) == (done.returncode, done.stderr.count("\n"))
        assert done.stderr.startswith("bpm: warning: ") and "limit" in done.stderr
    assert "" == bpm("stop", "web").stderr


def test_the_pidfile_and_pid_agree(bpm: CommandLine) -> None:
    """``pid`` prints what the pidfile holds: a process that runs."""
    bpm.root.add_job("web", SERVER)
    assert 0 == bpm("start", "web").returncode

    pid = bpm("pid", "web").stdout.strip()

    assert pid == (bpm.root.path / "sys/run/bpm/web/web.pid").read_text()
    assert is_alive(pid)
    assert 0 == bpm("stop", "web").returncode
    assert not is_alive(pid)


@pytest.mark.parametrize("name", ["a/b", "..", ".", "a\nb", "x" * 256])
def test_impossible_names_are_refused(bpm: CommandLine, name: str) -> None:
    """A job's name that no directory can have is refused, in one line, by every command that takes one."""
    for command in ("start", "stop", "run", "pid", "logs"):
        done = bpm(command, name)
        assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n")), command


# run


def test_run_passes_on_both_streams_and_logs_them(bpm: CommandLine) -> None:
    """What the program writes comes out of run as it was written, and is in the log files."""
    bpm.root.add_job("web", SHELL.format("for i in {1..2000}; do echo out $i; done; echo err >&2; printf end"))
    expected = "".join(f"out {i}\n" for i in range(1, 2001)) + "end"

    done = bpm("run", "web")

    assert (0, expected, "err\n") == (done.returncode, done.stdout, done.stderr)
    assert expected == (bpm.root.path / "sys/log/web/web.stdout.log").read_text()
    assert "err\n" == (bpm.root.path / "sys/log/web/web.stderr.log").read_text()


def test_run_says_that_memory_ran_out(bpm: CommandLine) -> None:
    """A program that met its memory limit ends with KILL's status, and run says why."""
    bpm.root.add_job(
        "web", "processes: [{name: web, executable: /usr/bin/tail, args: [/dev/zero], limits: {memory: 20M}}]\n"
    )

    done = bpm("run", "web")

    assert 137 == done.returncode
    assert "Error: failed to run job-process: exit status 137, out of memory (exit status 137)\n" == done.stderr


@pytest.mark.parametrize(("number", "word", "status"), [(signal.SIGTERM, b"TERM", 7), (signal.SIGINT, b"INT", 8)])
def test_a_signal_to_run_reaches_the_program(bpm: CommandLine, number: int, word: bytes, status: int) -> None:
    """A signal to run is the program's, and run ends as the program does."""
    bpm.root.add_job("web", SERVER)
    with bpm.begin("run", "web") as running:
        assert running.stdout is not None
        assert b"ready\n" == running.stdout.readline()
        running.send_signal(number)
        out, err = running.communicate(timeout=20)

    assert (status, b"got " + word + b"\n") == (running.returncode, out)
    assert f"Error: failed to run job-process: exit status {status} (exit status {status})\n".encode() == err


def test_a_program_outlives_run_s_reader(bpm: CommandLine) -> None:
    """When nobody reads run's output any more, the program and its log go on."""
    bpm.root.add_job("web", SHELL.format("for i in {1..3000}; do echo line $i; done; exit 3"))
    with bpm.begin("run", "web") as running:
        assert running.stdout is not None
        running.stdout.readline()
        running.stdout.close()
        running.wait(timeout=20)

    assert 3 == running.returncode
    assert "line 3000\n" == (bpm.root.path / "sys/log/web/web.stdout.log").read_text().splitlines(keepends=True)[-1]


def test_run_mounts_further_volumes(job_user: pwd.struct_passwd) -> None:
    """A volume of -v is there, made, and writable if it says so."""
    # Not below /tmp or /var/tmp, which are the job's own inside.
    with tempfile.TemporaryDirectory(prefix="bpm-root-", dir="/var/lib") as directory:
        os.chmod(directory, 0o755)
        bpm = CommandLine(BoshRoot(Path(directory)), job_user.pw_name)
        volume = bpm.root.path / "data/extra"
        bpm.root.add_job("web", SHELL.format(f"echo hello > {volume}/file"))

        read_only, writable = bpm("run", "web", "-v", str(volume)), bpm("run", "web", f"-v{volume}:writable")

        assert (1, 0) == (read_only.returncode, writable.returncode)
        assert "Read-only file system" in read_only.stderr
        assert "hello\n" == (volume / "file").read_text()


# logs


def test_logs_shows_the_last_lines(bpm: CommandLine) -> None:
    """The last 25 lines by default, or as many as -n says."""
    log_file(bpm.root, "web", "web.stdout.log").write_text("".join(f"{i}\n" for i in range(100)))

    assert "".join(f"{i}\n" for i in range(75, 100)) + "\n" == bpm("logs", "web").stdout
    assert "98\n99\n\n" == bpm("logs", "web", "-n", "2").stdout == bpm("logs", "web", "-n-2").stdout
    assert "\n" == bpm("logs", "web", "-n0").stdout


def test_logs_shows_any_bytes(bpm: CommandLine) -> None:
    """What is not UTF-8 comes out as it is."""
    log_file(bpm.root, "web", "web.stdout.log").write_bytes(b"\xff\x00\xc3(\n")

    done = subprocess.run(bpm.argv("logs", "web"), env=bpm.environment, capture_output=True, check=True)

    assert b"\xff\x00\xc3(\n\n" == done.stdout


def test_logs_shows_what_there_is(bpm: CommandLine) -> None:
    """With --all, a file that is not there is left out."""
    path = log_file(bpm.root, "web", "web.stderr.log")
    path.write_text("err\n")

    assert f"==> {path} <==\nerr\n\n" == bpm("logs", "web", "-a").stdout
    assert "Error: logs not found\n" == bpm("logs", "web").stderr


def test_logs_opens_no_link(bpm: CommandLine) -> None:
    """A link that a job's user put in the place of its log is not followed."""
    path = log_file(bpm.root, "web", "web.stdout.log")
    path.symlink_to("/etc/shadow")

    done = bpm("logs", "web")

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("Error: refusing ")
    assert done.stderr.endswith(f": a symbolic link owned by root (refusing to open symlink at {path})\n")


def test_logs_tells_when_it_cannot_write(bpm: CommandLine) -> None:
    """Where the disk that its output goes to is full, it says so and fails."""
    log_file(bpm.root, "web", "web.stdout.log").write_text("line\n")
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            bpm.argv("logs", "web"), env=bpm.environment, stdout=full, stderr=subprocess.PIPE, check=False
        )

    assert (1, b"Error: No space left on device\n") == (done.returncode, done.stderr)


def test_logs_waits_where_its_output_does_not(bpm: CommandLine) -> None:
    """A pipe that someone made non-blocking gets all of it, however slowly it is read."""
    lines = b"line\n" * 100_000
    log_file(bpm.root, "web", "web.stdout.log").write_bytes(lines)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with subprocess.Popen(bpm.argv("logs", "web", "-n100000"), env=bpm.environment, stdout=write_end) as logs:
        os.close(write_end)
        with open(read_end, "rb") as pipe:
            assert lines + b"\n" == pipe.read()

    assert 0 == logs.returncode


def test_logs_is_quiet_when_nobody_reads(bpm: CommandLine) -> None:
    """`bpm logs | head -1` shows a line and no complaint."""
    log_file(bpm.root, "web", "web.stdout.log").write_text("line\n" * 100_000)
    pipe = " ".join([*bpm.argv("logs", "web", "-n", "100000"), "|", "head", "-1"])

    done = subprocess.run(["/bin/sh", "-c", pipe], env=bpm.environment, capture_output=True, text=True, check=False)

    assert (0, "line\n", "") == (done.returncode, done.stdout, done.stderr)


def test_following_survives_rotation_and_ends_at_an_interrupt(bpm: CommandLine) -> None:
    """`logs -f` shows all that is written through a copytruncate and a rename, and exits 0 when interrupted."""
    path = log_file(bpm.root, "web", "web.stdout.log")
    path.write_text("one\n")
    with bpm.begin("logs", "-f", "web") as following:
        assert following.stdout is not None
        read_line = following.stdout.readline
        assert b"one\n" == read_line()
        with path.open("a") as file:
            file.write("two\n")
        assert b"two\n" == read_line()
        os.truncate(path, 0)
        with path.open("a") as file:
            file.write("three\n")
        assert b"three\n" == read_line()
        path.rename(f"{path}.1")
        path.write_text("four\n")
        assert b"four\n" == read_line()
        following.send_signal(signal.SIGINT)
        out, err = following.communicate(timeout=20)

    assert (0, b"\n", b"") == (following.returncode, out, err)


def test_following_ends_when_nobody_reads(bpm: CommandLine) -> None:
    """`logs -f` ends when its reader goes away, though nothing more is written."""
    log_file(bpm.root, "web", "web.stdout.log").write_text("one\n")
    with bpm.begin("logs", "-f", "web") as following:
        assert following.stdout is not None and following.stderr is not None
        assert b"one\n" == following.stdout.readline()
        following.stdout.close()
        following.wait(timeout=20)

        assert (141, b"") == (following.returncode, following.stderr.read())


def test_following_shows_a_running_process(bpm: CommandLine) -> None:
    """What a process writes while it is followed is shown, errors under their own heading."""
    bpm.root.add_job("web", SHELL.format("echo one; sleep 0.5; echo two >&2; exec sleep 100"))
    assert 0 == bpm("start", "web").returncode
    directory = bpm.root.path / "sys/log/web"
    wait_until(lambda: (directory / "web.stdout.log").read_text(), "its first line is written")
    with bpm.begin("logs", "-af", "web") as following:
        assert following.stdout is not None
        wait_until(lambda: (directory / "web.stderr.log").read_text(), "its second line is written")
        lines = [following.stdout.readline() for _ in range(5)]
        following.send_signal(signal.SIGINT)
        following.communicate(timeout=20)

    assert [
        f"==> {directory}/web.stdout.log <==\n".encode(),
        b"one\n",
        b"\n",
        f"==> {directory}/web.stderr.log <==\n".encode(),
        b"two\n",
    ] == lines
