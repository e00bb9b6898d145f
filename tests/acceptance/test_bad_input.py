"""Bad input and bad days: a clear error that names what is wrong, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.jobs import Done, Jobs
from tests.cli.test_commands import is_alive
from tests.inside import wait_for

pytestmark = pytest.mark.needs_root

GOOD = "processes: [{name: web, executable: /bin/sleep, args: [1000]}]\n"


def only_line(done: Done) -> str:
    """The one line of an error."""
    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n")), done
    assert done.stderr.startswith("Error: ")
    return done.stderr


# bpm.yml


def remove(file: Path) -> None:
    file.unlink()


def make_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def make_fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link_to(target: str) -> Callable[[Path], None]:
    def link(file: Path) -> None:
        file.unlink()
        file.symlink_to(target)

    return link


def fill_with_sparse_tebibyte(file: Path) -> None:
    os.truncate(file, 1 << 40)


def fill_with_comments(file: Path) -> None:
    file.write_text(GOOD + "# and so on\n" * 500_000)


def fill_with_bytes(file: Path) -> None:
    file.write_bytes(bytes(range(256)) * 100)


UNREADABLE = {
    "missing": (remove, "no such file or directory"),
    "a directory": (make_directory, "is a directory"),
    "a FIFO": (make_fifo, "not a regular file"),
    "a dangling link": (link_to("nowhere"), "no such file or directory"),
    "a link to itself": (link_to("bpm.yml"), "too many levels of symbolic links"),
    "not to be read": (link_to("/proc/self/mem"), "input/output error"),
    "without end": (link_to("/dev/zero"), "not a regular file"),
    "a sparse tebibyte": (fill_with_sparse_tebibyte, "expected at most 4194304 bytes"),
    "six megabytes": (fill_with_comments, "expected at most 4194304 bytes"),
    "any bytes": (fill_with_bytes, "not YAML: a control character"),
}


@pytest.mark.same_everywhere
@pytest.mark.parametrize(("spoil", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_config_is_named(jobs: Jobs, spoil: Callable[[Path], None], reason: str) -> None:
    """A bpm.yml that cannot be read, or is no text, or too much of it, is one line that names it, at once."""
    jobs.write(GOOD)
    config = jobs.path / "jobs/web/config/bpm.yml"
    spoil(config)

    begun = time.monotonic()
    error = only_line(jobs.bpm("start", "web"))

    assert time.monotonic() - begun < 10
    assert error.startswith("Error: failed to parse job configuration: ")
    assert reason in error and str(config) in error


@pytest.mark.same_everywhere
@pytest.mark.parametrize(("spoil", "reason"), UNREADABLE.values(), ids=UNREADABLE)
def test_an_unreadable_config_does_not_lose_what_runs(jobs: Jobs, spoil: Callable[[Path], None], reason: str) -> None:
    """What runs goes on, is still listed, and can be stopped once its bpm.yml is repaired."""
    jobs.write(GOOD)
    jobs.must("start", "web")
    pid = jobs.must("pid", "web")
    config = jobs.path / "jobs/web/config/bpm.yml"
    spoil(config)

    refused = jobs.bpm("stop", "web")
    listed = jobs.bpm("list")

    assert reason in only_line(refused)
    assert pid == jobs.must("pid", "web")
    assert 0 == listed.returncode
    assert f"web is running with pid {pid.strip()}" in listed.stderr
    config.rmdir() if config.is_dir() and not config.is_symlink() else config.unlink(missing_ok=True)
    jobs.write(GOOD)
    jobs.must("stop", "web")


# Names


@pytest.mark.same_everywhere
@pytest.mark.parametrize("name", ["a/b", "../web", "/web", "..", ".", "a\nb", "a\x7fb", "x" * 255, "é" * 128])
@pytest.mark.parametrize("command", ["start", "stop", "run", "pid", "logs", "shell", "trace"])
def test_a_name_that_is_none_is_refused(jobs: Jobs, command: str, name: str) -> None:
    """A job's name with a slash, ``..``, a newline, or too long for its lock is one line, and nothing is made."""
    jobs.write(GOOD)
    before = sorted(str(path) for path in jobs.path.rglob("*"))

    error = only_line(jobs.bpm(command, name))

    assert "name" in error
    assert before == sorted(str(path) for path in jobs.path.rglob("*"))


