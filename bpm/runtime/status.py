"""What there is in a BOSH root, as values."""

from __future__ import annotations

from attrs import frozen

from bpm.cgroup import Usage
from bpm.errors import BpmError
from bpm.layout import container_name
from bpm.runtime.records import ExitRecord

UNCOUNTED = Usage()


@frozen
class Status:
    """One process, as ``bpm list`` shows it.

    Args:
        job, process: Whose it is.
        state: ``running``; ``failed`` when it ended by itself, or could not be started; ``stopped``.
        pid: Of its init, in the host's namespace, while it runs.
        last_exit: How it ended, in the state ``failed``, as far as is known.
    """

    job: str
    process: str
    state: str
    pid: int | None = None
    last_exit: ExitRecord | None = None

    @property
    def name(self) -> str:
        """``JOB``, or ``JOB.PROCESS`` where they differ."""
        return container_name(self.job, self.process)


@frozen
class Report:
    """One process, as ``bpm status`` shows it.

    Args:
        status: What ``bpm list`` shows of it.
        program: The pid of its program, in the host's namespace, while it runs.
        started_ns: When it was started, in nanoseconds since 1970; 0 when it is stopped.
        restarts: How often it was started after it had ended by itself, since it was last stopped.
        last_exit: How it ended: now in the state ``failed``, before its last restart in the state ``running``.
        plan_digest: The digest of the plan that was carried out.
        usage: What it uses and has used.
    """

    status: Status
    program: int | None = None
    started_ns: int = 0
    restarts: int = 0
    last_exit: ExitRecord | None = None
    plan_digest: str = ""
    usage: Usage = UNCOUNTED


@frozen
class BrokenConfig:
    """A job whose bpm.yml will not do.

    Args:
        job: The job's name.
        error: Why not.
    """

    job: str
    error: BpmError


@frozen
class Listing:
    """All there is in one root.

    Args:
        processes: Every process of every job with a bpm.yml: jobs by name, processes in their file's order.
        strangers: What runs, but is in no bpm.yml (any more).
        broken: The jobs that could not be looked into.
    """

    processes: tuple[Status, ...] = ()
    strangers: tuple[Status, ...] = ()
    broken: tuple[BrokenConfig, ...] = ()
