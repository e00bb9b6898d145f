"""What tests of several rooms need: the probe, a BOSH root, a user who is nobody, and what only root may do."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.effort import SLOW_HOST
from tests.inside import World, compile_probe
from tests.preloaded import Preloaded

# Who started us may ignore these, as a shell does for what it runs in the background; programs under test inherit that,
# and would not be ended by what a test sends them.
for number in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def _refusal() -> str | None:
    """Why containers cannot be made here, found by making a mount namespace; None where they can."""
    tried = subprocess.run(["unshare", "--mount", "true"], capture_output=True, text=True, check=False)
    return tried.stderr.strip() or None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where the kernel refuses it, with the kernel's own words."""
    needing = [item for item in items if item.get_closest_marker("needs_root")]
    refusal = _refusal() if needing else None
    for item in needing if refusal else ():
        item.add_marker(pytest.mark.skip(reason=f"cannot isolate anything here: {refusal}"))


@pytest.fixture(scope="session")
def open_directory() -> Iterator[Path]:
    """A new directory that every user can traverse."""
    directory = tempfile.mkdtemp(prefix="bpm-test-", dir="/var/tmp")
    os.chmod(directory, 0o755)
    yield Path(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def probe(open_directory: Path) -> Path:
    """The compiled probe, where every user can execute it."""
    return compile_probe(open_directory)


@pytest.fixture
def world(probe: Path) -> Iterator[World]:
    """A small world, ended with the test."""
    with World(probe) as world:
        yield world


@pytest.fixture(scope="session")
def job_user() -> Iterator[pwd.struct_passwd]:
    """A system user made for this session, who owns nothing and is in no group but their own."""
    name = f"bpmtest{os.getpid()}"
    subprocess.run(["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name], check=True)
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", name], check=True)


@pytest.fixture(scope="session")
def preloaded() -> Iterator[Preloaded | None]:
    """What runs commands to their end on slow hosts; elsewhere a new interpreter does, as for an operator."""
    if SLOW_HOST not in os.environ:
        yield None
        return
    preloaded = Preloaded()
    yield preloaded
    preloaded.close()


class BoshRoot:
    """A BOSH root laid out as on a VM: ``jobs/X`` and ``packages/X`` are links into ``data``, ``sys`` is one too.

    The links are relative, so that they lead to the same place inside, where the root is always /var/vcap.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("data/jobs", "data/packages", "data/sys/log", "data/sys/run", "jobs", "packages"):
            (path / name).mkdir(mode=0o755, parents=True)
        (path / "sys").symlink_to("data/sys")

    def add_job(self, name: str, config: str, fingerprint: str = "0f1e2d") -> Path:
        """A job with a bpm.yml; its directory, the real one."""
        directory = self.path / "data/jobs" / name / fingerprint
        (directory / "config").mkdir(parents=True)
        (directory / "bin").mkdir()
        (directory / "config/bpm.yml").write_text(config)
        (self.path / "jobs" / name).symlink_to(f"../data/jobs/{name}/{fingerprint}")
        return directory

    def add_package(self, name: str, fingerprint: str = "3c4b5a") -> Path:
        """An empty package; its directory, the real one."""
        directory = self.path / "data/packages" / name / fingerprint
        (directory / "bin").mkdir(parents=True)
        (self.path / "packages" / name).symlink_to(f"../data/packages/{name}/{fingerprint}")
        return directory


@pytest.fixture
def bosh_root() -> Iterator[BoshRoot]:
    """An empty BOSH root that every user can traverse; it goes with the test.

    Not in /tmp or /var/tmp, which are the job's own inside.
    """
    directory = tempfile.mkdtemp(prefix="bpm-root-", dir="/srv")
    os.chmod(directory, 0o755)
    yield BoshRoot(Path(directory))
    shutil.rmtree(directory)
