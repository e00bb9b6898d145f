"""A BOSH root with a probe and all that generated jobs may mount, and a runc."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpm import Environment, JobProcess
from tests.conftest import BoshRoot
from tests.differential.pair import Runc
from tests.inside import parse_mounts

DIRECTORIES = ("data/a/b/c", "data/c", "data/x y", "data/job/d", "data/job/tmp/e", "store/job/f", "store/g")
DIRECTORIES += ("sys/run/job", "sys/log/other")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip where there is no runc to compare with."""
    if shutil.which("runc") is None:
        for item in items:
            if "differential" in item.path.parts:
                item.add_marker(pytest.mark.skip(reason="runc is not installed (Debian's package runc)"))


# Those that bpm would make for the job's user.
OF_THE_USER = ("data/a", "data/c", "data/x y", "data/file", "data/job/d", "data/job/tmp", "store")
OF_THE_USER += ("sys/run/job", "sys/log/other")


class Lab:
    """A BOSH root in which each key of bpm.yml finds something to be about; made anew for each process.

    Args:
        place: An empty directory.
        probe: The compiled probe.
    """

    def __init__(self, place: Path, user: pwd.struct_passwd, probe: Path) -> None:
        self.place = place
        self.user = user
        self.probe = probe

    def clear(self) -> None:
        """Take away all that is there, and the mounts that volumes became."""
        lines = parse_mounts(Path("/proc/self/mountinfo").read_text())
        for line in sorted(lines, key=lambda line: line.number, reverse=True):
            if line.target.startswith(f"{self.place}/"):
                subprocess.run(["umount", line.target], check=True)
        for path in self.place.iterdir():
            shutil.rmtree(path)

    def process(self, text: str, job: str = "job") -> JobProcess:
        """The only process of a job with this bpm.yml, whose volumes in /var/vcap are in this root."""
        self.clear()
        path = self.place / "root"
        path.mkdir()
        root = BoshRoot(path)
        shutil.copy(self.probe, root.add_package("probe") / "bin/probe")
        for name in DIRECTORIES:
            (path / name).mkdir(parents=True)
        (path / "data/file").touch()
        for name in OF_THE_USER:
            for place in (path / name, *(path / name).rglob("*")):
                os.chown(place, self.user.pw_uid, self.user.pw_gid)
        root.add_job(job, re.sub(r"(path: ['\"]?)/var/vcap/", rf"\g<1>{path}/", text))
        environment = Environment(str(path), self.user.pw_name)
        (process,) = environment.config(job).processes
        return environment.process(job, process.name)


@pytest.fixture
def bundles() -> Iterator[Path]:
    """An empty directory that every user can traverse."""
    directory = tempfile.mkdtemp(prefix="bpm-bundles-", dir="/var/tmp")
    os.chmod(directory, 0o755)
    yield Path(directory)
    shutil.rmtree(directory)


@pytest.fixture
def runc(bundles: Path) -> Runc:
    """A runc of the test's own."""
    return Runc(bundles)


@pytest.fixture
def lab(job_user: pwd.struct_passwd, probe: Path) -> Iterator[Lab]:
    """Roots for jobs; volumes that became shared mounts are unmounted again.

    Not in /var/tmp, which is the job's own inside.
    """
    place = tempfile.mkdtemp(prefix="bpm-lab-", dir="/srv")
    os.chmod(place, 0o755)
    lab = Lab(Path(place), job_user, probe)
    yield lab
    lab.clear()
    os.rmdir(place)
