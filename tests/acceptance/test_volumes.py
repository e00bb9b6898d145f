"""Volumes, as an operator writes them."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpm.cli import main
from tests.acceptance.jobs import Jobs
from tests.effort import times
from tests.inside import parse_mounts, wait_for

pytestmark = pytest.mark.needs_root

PROGRAM = "#!/bin/sh\necho executed\n"


@pytest.mark.parametrize(
    ("options", "answers"),
    [
        ({}, ["no", "no"]),
        ({"writable": True}, ["written", "no"]),
        ({"allow_executions": True}, ["no", "executed"]),
        ({"writable": True, "allow_executions": True}, ["written", "executed"]),
    ],
    ids=["plain", "writable", "allow_executions", "both"],
)
def test_a_volume_allows_what_it_says(jobs: Jobs, options: dict[str, bool], answers: list[str]) -> None:
    """Without an option a volume can only be read; writable and allow_executions each allow one thing more."""
    volume = jobs.path / "data/volume"
    volume.mkdir()
    program = volume / "program"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    script = f"(echo >{volume}/x) 2>/dev/null && echo written || echo no; {program} 2>/dev/null || echo no"

    assert answers == jobs.shell(script, additional_volumes=[{"path": str(volume), **options}]).split()


def test_a_missing_volume_is_made_and_an_existing_one_taken_over(jobs: Jobs) -> None:
    """A volume becomes the job's user's own, with mode 0700, whether it was there or not."""
    there, missing = jobs.path / "data/there", jobs.path / "data/a/b/missing"
    there.mkdir(mode=0o755)
    jobs.output("/bin/true", additional_volumes=[{"path": str(there)}, {"path": str(missing)}])

    modes = [(path.stat().st_uid, oct(path.stat().st_mode)) for path in (there, missing)]

    assert [(jobs.uid, "0o40700")] * 2 == modes
    assert (0, 0) == (missing.parent.stat().st_uid, missing.parent.parent.stat().st_uid)


def test_mount_only_leaves_a_volume_as_it_is(jobs: Jobs) -> None:
    """A volume that is mount_only is neither made nor given away: root's stays root's, a missing one is named."""
    there, missing = jobs.path / "data/there", jobs.path / "data/missing"
    there.mkdir(mode=0o755)
    jobs.output("/bin/ls", str(there), additional_volumes=[{"path": str(there), "mount_only": True}])
    jobs.define("/bin/true", additional_volumes=[{"path": str(missing), "mount_only": True}])
    done = jobs.bpm("start", "web")

    assert (0, "0o40755") == (there.stat().st_uid, oct(there.stat().st_mode))
    assert not missing.exists()
    assert (1, 1) == (done.returncode, done.stderr.count("\n"))
    assert f"{missing}" in done.stderr


def test_a_volume_may_be_a_file(jobs: Jobs) -> None:
    """A file is given to the job's user, and mounted as a file."""
    file = jobs.path / "data/file"
    file.write_text("words\n")

    assert "words\n" == jobs.output("/bin/cat", str(file), additional_volumes=[{"path": str(file)}])
    assert jobs.uid == file.stat().st_uid


def test_a_volume_may_be_a_socket(jobs: Jobs) -> None:
    """/dev/log, as an unrestricted volume, takes what the job's programs log."""
    directory = jobs.path / "syslog"
    directory.mkdir()
    log = directory / "log"
    for name, number in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
        os.mknod(directory / name, 0o20666, os.makedev(1, number))
        (directory / name).chmod(0o666)
    jobs.define(
        "/usr/bin/logger",
        *("--socket", "/dev/log", "--tag", "web", "heard"),
        unsafe={"unrestricted_volumes": [{"path": "/dev/log", "writable": True}]},
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(log))
        log.chmod(0o666)
        server.settimeout(20)
        done = jobs.elsewhere(f"mount --bind {directory} /dev", "run", "web")
        assert 0 == done.returncode, done.stderr
        message = server.recv(1000)

    assert b"web: heard" in message


def test_a_pattern_mounts_each_of_its_matches(jobs: Jobs) -> None:
    """An unrestricted volume's pattern brings in what it matches, files and directories, and nothing beside."""
    place = jobs.path / "anywhere"
    for name in ("one.d", "two.d", "three.x"):
        (place / name).mkdir(parents=True)
    (place / "file.d").touch()

    listed = jobs.output("/bin/ls", str(place), unsafe={"unrestricted_volumes": [{"path": f"{place}/*.d"}]})

    assert "file.d\none.d\ntwo.d\n" == listed


def test_what_lies_inside_the_jobs_own_mounts_is_left_out(jobs: Jobs) -> None:
    """With the default root, an unrestricted volume over everything leaves the job's own directories as they are."""
    jobs.define("/bin/true", job="neighbour")
    script = (
        "ls /var/vcap/jobs; for job in web neighbour; do (echo >/var/vcap/jobs/$job/x) 2>/dev/null && echo $job; done"
    )
    unsafe = {"unrestricted_volumes": [{"path": "/var/vcap/jobs/*", "writable": True}]}
    jobs.define("/bin/sh", "-c", f"{script}; true", unsafe=unsafe)
    for directory in (jobs.path / "data/jobs").glob("*/*"):
        directory.chmod(0o777)

    host = f"mount -t tmpfs none /var; mkdir /var/vcap; mount --bind {jobs.path} /var/vcap"
    done = jobs.elsewhere(host, "run", "web", root="")

    assert (0, "neighbour\nweb\nneighbour\n") == (done.returncode, done.stdout), done.stderr
    log = (jobs.path / "sys/log/web/bpm.log").read_text()
    assert '"message":"bpm.run.run-process.dropped-mount"' in log
    assert '"mount":"/var/vcap/jobs/web"' in log


