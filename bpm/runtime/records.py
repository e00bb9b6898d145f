"""What happened, as values and as JSON: StateRecord for what was started, ExitRecord for how it ended.

The state record is written ahead: before the clone it names the cgroups, after it the pid. Whoever
finds one can therefore clean up behind a bpm that was killed at any instant. The files are root's alone;
a pid in one is never trusted as it stands, see ``container.py``.
"""

from __future__ import annotations

import os
import posixpath

from attrs import evolve, frozen

from bpm import safepath
from bpm.errors import RecordError, SpawnError
from bpm.layout import Layout
from bpm.plan import digest, from_json, to_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm._native import ExitFacts
    from bpm.plan import ProcessPlan

STARTING, RUNNING, FAILED = "starting", "running", "failed"
PHASES = (STARTING, RUNNING, FAILED)

CLD_EXITED, CLD_DUMPED = 1, 3  # waitid(2)

NOBODY, OPERATOR, TIMEOUT = "nobody", "operator", "timeout"

# A record holds a few names and paths, each of at most 4096 bytes; what is larger is none of ours.
LARGEST = 1 << 20


@frozen
class SpawnStop:
    """Where a start stopped before the program ran.

    Args:
        stage: The stage's name, as in docs/stages.md.
        item: Which entry of it, counted from 0; -1 where it has none.
        errno: The kernel's answer; 0 where it gave none.
    """

    stage: str
    item: int
    errno: int

    @classmethod
    def of(cls, error: SpawnError) -> SpawnStop:
        """The facts of an error.

        Args:
            error: Why a start failed.

        Returns:
            Its stage, item, errno and words.
        """
        return cls(error.stage, error.item, error.errno or 0)


