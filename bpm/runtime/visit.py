"""Visitors: programs that are run in a container that exists, such as an operator's shell.

    open a terminal of the container's own, or pipes    (open_terminal, open_pipes)
    join its cgroup and its namespaces, spawn           (enter)
    wait for the program's end                          (Visitor)

A visitor's init stays outside the container's pid namespace: nobody inside can see, trace or signal it. Its
program is born inside, and holds descriptors 0, 1 and 2 and no others. Nothing of the caller's goes in: no
terminal that input could be pushed into (TIOCSTI), no directory to climb out by.
"""

from __future__ import annotations

import errno
import os
import signal as signals
import stat
from types import TracebackType

from attrs import evolve, frozen

from bpm import host
from bpm._native import SpawnFailure, parse_exit, spawn
from bpm.cgroup import Group
from bpm.errors import CgroupError, NotRunning, UnsafePathError
from bpm.plan import Identity, ProcessPlan, Variable, compile_policy
from bpm.runtime.container import has_ended
from bpm.runtime.failure import explain_failure
from bpm.runtime.lower import Descriptors, lower_entry
from bpm.runtime.records import ExitRecord

PTMX = os.makedev(5, 2)

# How many seconds an init that is ending may take until its pidfd says so.
LEAVING = 0.5

# asm-generic/ioctls.h
TIOCSPTLCK, TIOCGPTPEER = 0x4004_5431, 0x5441


@frozen
class Channel:
    """Descriptors of a program-to-be, and our ends of them. The caller closes what is left of both.

    Args:
        ours: Where to write its input, and where to read its output and its errors. With a terminal all one.
        theirs: Its descriptors 0, 1 and 2.
        terminal: Whether they are a terminal.
    """

    ours: tuple[int, int, int]
    theirs: tuple[int, int, int]
    terminal: bool

    def close_theirs(self) -> None:
        """Closes the program's side, which is left to the program."""
        for fd in {*self.theirs}:
            os.close(fd)

    def close_ours(self) -> None:
        """Closes our side. With a terminal, that hangs up: what has it is sent SIGHUP."""
        for fd in {*self.ours}:
            os.close(fd)


class Visitor:
    """A program that was run in a container. Made by :meth:`Container.enter`. A context manager: on leaving, closed.

    Args:
        pid: Of its init, in the host's namespace.
        pidfd: Stands for its init. Closed by ``close()``.
        exit_record: The file that its init writes to. Closed by ``close()``.
    """

    def __init__(self, pid: int, pidfd: int, exit_record: int) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self._exit_record = exit_record
        self._exit: ExitRecord | None = None

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return not has_ended(self.pidfd, 0)

    def wait(self, timeout: float | None = None) -> ExitRecord:
        """Waits until it has ended, and says how it did.

        Args:
            timeout: Seconds; None waits for ever.

        Returns:
            How it ended.

        Raises:
            TimeoutError: It still runs.
        """
        if self._exit is None:
            if not has_ended(self.pidfd, timeout):
                raise TimeoutError(errno.ETIMEDOUT, f"the visitor with pid {self.pid} still runs")
            self._exit = self._reap()
        return self._exit

    def signal(self, number: int) -> None:
        """Sends a signal to its init, which passes it on to the program.

        Args:
            number: The signal's number.

        Raises:
            NotRunning: It has ended.
            HostError: The call is refused here.
        """
        try:
            signals.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            raise NotRunning(f"the visitor with pid {self.pid} is not running") from None
        except OSError:
            host.check_kernel()
            raise

    def close(self) -> None:
        """Closes the descriptors. The program goes on."""
        for fd in (self.pidfd, self._exit_record):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self._exit_record = -1

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Visitor pid {self.pid}>"

    def _reap(self) -> ExitRecord:
        ended = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        facts = parse_exit(os.pread(self._exit_record, 4096, 0))
        if facts is not None:
            return ExitRecord().completed(facts)
        if ended is not None and ended.si_code == os.CLD_EXITED:
            return ExitRecord(exit_code=ended.si_status)
        return ExitRecord(signal=ended.si_status if ended is not None else None)


