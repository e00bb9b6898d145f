"""The paths of a BOSH machine, each with an outside and an inside.

Outside is where the host has it, below ``$BPM_BOSH_ROOT``; inside is where the container sees it,
always below ``/var/vcap``. To print one you must say which side you mean.
"""

from __future__ import annotations

import posixpath

from attrs import frozen

DEFAULT_ROOT = "/var/vcap"
INSIDE_ROOT = "/var/vcap"


@frozen
class Place:
    """One path, on both sides. Printing it bare raises: say ``.outside`` or ``.inside``."""

    outside: str
    inside: str

    def __str__(self) -> str:
        raise TypeError("a Place has two sides: say .outside or .inside")

    def __truediv__(self, name: str) -> Place:
        return Place(posixpath.join(self.outside, name), posixpath.join(self.inside, name))


@frozen
class Layout:
    """All the paths of one root.

    Args:
        root: The BOSH root on the host, absolute and clean, such as ``/var/vcap``.
    """

    root: str = DEFAULT_ROOT

    def place(self, *names: str) -> Place:
        """The place of ``ROOT/name/name...``."""
        return Place(posixpath.join(self.root, *names), posixpath.join(INSIDE_ROOT, *names))

    @property
    def jobs(self) -> Place:
        return self.place("jobs")

    @property
    def packages(self) -> Place:
        return self.place("packages")

    @property
    def data_packages(self) -> Place:
        return self.place("data", "packages")

    @property
    def store(self) -> Place:
        return self.place("store")

    @property
    def state(self) -> str:
        """Our own records, root only; outside, since no container ever sees them."""
        return self.place("data", "bpm", "containers").outside

    @property
    def locks(self) -> str:
        """The lock files' directory, outside."""
        return self.place("data", "bpm", "locks").outside

    def job(self, name: str) -> JobLayout:
        """The paths of one job."""
        return JobLayout(self, name)

    def process_lock(self, container_id: str) -> str:
        """The lock file of one process, outside."""
        return posixpath.join(self.locks, f"job-{container_id}.lock")

    def volume_lock(self, path: str) -> str:
        """The lock file of one shared volume, outside."""
        from hashlib import sha256  # OpenSSL comes with it; few need it

        return posixpath.join(self.locks, f"vol-{sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()}.lock")


@frozen
class JobLayout:
    """The paths of one job of one root."""

    layout: Layout
    job: str

    @property
    def directory(self) -> Place:
        return self.layout.place("jobs", self.job)

    @property
    def config(self) -> str:
        """The job's bpm.yml, outside."""
        return (self.directory / "config/bpm.yml").outside

    @property
    def data(self) -> Place:
        return self.layout.place("data", self.job)

    @property
    def temp(self) -> Place:
        return self.data / "tmp"

    @property
    def store(self) -> Place:
        return self.layout.place("store", self.job)

    @property
    def log(self) -> Place:
        return self.layout.place("sys", "log", self.job)

    @property
    def run(self) -> Place:
        return self.layout.place("sys", "run", self.job)

    @property
    def pid_directory(self) -> Place:
        return self.layout.place("sys", "run", "bpm", self.job)

    def stdout(self, process: str) -> Place:
        return self.log / f"{process}.stdout.log"

    def stderr(self, process: str) -> Place:
        return self.log / f"{process}.stderr.log"

    @property
    def bpm_log(self) -> Place:
        return self.log / "bpm.log"

    def pidfile(self, process: str) -> Place:
        return self.pid_directory / f"{process}.pid"


def container_name(job: str, process: str) -> str:
    """The name that people see: ``JOB``, or ``JOB.PROCESS`` where they differ."""
    return job if job == process else f"{job}.{process}"


def container_id(job: str, process: str) -> str:
    """The container's identifier: ``bpm-`` and the name, every byte outside ``[A-Za-z0-9_-]`` as ``.xx``."""
    name = container_name(job, process)
    return "bpm-" + "".join(
        chr(byte) if chr(byte).isascii() and (chr(byte).isalnum() or chr(byte) in "_-") else f".{byte:02x}"
        for byte in name.encode("utf-8", "surrogateescape")
    )
