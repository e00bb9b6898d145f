"""What happens on the host before the clone."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attrs import evolve

from bpm import Environment, JobProcess, PlanError, PrepareError
from bpm.plan import Mount, SharedVolume
from bpm.runtime.prepare import prepare, share_volume
from bpm.runtime.startup import discard
from tests.conftest import BoshRoot

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]


def look(path: str) -> tuple[int, int, int]:
    status = os.stat(path)
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


def test_the_jobs_directories_are_made(web: Make, environment: Environment):
    """After preparing, the job's directories and log files are there, with the contract's owners and modes."""
    volume = f"{environment.root}/data/extra"
    process = web("exit 0", f"ephemeral_disk: true\nadditional_volumes: [{{path: {volume}}}]")
    with prepare(process.plan()):
        pass
    job, user = environment.layout.job("web"), environment.user
    mine = (user.uid, user.gid)
    expected = {
        job.log.outside: (*mine, 0o750),
        job.run.outside: (*mine, 0o700),
        job.data.outside: (*mine, 0o700),
        job.temp.outside: (*mine, 0o700),
        job.pid_directory.outside: (0, 0, 0o700),
        volume: (*mine, 0o700),
        **dict.fromkeys(process.log_paths, (*mine, 0o600)),
    }
    assert expected == {path: look(path) for path in expected}


def test_descriptors_end_with_it(web: Make):
    """The descriptors that preparing opened are closed at its end."""
    plan = web("exit 0").plan()
    before = sorted(os.listdir("/proc/self/fd"))
    with prepare(plan) as prepared:
        assert len(plan.mounts) == len(prepared.sources)
        assert len({*prepared.stdio}) == 3
    assert before == sorted(os.listdir("/proc/self/fd"))


def test_a_missing_source_is_named(web: Make):
    """A bind mount whose source does not exist fails with source and key, and leaves no descriptor."""
    plan = web("exit 0").plan()
    plan = evolve(plan, mounts=(*plan.mounts, Mount("/x", "/no/source", "bind", ("bind",), "the key")))
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(PrepareError) as caught:
        prepare(plan)
    assert "cannot open /no/source (because the key): No such file or directory (ENOENT)" == str(caught.value)
    assert before == sorted(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("kind", ["file", "socket"])
def test_a_volume_may_be_no_directory(web: Make, environment: Environment, kind: str):
    """A volume that is a file or a socket is given to the job's user, and is mounted."""
    volume = f"{environment.root}/data/thing"
    if kind == "file":
        Path(volume).write_text("text")
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as unix:
            unix.bind(volume)
    process = web(f"stat -c %F {volume}", f"additional_volumes: [{{path: {volume}}}]")
    with process.start() as container:
        container.wait(10)
    assert {"file": "regular file\n", "socket": "socket\n"}[kind] == Path(process.log_paths[0]).read_text()
    assert environment.user.uid == os.stat(volume).st_uid


def test_a_planted_directory_is_refused(web: Make, environment: Environment, bosh_root: BoshRoot):
    """A link that the job's user put in the place of a directory is refused by name, and its target untouched."""
    process = web("exit 0", "ephemeral_disk: true")
    target = bosh_root.path / "target"
    target.mkdir(0o755)
    with prepare(process.plan()):
        pass
    temp = environment.layout.job("web").temp.outside
    os.rmdir(temp)
    os.symlink(target, temp)
    os.chown(temp, environment.user.uid, environment.user.gid, follow_symlinks=False)
    with pytest.raises(PrepareError, match=r"create the directory .*/tmp .*refusing"):
        prepare(process.plan())
    assert (0, 0, 0o755) == look(str(target))


# Shared volumes


@pytest.fixture
def volume(environment: Environment) -> Iterator[str]:
    """A volume, whose mounts are taken off with the test."""
    path = f"{environment.root}/data/shared"
    os.mkdir(path)
    yield path
    while mounts_at(path):
        subprocess.run(["umount", path], check=True)


