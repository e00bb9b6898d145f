"""Environment: a BOSH root with its jobs.

Each command of the command line is one call here or on a JobProcess, with values for results; the command line
only words them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from bpm.errors import BpmError, JobNotFound, PlanError, RecordError
from bpm.host import find_root, find_user
from bpm.layout import Layout, container_id
from bpm.runtime.process import JobProcess
from bpm.runtime.records import Records
from bpm.runtime.status import BrokenConfig, Listing, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.config import JobConfig
    from bpm.plan import HostFacts, User

LARGEST_CONFIG = 4 << 20


class Environment:
    """One BOSH root, and the user whom its processes run as.

    Args:
        root: Its path; by default ``$BPM_BOSH_ROOT``, or else ``/var/vcap``.
        user: The user's name; by default ``$BPM_USER``, or else ``vcap``. Looked up when it is needed; a User is not.

    Raises:
        HostError: The root is no directory.
    """

    def __init__(self, root: str | None = None, user: str | User | None = None) -> None:
        self.layout = Layout(find_root(root))
        self.records = Records(self.layout)
        self._user = user

    @property
    def root(self) -> str:
        """The BOSH root, absolute."""
        return self.layout.root

    @property
    def user(self) -> User:
        """Who processes run as.

        Raises:
            HostError: This machine does not know that user.
        """
        return find_user(self._user)

    def jobs(self) -> tuple[str, ...]:
        """The jobs that have a bpm.yml, sorted."""
        try:
            names = sorted(os.listdir(self.layout.jobs.outside))
        except FileNotFoundError:
            return ()
        return tuple(name for name in names if os.path.exists(self.layout.job(name).config))

    def config(self, job: str) -> JobConfig:
        """What the job's bpm.yml says.

        Args:
            job: The job's name.

        Returns:
            All of it, warnings too.

        Raises:
            JobNotFound: It has none.
            PlanError: No job can have such a name.
            ConfigError: It is wrong.
        """
        path = self.layout.job(check_job_name(job)).config
        try:
            # Non-blocking: what stands there may be a FIFO, to which nobody ever writes.
            with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise JobNotFound(f"open {path}: not a regular file")
                text = file.read(LARGEST_CONFIG + 1)
        except FileNotFoundError as error:
            raise JobNotFound(f"open {path}: no such file or directory") from error
        except OSError as error:
            raise JobNotFound(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error
        from bpm.config import load

        return load(text, job=job, root=self.root, file=path)

    def facts(self, config: JobConfig) -> HostFacts:
        """One look at the host, for what plans of this config depend on.

        Args:
            config: Whose ``unrestricted_volumes`` are looked up.

        Returns:
            What it found.

        Raises:
            HostError: The user does not exist, or /proc cannot be read.
            PlanError: A volume's pattern is malformed.
        """
        from bpm.host import observe

        return observe(config, root=self.root, user=self._user)

    def process(self, job: str, process: str | None = None) -> JobProcess:
        """A handle for one process, which need not exist; by default the one named like the job.

        Args:
            job: The job's name.
            process: The process's.

        Returns:
            The handle; nothing was looked at.

        Raises:
            PlanError: No job or process can have such a name.
        """
        return JobProcess(self, check_job_name(job), check_process_name(process or job))

    def list(self) -> Listing:
        """Every process, and what else runs."""
        processes, broken = self.processes()
        statuses = tuple(process.status() for process in processes)
        known = {container_id(status.job, status.process) for status in statuses}
        return Listing(statuses, tuple(self._strangers(known)), broken)

    def processes(self) -> tuple[tuple[JobProcess, ...], tuple[BrokenConfig, ...]]:
        """A handle for every process of every job with a bpm.yml, and the jobs that could not be looked into."""
        processes: list[JobProcess] = []
        broken: list[BrokenConfig] = []
        for job in self.jobs():
            try:
                names = dict.fromkeys(process.name for process in self.config(job).processes)
                processes += [self.process(job, name) for name in names]
            except BpmError as error:
                broken.append(BrokenConfig(job, error))
        return tuple(processes), tuple(broken)

    def _strangers(self, known: set[str]) -> Iterator[Status]:
        for identifier in self.records.ids():
            if identifier in known:
                continue
            try:
                state = self.records.read(identifier)
                status = state and JobProcess(self, state.job, state.process).status()
            except (RecordError, PlanError):
                continue  # It is none of ours.
            if status and status.state == "running":
                yield status


def check_job_name(job: str) -> str:
    """A job's name is the name of a directory in ROOT/jobs.

    Raises:
        PlanError: This is none.
    """
    reason = ""
    if not job:
        reason = "it is empty"
    elif job in (".", ".."):
        reason = "it is a directory's own name"
    elif "/" in job:
        reason = "it holds a slash"
    elif holds_control_character(job):
        reason = "it holds a control character"
    elif len(os.fsencode(job)) > 255:
        reason = "it is longer than 255 bytes"
    if reason:
        raise PlanError("job", f"invalid job name {job!r}: {reason}")
    return job


def check_process_name(process: str) -> str:
    """A process's name stands in messages, in the listing and in the names of files.

    Raises:
        PlanError: It would tear them.
    """
    if holds_control_character(process):
        raise PlanError("process", f"invalid process name {process!r}: it holds a control character")
    return process


def holds_control_character(name: str) -> bool:
    """Whether a line, or a terminal, would take part of a name for something else."""
    return any(ord(character) < 32 or ord(character) == 127 for character in name)
