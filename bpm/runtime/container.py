"""Container: something that was started, as a handle to wait for it, signal it, stop it and clean up behind it.

A pid from a record is only a hint. It is opened as a pidfd first, and what was opened is then compared
with the record: the same boot, the same start time. From there on the pidfd stands for that one process
and no other, whatever becomes of its number.
"""

from __future__ import annotations

import errno
import os
import select
import signal as signals
import time
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from attrs import evolve

from bpm.cgroup import Group
from bpm.errors import CgroupError, HostError, NotRunning, RecordError
from bpm.runtime.lock import locked
from bpm.runtime.records import (
    CLD_DUMPED,
    CLD_EXITED,
    NOBODY,
    OPERATOR,
    RUNNING,
    STARTING,
    TIMEOUT,
    ExitRecord,
    History,
    Records,
    StateRecord,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bpm.cgroup import Usage
    from bpm.plan import ProcessPlan
    from bpm.runtime.visit import Channel, Visitor

GRACE = 15.0
"""How many seconds a process has to end after its shutdown signal."""

QUIT_GRACE = 2.0
"""How many more it has after SIGQUIT."""

# How long the kernel may take to end what was killed: core dumps and disks are slow, and nothing can be done but wait.
KILL_GRACE = 10.0

# Where the kernel counts whom it killed for the memory limit, on v1 and v2.
OOM_COUNTERS = frozenset({"memory.oom_control", "memory.events"})

_boot_id = ""


class Container:
    """One container, running or ended. A context manager: on leaving, it is stopped and removed.

    Made by :func:`bpm.start` and :meth:`bpm.JobProcess.container`.

    Args:
        records: Where its records are.
        state: Its record.
        pidfd: Stands for its init; None when that is gone already. Closed by ``close()``.

    Raises:
        CgroupError: A cgroup of the record is none that bpm would make.
    """

    def __init__(self, records: Records, state: StateRecord, pidfd: int | None) -> None:
        self.state = state
        self._records = records
        self._pidfd = pidfd
        self._group = Group.from_paths(state.cgroup)
        self._exit: ExitRecord | None = None
        self._usage: Usage | None = None

    @property
    def id(self) -> str:
        """Its identifier, such as ``bpm-web``."""
        return self.state.container_id

    @property
    def pid(self) -> int:
        """The pid of its init in the host's namespace, also after that has ended."""
        return self.state.pid

    @property
    def pidfd(self) -> int | None:
        """A descriptor that stands for its init, of this object's own; None when init was gone to begin with."""
        return self._pidfd

    @property
    def plan(self) -> ProcessPlan:
        """What it was made from, whatever bpm.yml says by now.

        Raises:
            RecordError: That is not known any more.
        """
        return self._records.read_plan(self.state)

    @property
    def history(self) -> History:
        """What a start that replaces it has to remember. Nothing of another boot, since nobody then saw it end."""
        if self.state.boot_id != read_boot_id():
            return History()
        if self.state.phase == STARTING:
            return History(self.state.restarts, self.state.last_exit)
        return History(self.state.restarts + 1, self.wait())

    def measure(self) -> Usage:
        """What it uses now, and has used; see :class:`Usage`."""
        from bpm.runtime.measure import measure

        return measure(self._group)

    @property
    def running(self) -> bool:
        """Whether its program runs. A zombie does not."""
        return not self._gone(0)

    def wait(self, timeout: float | None = None) -> ExitRecord:
        """Waits until the program has ended, and says how it did.

        Args:
            timeout: Seconds; None waits for ever.

        Returns:
            How it ended.

        Raises:
            TimeoutError: It still runs.
        """
        if not self._gone(timeout):
            raise TimeoutError(errno.ETIMEDOUT, f"{self.id} still runs after {timeout} seconds")
        if self._exit is None:
            self._exit = self._read_exit()
        return self._exit

    def signal(self, number: int) -> None:
        """Sends a signal to init, which passes it on to the program; SIGKILL ends all that is inside.

        Args:
            number: The signal's number.

        Raises:
            NotRunning: It has ended.
            HostError: The call is refused here.
        """
        if self._pidfd is None:
            raise NotRunning(f"{self.id} is not running")
        try:
            signals.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            raise NotRunning(f"{self.id} is not running") from None
        except OSError:
            _check_host()
            raise

    def stop(
        self, shutdown_signal: str | None = None, grace: float = GRACE, quit_grace: float = QUIT_GRACE
    ) -> ExitRecord:
        """Asks the program to end, then insists, then kills; returns as soon as it is gone.

        Args:
            shutdown_signal: ``TERM`` or ``INT``; the plan's by default.
            grace: Seconds until SIGQUIT.
            quit_grace: Seconds from there until SIGKILL.

        Returns:
            How it ended.

        Raises:
            HostError, CgroupError: Not even SIGKILL ended it, or something else inside.
            UnsafePathError: Somebody else than root could have made its lock.
        """
        stopped_by = NOBODY
        if self.running:
            first = signals.Signals[f"SIG{shutdown_signal or self.state.shutdown_signal}"]
            stopped_by = OPERATOR if self._ends_by(first, grace) else TIMEOUT
            if stopped_by == TIMEOUT and not self._ends_by(signals.SIGQUIT, quit_grace):
                self.kill()
        record = self.wait()
        self._kill_leftovers()
        self._exit = evolve(record, stopped_by=stopped_by)
        return self._exit

    def kill(self) -> None:
        """Kills everything inside at once, and returns when it is gone.

        Raises:
            HostError: Even SIGKILL did not end its init.
            CgroupError: Even SIGKILL did not end something inside.
            UnsafePathError: Somebody else than root could have made its lock.
        """
        from bpm.cgroup import read_usage

        # Init, which ends with all the rest, tells nothing then, and a scope is gone before we could look.
        with suppress(OSError):
            self._usage = read_usage(self._group)
        if not self._ends_by(signals.SIGKILL, KILL_GRACE):
            raise HostError(f"pid {self.pid} of {self.id} does not end, not even by SIGKILL")
        self._kill_leftovers()

    def remove(self) -> None:
        """Removes its cgroups and records, and whatever still ran inside. Another one started since is left alone.

        Raises:
            HostError, CgroupError: Something inside does not end.
            UnsafePathError: Somebody else than root could have made its lock.
        """
        if self.running:
            self.kill()
        self._reap()
        with self._locked():
            if self._is_current():
                self._kill_leftovers()
                self._group.remove()
                self._records.remove(self.id)

    def open_channel(self, *, terminal: bool) -> Channel:
        """Makes what a program that enters it may have as descriptors 0, 1 and 2.

        Args:
            terminal: Whether that is a new terminal of its own, rather than pipes.

        Returns:
            Our ends and the program's; a context manager.

        Raises:
            NotRunning: It has ended.
            UnsafePathError: What should be its /dev/pts is none.
        """
        from bpm.runtime.visit import open_pipes, open_terminal

        identity = self._records.read_plan(self.state).identity
        if terminal:
            return open_terminal(self.pid, self._running_init(), identity)
        return open_pipes(identity)

    def enter(
        self,
        argv: Sequence[str],
        stdio: tuple[int, int, int],
        env: Mapping[str, str] | None = None,
        *,
        terminal: bool = False,
    ) -> Visitor:
        """Runs another program in it: in its namespaces and cgroup, as its user, with its capabilities, limits,
        environment and system call filter, as they were when it was started.

        The program ends with the container, and may outlive the caller.

        Args:
            argv: The program and its arguments.
            stdio: What become its descriptors 0, 1 and 2. Whatever they lead to is within its reach.
            env: Further variables, instead of those of the same name.
            terminal: Whether descriptor 0 becomes its controlling terminal.

        Returns:
            The program, which has been executed.

        Raises:
            NotRunning: The container has ended.
            RecordError: It is not known what it was made from.
            PlanError: There is a NUL in an argument or a variable.
            CgroupError, SpawnError: The program could not be run in it.
        """
        from bpm.runtime.visit import enter

        plan = self._records.read_plan(self.state)
        return enter(plan, self._group, self._running_init(), tuple(argv), stdio, dict(env or {}), terminal=terminal)

    @property
    def program(self) -> int | None:
        """The pid of its program, the first child of its init, in the host's namespace; None when it has ended."""
        if not self.running:
            return None
        born = [(read_birth(pid), pid) for pid in self._group.processes()]
        mine = [(birth[1], pid) for birth, pid in born if birth and birth[0] == self.pid]
        return min(mine)[1] if mine else None

    def close(self) -> None:
        """Closes the pidfd. The container goes on."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Container:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.stop()
            self.remove()
        finally:
            self.close()

    def __repr__(self) -> str:
        return f"<Container {self.id} pid {self.pid} {'running' if self.running else 'ended'}>"

    def _running_init(self) -> int:
        if self._pidfd is None or not self.running:
            raise NotRunning("process is not running or could not be found")
        return self._pidfd

    def _gone(self, timeout: float | None) -> bool:
        return self._pidfd is None or has_ended(self._pidfd, timeout)

    def _ends_by(self, number: int, grace: float) -> bool:
        try:
            self.signal(number)
        except NotRunning:
            return True
        return self._gone(grace)

    def _kill_leftovers(self) -> None:
        """Ends what is still in the cgroup: nothing, but where the container shared the host's pid namespace."""
        with self._locked():
            if self._is_current() and self._group.populated:
                self._group.kill(time.monotonic() + KILL_GRACE)

    def _locked(self) -> AbstractContextManager[None]:
        return locked(self._records.layout.process_lock(self.id))

    def _is_current(self) -> bool:
        """Whether the container of this name is still this one: another bpm may have stopped it, and started one."""
        try:
            return self._records.read(self.id) == self.state
        except RecordError:
            return False

    def _reap(self) -> os.waitid_result | None:
        """Takes init's status, if it is a child of ours that nobody has waited for; its parent's otherwise."""
        if self._pidfd is None:
            return None
        try:
            return os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            return None

    def _read_exit(self) -> ExitRecord:
        from bpm._native import parse_exit
        from bpm.cgroup import Usage, parse_usage, read_usage
        from bpm.runtime.hit import find_hit_limit

        reaped = self._reap()
        if self.state.spawn_failure is not None:
            return ExitRecord(spawn_failure=self.state.spawn_failure, started_ns=self.state.started_ns)
        record, facts = ExitRecord(started_ns=self.state.started_ns, oom_killed=None), None
        if self._is_current():
            facts = parse_exit(self._records.read_exit(self.id))
            # Where init was killed with the program, what is left of the cgroup tells.
            told = facts and parse_usage(dict(zip(self.state.counters, facts.counters, strict=False)))
            usage = told or read_usage(self._group)
            if self._usage is not None and usage == Usage():
                usage = self._usage
            lost = usage.oom_kills is None and not OOM_COUNTERS.isdisjoint(self.state.counters)
            record = evolve(
                record,
                oom_killed=None if lost else bool(usage.oom_kills),
                memory_peak_bytes=usage.memory_peak,
                memory_failures=usage.memory_failures,
                processes_peak=usage.processes_peak,
                processes_failures=usage.processes_failures,
                memory_stalled_ns=usage.memory_stalled_ns,
                cpu_ns=usage.cpu_ns,
            )
        if facts is not None:
            record = record.completed(facts)
        elif reaped is not None:
            exited = reaped.si_code == CLD_EXITED
            record = evolve(
                record,
                exit_code=reaped.si_status if exited else None,
                signal=None if exited else reaped.si_status,
                core_dumped=reaped.si_code == CLD_DUMPED,
                ended_ns=time.time_ns(),
            )
        return evolve(record, limit=find_hit_limit(self._records, self.state, record))


def find_container(records: Records, container_id: str) -> Container | None:
    """The container that a record tells of, running or not; None without one.

    Raises:
        RecordError: There is something, but no record of ours.
    """
    state = records.read(container_id)
    if state is None:
        return None
    try:
        Group.from_paths(state.cgroup)
    except CgroupError as error:
        raise RecordError(records.state_file(container_id), str(error)) from error
    return Container(records, state, _open_init(state))


def read_boot_id() -> str:
    """This boot's id."""
    global _boot_id
    if not _boot_id:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            _boot_id = file.read().strip()
    return _boot_id


def read_start_time(pid: int) -> int | None:
    """When a process started, in clock ticks after boot: field 22 of its stat. None when it is gone."""
    birth = read_birth(pid)
    return birth and birth[1]


def read_birth(pid: int) -> tuple[int, int] | None:
    """A process's parent, and when it started: fields 4 and 22 of its stat. None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2, in parentheses, is a name of the program's own choosing, spaces and parentheses and all.
    fields = text[text.rindex(b")") + 2 :].split()
    return int(fields[4 - 3]), int(fields[22 - 3])


def _open_init(state: StateRecord) -> int | None:
    if state.phase != RUNNING or state.boot_id != read_boot_id():
        return None
    try:
        pidfd = os.pidfd_open(state.pid)
    except OSError as error:
        # EINVAL, since 6.14 ENOENT: the number is now that of a thread of someone's.
        if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
            return None
        _check_host()
        raise
    # First opened, then compared: what the pidfd stands for cannot change any more.
    if read_start_time(state.pid) != state.start_time or os.fstat(pidfd).st_ino != state.pidfd_inode:
        os.close(pidfd)
        return None
    return pidfd


def _check_host() -> None:
    """Raises HostError where it is the kernel, or a filter around us, that has just refused a call."""
    from bpm import host

    host.check_kernel()


def has_ended(pidfd: int, timeout: float | None) -> bool:
    """Whether the process has ended within so many seconds: its pidfd is then readable, reaped or not."""
    deadline = None if timeout is None else time.monotonic() + timeout
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # poll(2) counts in milliseconds, in an int: 24 days at most.
        if poll.poll(None if left is None else min(left * 1000, 2**31 - 1)):
            return True
        if left is not None and left * 1000 < 2**31 - 1:
            return False