def mounts_at(path: str) -> list[str]:
    """The optional fields of what is mounted there: ``shared:N``."""
    lines = [line.split(" ") for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [" ".join(line[6 : line.index("-")]) for line in lines if line[4] == path]


def test_a_volume_is_shared_once(environment: Environment, volume: str):
    """A volume that is no mount becomes one, shared; to share it again changes nothing."""
    for _ in range(3):
        share_volume(environment.root, SharedVolume(volume, "the key"))
    (propagation,) = mounts_at(volume)
    assert propagation.startswith("shared:")


def test_a_private_mount_is_shared(environment: Environment, volume: str):
    """A volume that is a private mount becomes a shared one, and no second mount."""
    subprocess.run(["mount", "-t", "tmpfs", "none", volume], check=True)
    subprocess.run(["mount", "--make-private", volume], check=True)
    share_volume(environment.root, SharedVolume(volume, "the key"))
    (propagation,) = mounts_at(volume)
    assert propagation.startswith("shared:")


def test_restarts_do_not_multiply_mounts(web: Make, volume: str):
    """A process with a shared volume can be restarted often, and the host has one mount for it."""
    process = web("exit 0", f"additional_volumes: [{{path: {volume}, shared: true}}]")
    for _ in range(10):
        with process.start() as container:
            container.wait(10)
    assert 1 == len(mounts_at(volume))


def test_a_missing_shared_volume_is_named(environment: Environment):
    """A shared volume that does not exist is a PrepareError that names it."""
    with pytest.raises(PrepareError, match="share the volume /no/volume"):
        share_volume(environment.root, SharedVolume("/no/volume", "the key"))


@pytest.fixture
def below_tmp(job_user: pwd.struct_passwd) -> Iterator[tuple[BoshRoot, Environment]]:
    """A BOSH root below /tmp, which inside is the job's own."""
    with tempfile.TemporaryDirectory(prefix="bpm-root-", dir="/tmp") as directory:
        os.chmod(directory, 0o755)
        root = BoshRoot(Path(directory))
        environment = Environment(directory, job_user.pw_name)
        yield root, environment
        discard(environment.records, environment.process("web").plan())


def test_a_volume_hangs_in_the_jobs_own_tmp(below_tmp: tuple[BoshRoot, Environment]):
    """With a BOSH root below /tmp, volumes (directories and files) are there inside, at each start."""
    root, environment = below_tmp
    directory, file = root.path / "data/extra", root.path / "data/file"
    file.write_text("in a file")
    root.add_job(
        "web",
        "processes:\n- name: web\n  executable: /bin/sh\n"
        f"  args: [-c, 'cat {file} && echo said > {directory}/made']\n"
        f"  additional_volumes: [{{path: {directory}, writable: true}}, {{path: {file}}}]\n",
    )
    process = environment.process("web")
    for _ in range(2):
        with process.start() as container:
            assert 0 == container.wait(10).exit_code
        assert "said\n" == (directory / "made").read_text()
        (directory / "made").unlink()
    inside = root.path / "data/web/tmp" / str(root.path).removeprefix("/tmp/")
    assert "in a file" * 2 == Path(process.log_paths[0]).read_text()
    mine = environment.user.uid
    assert [mine] * 4 == [os.stat(path).st_uid for path in (inside, inside / "data", *(inside / "data").iterdir())]
    assert b"" == (inside / "data/file").read_bytes()


def test_a_planted_mount_point_is_refused(below_tmp: tuple[BoshRoot, Environment]):
    """A link that the job's user put in the way of a mount point is refused by name, and nothing is made behind it."""
    root, environment = below_tmp
    volume = root.path / "data/extra"
    root.add_job(
        "web", f"processes: [{{name: web, executable: /bin/true, additional_volumes: [{{path: {volume}}}]}}]\n"
    )
    process = environment.process("web")
    with process.start():
        pass
    first = root.path / "data/web/tmp" / str(root.path).split("/")[2]
    shutil.rmtree(first)
    target = root.path / "data/target"
    target.mkdir()
    first.symlink_to(target)
    os.chown(first, environment.user.uid, -1, follow_symlinks=False)
    with pytest.raises(
        PrepareError, match=r"cannot create the mount point .*because processes.0..additional_volumes.0"
    ):
        process.start()
    assert [] == list(target.iterdir())


def test_a_relative_source_is_refused(web: Make):
    """What is mounted is never looked up in bpm's own directory."""
    plan = web("exit 0").plan()
    plan = evolve(plan, mounts=(*plan.mounts, Mount("/x", "usr", "bind", ("bind",), "the key")))
    with pytest.raises(PlanError, match=r"must be absolute: 'usr' .the key."):
        prepare(plan)