def enter(
    plan: ProcessPlan,
    group: Group,
    init: int,
    argv: tuple[str, ...],
    stdio: tuple[int, int, int],
    env: dict[str, str],
    *,
    terminal: bool,
) -> Visitor:
    """Runs a program in a container.

    Args:
        plan: What the container was made from.
        group: Its cgroup.
        init: A pidfd of its init.
        argv, stdio, env, terminal: As :meth:`Container.enter` has them.
    """
    kept = tuple(variable for variable in plan.env if variable.name not in env)
    added = tuple(Variable(name, value, "the caller's") for name, value in env.items())
    plan = evolve(plan, argv=argv, env=kept + added)
    policy = plan.seccomp
    seccomp_filter = compile_policy(policy, os.uname().machine) if policy is not None else b""
    exit_record = os.memfd_create("bpm-exit", os.MFD_CLOEXEC)
    try:
        with group.open_for_join() as join:
            opened = Descriptors(stdio, (), join.unified_fd, join.tasks, exit_record)
            spawned = spawn(lower_entry(plan, opened, init, seccomp_filter, terminal=terminal))
    except BaseException as error:
        os.close(exit_record)
        if isinstance(error, (CgroupError, SpawnFailure)) and _is_leaving(init, error):
            raise NotRunning(f"{plan.container_id} has ended") from None
        if isinstance(error, SpawnFailure):
            raise explain_failure(plan, group, error, "enter") from None
        raise
    return Visitor(spawned.pid, spawned.pidfd, exit_record)


def open_pipes(identity: Identity) -> Channel:
    """Three pipes. The program's user may open /dev/stdin and its like: pipes have owner and mode, as files have."""
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe2(os.O_CLOEXEC)
        for fd in fds:
            os.fchown(fd, identity.uid, identity.gid)
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
    return Channel((fds[1], fds[2], fds[4]), (fds[0], fds[3], fds[5]), terminal=False)


def open_terminal(pid: int, init: int, identity: Identity) -> Channel:
    """A new terminal in the container's own devpts, so that it has a name inside and is nobody's outside.

    Args:
        pid, init: Of the container's init, its pid and its pidfd.
        identity: Whose the terminal becomes.

    Raises:
        NotRunning: The container has ended.
        UnsafePathError: Something else stands in the place of its /dev/pts/ptmx.
    """
    import fcntl
    import struct

    master = _open_ptmx(pid, init)
    try:
        fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
        # Since 4.13: the other end of this very master, whatever has been mounted or linked over its name.
        slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        try:
            os.fchown(slave, identity.uid, -1)
        except BaseException:
            os.close(slave)
            raise
    except BaseException:
        os.close(master)
        raise
    return Channel((master, master, master), (slave, slave, slave), terminal=True)


def _open_ptmx(pid: int, init: int) -> int:
    """The multiplexer of the container's devpts: name by name, and no link is followed on the way."""
    opened: list[int] = []
    place = f"/proc/{pid}/root"
    try:
        opened.append(os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        # Opened first, then asked: while its init lives, the number is nobody else's.
        if has_ended(init, 0):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        for name, kind in (("dev", os.O_DIRECTORY), ("pts", os.O_DIRECTORY), ("ptmx", 0)):
            place += f"/{name}"
            flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC | kind
            opened.append(os.open(name, flags, dir_fd=opened[-1]))
        status = os.fstat(opened[-1])
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != PTMX:
            raise UnsafePathError(place, "it is not the pseudoterminal multiplexer")
        if _file_system(pid, opened[-1]) != "devpts":
            raise UnsafePathError(place, "it is on no devpts")
        return os.open(f"/proc/self/fd/{opened[-1]}", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except UnsafePathError:
        raise
    except OSError as error:
        # What is left of an ending process has no root, and no mounts.
        if has_ended(init, LEAVING):
            raise NotRunning(f"the container with pid {pid} has ended") from None
        raise UnsafePathError(place, os.strerror(error.errno or 0), error.errno or 0) from error
    finally:
        for fd in opened:
            os.close(fd)


def _is_leaving(init: int, error: CgroupError | SpawnFailure) -> bool:
    """Whether it was the container's end that an entry failed by.

    What is left of an ending init has no namespaces any more (ESRCH), its pid namespace takes nobody in (ENOMEM,
    pid_namespaces(7)), its cgroup is killed or gone; a moment later its pidfd says so.
    """
    number = error.number if isinstance(error, SpawnFailure) else errno.ESRCH
    return has_ended(init, LEAVING if number in (0, errno.ESRCH, errno.ENOMEM) else 0)


def _file_system(pid: int, fd: int) -> str:
    """The type of the file system that a descriptor is on, by the number of its mount: proc_pid_mountinfo(5)."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        mount = next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            if line.split(" ", 1)[0] == mount:
                return line.rpartition(" - ")[2].split(" ", 1)[0]
    return ""