@frozen
class StateRecord:
    """One container, as it was started.

    Args:
        container_id: Its identifier, which names its files.
        job, process: Whose it is.
        phase: ``starting`` before the clone, ``running`` after it, ``failed`` when there was nothing to run.
        boot_id: The boot it was started in, as /proc/sys/kernel/random/boot_id has it.
        pid: Init's pid in the host's namespace; 0 before the clone.
        start_time: Init's start in clock ticks after boot: field 22 of /proc/PID/stat.
        pidfd_inode: The inode number of a pidfd of init: since 6.9 no two processes of a boot have the same,
            while two that begin within one clock tick can share pid and start time. Before, it tells nothing.
        cgroup: Every cgroup directory that its processes are in, absolute.
        plan_digest: The digest of the plan that was carried out.
        shutdown_signal: ``TERM`` or ``INT``.
        started_ns: When, in nanoseconds since 1970.
        spawn_failure: Why there was nothing to run; None but in the phase ``failed``.
        restarts: How often it was started after it had ended by itself, since it was last stopped.
        last_exit: How it ended before that.
        counters: The files of its cgroup whose last contents init writes, in that order.
    """

    container_id: str
    job: str
    process: str
    phase: str
    boot_id: str
    pid: int
    start_time: int
    pidfd_inode: int
    cgroup: tuple[str, ...]
    plan_digest: str
    shutdown_signal: str
    started_ns: int
    spawn_failure: SpawnStop | None = None
    restarts: int = 0
    last_exit: ExitRecord | None = None
    counters: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The record as JSON text."""
        return to_json(self)

    @staticmethod
    def from_json(text: str, path: str = "<record>") -> StateRecord:
        """The record that ``to_json()`` wrote.

        Args:
            text: What it wrote.
            path: The file that errors name.

        Returns:
            An equal record.

        Raises:
            RecordError: The text is no record of ours.
        """
        record = from_json(text, StateRecord, path=path)
        if record.phase not in PHASES:
            raise RecordError(path, f"unknown phase: {record.phase}")
        return record


@frozen
class ExitRecord:
    """How a container ended. At most one of ``exit_code``, ``signal`` and ``spawn_failure`` is set.

    All three are None when nothing tells: its init was killed together with the program, by whoever
    may signal root's processes, and no child of the caller's.

    Args:
        exit_code: The program's exit status, when it exited.
        signal: The number of the signal that ended it.
        core_dumped: Whether that signal left a core dump.
        oom_killed: Whether the kernel killed something inside for the memory limit; None when nothing tells: its init,
            which reads that at its end, was killed together with the program, and its cgroup is gone, since systemd
            removes a scope as soon as it is empty.
        stopped_by: ``nobody``; ``operator`` when it was asked to stop and did; ``timeout`` when it had
            to be killed.
        spawn_failure: Where its start stopped. Never an exit code.
        started_ns, ended_ns: When the program started and ended, in nanoseconds since 1970; 0 if unknown.
        user_ns, system_ns: The processor time of the program and all its descendants that were reaped.
        max_rss_bytes: The largest resident size that any one of them had.
        memory_peak_bytes: The most that the whole container used, where the kernel counts it.
        memory_failures: How often the container was about to go over its memory limit.
        processes_peak: The most processes and threads that it had.
        processes_failures: How often its limit on processes kept one from being made.
        memory_stalled_ns: How long some of it waited for memory.
        cpu_ns: The processor time of the whole container, where the kernel counts it.
        limit: The key of the limit that ended it, such as ``processes[0].limits.memory``; empty where none of its own
            did.
    """

    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    oom_killed: bool | None = False
    stopped_by: str = NOBODY
    spawn_failure: SpawnStop | None = None
    started_ns: int = 0
    ended_ns: int = 0
    user_ns: int = 0
    system_ns: int = 0
    max_rss_bytes: int = 0
    memory_peak_bytes: int | None = None
    memory_failures: int | None = None
    processes_peak: int | None = None
    processes_failures: int | None = None
    memory_stalled_ns: int | None = None
    cpu_ns: int | None = None
    limit: str = ""

    @property
    def status(self) -> int | None:
        """The exit code, or 128 and the signal, as a shell has it; None when there is neither."""
        return self.exit_code if self.signal is None else 128 + self.signal

    def completed(self, facts: ExitFacts) -> ExitRecord:
        """This record, with init's facts about the program's end.

        Args:
            facts: What init recorded.

        Returns:
            The record with them.
        """
        exited = facts.code == CLD_EXITED
        return evolve(
            self,
            exit_code=facts.status if exited else None,
            signal=None if exited else facts.status,
            core_dumped=facts.code == CLD_DUMPED,
            started_ns=facts.started,
            ended_ns=facts.ended,
            user_ns=facts.user,
            system_ns=facts.system,
            max_rss_bytes=facts.max_rss,
        )

    def to_json(self) -> str:
        """The record as JSON text."""
        return to_json(self)

    @staticmethod
    def from_json(text: str, path: str = "<record>") -> ExitRecord:
        """The record that ``to_json()`` wrote.

        Args:
            text: What it wrote.
            path: The file that errors name.

        Returns:
            An equal record.

        Raises:
            RecordError: The text is no record of ours.
        """
        return from_json(text, ExitRecord, path=path)


@frozen
class History:
    """What came before a start: how often it was restarted by now, and how it ended last."""

    restarts: int = 0
    last_exit: ExitRecord | None = None


@frozen
class Records:
    """The records of one BOSH root, below ``Layout.state``.

    ``ID.json`` is the state record, ``ID.plan`` the plan that was carried out, ``ID.exit`` what init writes.
    """

    layout: Layout

    def state_file(self, container_id: str) -> str:
        """The state record's path."""
        return posixpath.join(self.layout.state, f"{container_id}.json")

    def exit_file(self, container_id: str) -> str:
        """The path of what init writes when the program has ended."""
        return posixpath.join(self.layout.state, f"{container_id}.exit")

    def exists(self, container_id: str) -> bool:
        """Whether there is a record, or what is left of one."""
        return os.path.lexists(self.state_file(container_id))

    def read(self, container_id: str) -> StateRecord | None:
        """The container's record, or None where there is none.

        Raises:
            RecordError: There is something, but no record of ours.
        """
        path = self.state_file(container_id)
        data = _read(path)
        if data is None:
            return None
        try:
            record = StateRecord.from_json(data.decode("ascii"), path)
        except UnicodeDecodeError:
            raise RecordError(path, "not ASCII") from None
        if record.container_id != container_id:
            raise RecordError(path, f"it belongs to {record.container_id}")
        return record

    def write(self, record: StateRecord) -> None:
        """Puts the record in place of the one before, whole or not at all."""
        safepath.make_directory(self.layout.state, mode=0o700, uid=0, gid=0)
        safepath.write_file(self.state_file(record.container_id), record.to_json().encode("ascii"), mode=0o600)

    def plan_file(self, container_id: str) -> str:
        """The path of the plan that was carried out."""
        return posixpath.join(self.layout.state, f"{container_id}.plan")

    def write_plan(self, plan: ProcessPlan) -> None:
        """Keeps the plan of a container, for whoever enters it later. After its state record, which has its digest."""
        path = self.plan_file(plan.container_id)
        fd = safepath.create_file(path)
        try:
            rest = memoryview(plan.to_json().encode("ascii"))
            while rest:
                rest = rest[os.write(fd, rest) :]
        finally:
            os.close(fd)

    def read_plan(self, record: StateRecord) -> ProcessPlan:
        """The plan that a container was made from, whatever bpm.yml says by now.

        Raises:
            RecordError: It is not there, or is another one.
        """
        path = self.plan_file(record.container_id)
        try:
            plan: ProcessPlan = from_json((_read(path) or b"").decode("ascii"), path=path)
        except UnicodeDecodeError:
            raise RecordError(path, "not ASCII") from None
        if digest(plan) != record.plan_digest:
            raise RecordError(path, "it is not the plan that the container was made from")
        return plan

    def read_exit(self, container_id: str) -> bytes:
        """What init wrote; empty while it has not."""
        try:
            return _read(self.exit_file(container_id)) or b""
        except RecordError:
            return b""

    def open_exit(self, container_id: str) -> int:
        """A new, empty file for init to write, as a descriptor that the caller closes."""
        return safepath.create_file(self.exit_file(container_id))

    def remove(self, container_id: str) -> None:
        """Removes all three files; the record last, since it is what the next command looks for."""
        safepath.remove_file(self.plan_file(container_id))
        safepath.remove_file(self.exit_file(container_id))
        safepath.remove_file(self.state_file(container_id))

    def ids(self) -> tuple[str, ...]:
        """Every container that has a record, sorted."""
        try:
            names = os.listdir(self.layout.state)
        except FileNotFoundError:
            return ()
        return tuple(sorted(name[: -len(".json")] for name in names if name.endswith(".json")))


def _read(path: str) -> bytes | None:
    try:
        return safepath.read_file(path, LARGEST, trusted=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecordError(path, str(error)) from error