@pytest.mark.parametrize("name", ["x" * 240, "with space", "a.b", "dé", "$(id)", "*"])
def test_a_strange_name_works(jobs: Jobs, name: str) -> None:
    """A name of 240 bytes, and names with spaces, letters, bytes and signs of any kind, can be started and stopped."""
    jobs.define("/bin/sleep", "1000", job=name)

    jobs.must("start", name)
    pid = jobs.must("pid", name).strip()
    jobs.must("stop", name)

    assert int(pid) > 1
    assert "stopped" == jobs.must("list").split()[-1]


@pytest.mark.same_everywhere
@pytest.mark.parametrize("process", ["a/b", "..", "x" * 250, "a\nb", "a\x1b[2Jb"])
def test_a_process_name_that_is_none_is_refused(jobs: Jobs, process: str) -> None:
    """So is a process's, on the command line."""
    jobs.write(GOOD)

    only_line(jobs.bpm("start", "web", "-p", process))


@pytest.mark.parametrize(
    "keys",
    [
        {"executable": "/bin/no\nsuch"},
        {"executable": "/bin/true", "workdir": "/usr/no\nsuch"},
        {"executable": "/bin/true", "hooks": {"pre_start": "/no\nsuch"}},
        {"executable": "/bin/true", "shutdown_signal": "NO\nSUCH"},
        {"executable": "/bin/true", "additional_volumes": [{"path": "/no\nsuch"}]},
    ],
    ids=lambda keys: list(keys)[-1],
)
def test_whatever_is_in_a_text_its_error_is_one_line(jobs: Jobs, keys: dict[str, Any]) -> None:
    """A newline in a path or a word of bpm.yml is shown as an escape."""
    jobs.define(**keys)

    assert "\\n" in only_line(jobs.bpm("start", "web"))


# Volumes and directories


def test_a_volume_that_is_a_dangling_link_is_refused(jobs: Jobs) -> None:
    """A volume that is a link to nothing is named, and nothing is made where it leads."""
    volume, nowhere = jobs.path / "data/volume", jobs.path / "elsewhere"
    volume.symlink_to(nowhere)
    jobs.define("/bin/true", additional_volumes=[{"path": str(volume)}])

    error = only_line(jobs.bpm("start", "web"))

    assert str(volume) in error and "leads nowhere" in error
    assert not nowhere.exists()


def test_a_mount_only_volume_that_is_a_dangling_link_is_refused(jobs: Jobs) -> None:
    """One that is mount_only, too."""
    volume, nowhere = jobs.path / "data/volume", jobs.path / "elsewhere"
    volume.symlink_to(nowhere)
    jobs.define("/bin/true", additional_volumes=[{"path": str(volume), "mount_only": True}])

    assert str(volume) in only_line(jobs.bpm("start", "web"))
    assert not nowhere.exists()


@pytest.mark.parametrize("workdir", ["/usr/nowhere", "/var/vcap/jobs/web/nowhere", "/etc/passwd"])
def test_a_workdir_that_cannot_be_made_is_named(jobs: Jobs, workdir: str) -> None:
    """A workdir that does not exist on a read-only mount, or is a file, fails the start, named with its key."""
    jobs.define("/bin/pwd", workdir=workdir)

    error = only_line(jobs.bpm("start", "web"))

    assert workdir in error and "processes[0].workdir" in error
    assert "web - failed" == " ".join(jobs.must("list").splitlines()[1].split())


def test_a_persistent_disk_that_is_missing_is_told(jobs: Jobs) -> None:
    """persistent_disk without ROOT/store fails in the contract's words."""
    jobs.define("/bin/true", persistent_disk=True)

    assert "requested persistent disk does not exist" in only_line(jobs.bpm("start", "web"))


# A full disk


class Disk:
    """A small file system on a part of the root."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True, parents=True)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", path], check=True)

    def fill(self) -> None:
        """Leave no room."""
        with open(self.path / "ballast", "ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        """Make room again."""
        (self.path / "ballast").unlink(missing_ok=True)


@pytest.fixture
def disk(jobs: Jobs, request: pytest.FixtureRequest) -> Iterator[Disk]:
    """A small disk at the parameter's place in the root."""
    disk = Disk(jobs.path / request.param)
    yield disk
    jobs.bpm.stop_all()
    subprocess.run(["umount", disk.path], check=True)


@pytest.mark.parametrize("disk", ["data/bpm"], indirect=True)
def test_a_start_that_finds_the_disk_of_the_records_full_leaves_nothing(jobs: Jobs, disk: Disk) -> None:
    """Without room for its record a process is not started, the file is named; with room again it is."""
    jobs.write(GOOD)
    disk.fill()

    error = only_line(jobs.bpm("start", "web"))
    listed = jobs.must("list")
    disk.free()
    jobs.must("start", "web")
    again = jobs.must("list")

    assert "No space left on device" in error and str(disk.path) in error
    assert "web - stopped" == " ".join(listed.splitlines()[1].split())
    assert "running" in again