@pytest.fixture
def shared_volume(jobs: Jobs) -> Iterator[Path]:
    """A volume that will be shared; its mounts go with the test."""
    volume = jobs.path / "data/shared"
    (volume / "below").mkdir(parents=True)
    yield volume
    while mounted(volume):
        subprocess.run(["umount", mounted(volume)[-1]], check=True)


def mounted(volume: Path) -> list[str]:
    """The mounts at or below a volume, on the host."""
    lines = parse_mounts(Path("/proc/self/mountinfo").read_text())
    return [line.target for line in lines if f"{line.target}/".startswith(f"{volume}/")]


def test_what_the_host_mounts_below_a_shared_volume_is_seen_by_all(jobs: Jobs, shared_volume: Path) -> None:
    """A file system that the host mounts below a shared volume appears in two containers that run already."""
    waiting = f"until cat {shared_volume}/below/file 2>/dev/null; do sleep 0.05; done; exec sleep 1000"
    for job in ("one", "two"):
        volumes = [{"path": str(shared_volume), "shared": True}]
        jobs.define("/bin/sh", "-c", waiting, job=job, additional_volumes=volumes)
        jobs.must("start", job)

    subprocess.run(["mount", "-t", "tmpfs", "none", shared_volume / "below"], check=True)
    (shared_volume / "below/file").write_text("appeared\n")

    for job in ("one", "two"):
        assert "appeared\n" == wait_for((jobs.path / f"sys/log/{job}/{job}.stdout.log").read_text)


def test_what_a_container_mounts_below_a_shared_volume_is_seen_by_all(jobs: Jobs, shared_volume: Path) -> None:
    """What a privileged errand mounts there appears outside and in its neighbour, and goes by the next errand's umount.

    It outlives the container that mounted it: others may be using it.
    """
    volumes = [{"path": str(shared_volume), "shared": True}]
    file = shared_volume / "below/file"
    waiting = f"until cat {file}; do sleep 0.05; done; while cat {file}; do sleep 0.05; done; echo gone; sleep 1000"
    jobs.define("/bin/sh", "-c", waiting, job="reader", additional_volumes=volumes)
    jobs.must("start", "reader")
    driver = {"job": "driver", "unsafe": {"privileged": True}, "additional_volumes": volumes}
    jobs.shell(f"mount -t tmpfs none {file.parent} && echo appeared >{file}", **driver)
    there = file.read_text()
    heard = jobs.path / "sys/log/reader/reader.stdout.log"
    assert wait_for(heard.read_text)
    jobs.shell(f"umount {file.parent}", **driver)

    assert "appeared\n" == there
    assert wait_for(lambda: {"appeared", "gone"} == set(heard.read_text().split()))
    assert [str(shared_volume)] == mounted(shared_volume)


def test_what_a_job_mounts_itself_below_a_shared_volume_stays_inside(jobs: Jobs, shared_volume: Path) -> None:
    """A volume below a shared one is mounted in the container alone, which leaves nothing of it outside."""
    below = shared_volume / "below"
    volumes = [{"path": str(shared_volume), "shared": True}, {"path": str(below), "writable": True}]
    script = f"touch {below}/written; grep -c {shared_volume} /proc/self/mountinfo"

    assert ["2\n", "2\n"] == [jobs.shell(script, additional_volumes=volumes) for _ in range(2)]
    assert [str(shared_volume)] == mounted(shared_volume)


def test_what_a_container_mounts_below_another_volume_stays_inside(jobs: Jobs, shared_volume: Path) -> None:
    """Without shared nobody sees it, though the host's mount is a shared one."""
    subprocess.run(["mount", "--bind", shared_volume, shared_volume], check=True)
    subprocess.run(["mount", "--make-shared", shared_volume], check=True)
    volumes = [{"path": str(shared_volume), "writable": True}]
    script = f"mount -t tmpfs none {shared_volume}/below && grep -c {shared_volume} /proc/self/mountinfo"

    assert "2\n" == jobs.shell(script, additional_volumes=volumes, unsafe={"privileged": True})
    assert [str(shared_volume)] == mounted(shared_volume)


def test_two_hundred_restarts_leave_the_mount_table_as_it_was(
    jobs: Jobs, shared_volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first start, which shares the volume, no start and no stop adds a line to mountinfo."""
    for name, value in jobs.bpm.environment.items():
        if name.startswith("BPM_"):
            monkeypatch.setenv(name, value)
    volumes = [{"path": str(shared_volume), "shared": True, "writable": True}]
    jobs.define("/bin/sleep", "1000", additional_volumes=volumes)
    lines = []
    for _ in range(times(200)):
        # The whole command line, but for the interpreter's own start.
        assert (0, 0) == (main(["start", "web"]), main(["stop", "web"]))
        lines.append(len(mounted(shared_volume)))

    assert {1} == set(lines)


def test_a_volume_named_twice_is_mounted_once(jobs: Jobs) -> None:
    """The first mention of a destination wins, and the second is told of in bpm.log."""
    volume = str(jobs.path / "data/a")
    script = f"(echo >{volume}/x) 2>/dev/null && echo written || echo no"

    said = jobs.shell(script, additional_volumes=[{"path": volume}, {"path": volume, "writable": True}])

    assert "no\n" == said
    assert "duplicate-mount" in (jobs.path / "sys/log/web/bpm.log").read_text()