@pytest.mark.parametrize("disk", ["data/bpm", "data/sys/run", "data/sys/log"], indirect=True)
def test_what_runs_is_stopped_on_a_full_disk(jobs: Jobs, disk: Disk) -> None:
    """A disk that became full, of records, pidfiles or logs, keeps nothing from being listed and stopped."""
    jobs.write(GOOD)
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()
    disk.fill()

    listed = jobs.must("list")
    jobs.must("stop", "web")

    assert ["web", pid, "running"] == listed.splitlines()[1].split()
    assert not is_alive(pid)
    assert "web - stopped" == " ".join(jobs.must("list").splitlines()[1].split())


@pytest.mark.parametrize("disk", ["data/bpm", "data/sys/log"], indirect=True)
def test_what_runs_is_stopped_on_a_disk_that_became_read_only(jobs: Jobs, disk: Disk) -> None:
    """The process ends, and what could not be written is told; with a good disk again, nothing is left of it."""
    jobs.write(GOOD)
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()
    # Over itself: what is open for writing keeps a mount from becoming read-only.
    subprocess.run(["mount", "--bind", disk.path, disk.path], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", disk.path], check=True)

    try:
        error = only_line(jobs.bpm("stop", "web"))
    finally:
        subprocess.run(["umount", disk.path], check=True)
    jobs.must("stop", "web")

    assert "Read-only file system" in error and str(jobs.path) in error
    assert not is_alive(pid)
    assert "web - stopped" == " ".join(jobs.must("list").splitlines()[1].split())


@pytest.mark.parametrize("disk", ["data/sys/run"], indirect=True)
def test_a_start_without_room_for_its_pidfile_leaves_nothing(jobs: Jobs, disk: Disk) -> None:
    """What monit could never watch does not run."""
    jobs.write(GOOD)
    (jobs.path / "data/sys/run/bpm/web").mkdir(parents=True)
    disk.fill()

    error = only_line(jobs.bpm("start", "web"))

    assert "No space left on device" in error and "web.pid" in error
    assert "running" not in jobs.must("list")


@pytest.mark.parametrize("disk", ["data/sys/log"], indirect=True)
def test_a_program_goes_on_where_its_log_cannot(jobs: Jobs, disk: Disk) -> None:
    """A process whose log's disk is full runs on, and so do start and its bpm.log; with room again it logs again."""
    script = "while :; do echo line || true; sleep 0.02; done"
    jobs.define("/bin/bash", "-c", script)
    jobs.must("start", "web")
    pid = jobs.must("pid", "web")
    log = jobs.path / "sys/log/web/web.stdout.log"
    assert wait_for(lambda: log.stat().st_size)
    disk.fill()
    size = wait_for(log.stat).st_size
    time.sleep(0.2)

    assert pid == jobs.must("pid", "web")
    disk.free()
    assert wait_for(lambda: log.stat().st_size > size)


@pytest.mark.parametrize("disk", ["data/sys/log"], indirect=True)
def test_run_passes_output_on_where_its_log_cannot(jobs: Jobs, disk: Disk) -> None:
    """``bpm run`` passes on all that the program writes, though its log's disk is full, and says that it was."""
    jobs.define("/bin/sh", "-c", "seq 1 200000; exit 3")

    done = jobs.bpm("run", "web")

    log = jobs.path / "sys/log/web/web.stdout.log"
    assert "".join(f"{number}\n" for number in range(1, 200001)) == done.stdout
    assert 3 == done.returncode
    assert f"bpm: warning: {log} lacks some of what the program wrote: No space left on device\n" in done.stderr


@pytest.mark.parametrize("disk", ["data/sys/log"], indirect=True)
def test_run_logs_again_when_there_is_room(jobs: Jobs, disk: Disk) -> None:
    """What the program of ``bpm run`` writes after the disk was full is in its log, too."""
    jobs.define("/bin/sh", "-c", "seq 1 200000; until [ -e /tmp/go ]; do sleep 0.05; done; echo after")
    log = jobs.path / "sys/log/web/web.stdout.log"
    with jobs.bpm.begin("run", "web") as running:
        assert running.stdout is not None
        while running.stdout.readline() != b"200000\n":
            assert running.poll() is None
        os.truncate(log, 0)
        (jobs.path / "data/web/tmp/go").touch()
        rest, warnings = running.communicate(timeout=20)

    assert (b"after\n", "after\n") == (rest, log.read_text())
    assert b"No space left on device" in warnings
