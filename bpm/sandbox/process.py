"""Process: a program that runs in a sandbox, with the face of subprocess.Popen."""

from __future__ import annotations

import atexit
import io
import os
import select
import signal
import subprocess
import threading
import time
import warnings
import weakref
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from attrs import frozen

from bpm import cgroup
from bpm._native import Child, ExitFacts, Plumbing
from bpm.errors import CgroupError
from bpm.sandbox.interrupts import Uninterrupted
from bpm.sandbox.result import (
    EXITED,
    KILLED,
    OOM,
    SIGNALLED,
    TIMEOUT,
    UNKNOWN,
    Completed,
    Ending,
    ProcessTimeout,
    Resources,
)
from bpm.sandbox.words import Argument, Words

if TYPE_CHECKING:
    from bpm.sandbox.prepared import Prepared
    from bpm.sandbox.sandbox import Sandbox

Stream = None | int | IO[Any]

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
NAMES = ("stdin", "stdout", "stderr")

CHUNK = 65536
"""What a pipe holds by default, pipe(7)."""

LEFTOVER_GRACE = 10.0
"""How many seconds what is killed has to die."""

BILLION = 1_000_000_000
CLD_EXITED, CLD_DUMPED = 1, 3  # waitid(2)

_running: weakref.WeakSet[Process] = weakref.WeakSet()


@frozen
class _Status:
    """What wait4(2) told of init, while it was there to be asked."""

    code: int | None
    user: float = 0.0
    system: float = 0.0


class Process:
    """A program that was started in a sandbox. What of it has a name of subprocess.Popen's means the same.

    Made by :meth:`bpm.Sandbox.popen` and :meth:`bpm.Prepared.popen`. Any thread may use it. One that is forgotten
    before it was waited for is killed, unless its sandbox has ``die_with_parent=False``.

    Args:
        args: The program and its arguments.
        sandbox: Where it runs.
        own_pids: Whether it has a pid namespace of its own, so that the kernel ends all of it at once.
    """

    def __init__(self, args: Words | Argument, sandbox: Sandbox, *, own_pids: bool) -> None:
        self.args = args
        self.sandbox = sandbox
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self.returncode: int | None = None
        self.ending: Ending | None = None
        self._own_pids = own_pids
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._child = Child()
        self._plumbing: Plumbing | None = None
        self._group: cgroup.Group | None = None
        self._sent: set[int] = set()
        self._started = time.monotonic()
        self._text: tuple[str | None, str | None] | None = None
        self._exchange: _Exchange | None = None

    # Starting; for Prepared

    def start(
        self,
        prepared: Prepared,
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
        *,
        env: Mapping[str, str] | None,
        cwd: Argument | None,
        shell: bool,
        pass_fds: Iterable[int],
    ) -> None:
        """Make the pipes and the cgroup, and spawn."""
        streams = (stdin, stdout, stderr)
        self._plumbing = plumbing = Plumbing(number for number in range(3) if streams[number] == PIPE)
        stdio = tuple(_descriptor(plumbing, prepared.null, number, streams) for number in range(3))
        self._group = prepared.make_group()
        _running.add(self)
        prepared.spawn(
            self.args,
            plumbing,
            self._child,
            (stdio[0], stdio[1], stdio[2]),
            group=self._group,
            env=env,
            cwd=cwd,
            shell=shell,
            pass_fds=pass_fds,
        )
        plumbing.close_theirs()

    def open_files(self, bufsize: int, text: bool | None, encoding: str | None, errors: str | None) -> None:
        """Make file objects of our ends of the pipes."""
        if text or encoding or errors:
            self._text = encoding, errors
        for number, name in enumerate(NAMES):
            if self._plumbing is not None and self._plumbing.ours(number) >= 0:
                setattr(self, name, _open_end(self._plumbing, number, bufsize, self._text))

    # What Popen has

    @property
    def pid(self) -> int:
        """The pid of its init, which stands for all that runs inside."""
        return self._child.pid

    @property
    def pidfd(self) -> int:
        """A pidfd of its init, which becomes readable when all of it has ended; -1 from when it was waited for."""
        return self._child.pidfd

    def poll(self) -> int | None:
        """Look whether it has ended: its returncode, or None."""
        if self.returncode is None and _is_readable(self._child.pidfd, 0):
            self._finish()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Args:
            timeout: Seconds.

        Raises:
            ProcessTimeout: It still runs.
        """
        if self.returncode is None:
            if not _is_readable(self._child.pidfd, timeout):
                raise ProcessTimeout(self.args, timeout or 0.0)
            self._finish()
        return self.known_ending().returncode

    def communicate(self, input: str | bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write its input, read its output to the end, and wait for it.

        Args:
            input: What it reads; bytes, or text where text was asked for.
            timeout: Seconds. After the error all that was read is kept, and it may be called again.

        Returns:
            What it wrote to its standard output and error, None where that was no pipe.

        Raises:
            ProcessTimeout: It still runs. Its ``output`` is what was read, as bytes.
        """
        if self._exchange is None:
            self._exchange = _Exchange(self, input)
        elif input:
            raise ValueError("Cannot send input after starting communication")
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._exchange.carry_on(deadline)
            self.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except ProcessTimeout:
            out, err = self._exchange.so_far()
            raise ProcessTimeout(self.args, timeout or 0.0, out or None, err or None) from None
        return self._exchange.result()

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; SIGKILL ends everything inside. To one that has ended, nothing is sent."""
        with self._lock:
            if self.returncode is None and self._child.pidfd >= 0:
                self._sent.add(sig)
                try:
                    signal.pidfd_send_signal(self._child.pidfd, sig)
                except ProcessLookupError:
                    pass

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything inside."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipes and wait for it, as Popen does; where the block was left by an error, kill it first."""
        if error is not None:
            self.kill()
        for file in (self.stdout, self.stderr, self.stdin):
            if file is not None:
                try:
                    file.close()
                except BrokenPipeError:
                    pass
        self.wait()

    # What is more

    @property
    def completed(self) -> Completed | None:
        """How it ended, once that is known: by poll(), wait() or communicate(). Without its output."""
        return None if self.ending is None else Completed(self.args, self.ending)

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroup directories that it is in, one in each hierarchy that its limits need; none once it ended."""
        return self._group.directories if self._group is not None else ()

    def known_ending(self) -> Ending:
        """How it ended.

        Raises:
            ValueError: It was not waited for.
        """
        if self.ending is None:
            raise ValueError("it was not waited for")
        return self.ending

    def abandon(self) -> None:
        """Make sure that nothing is left of it, wherever its start or its end was interrupted."""
        with Uninterrupted():
            if self.ending is None and self._child.pidfd >= 0:
                self.kill()
                _is_readable(self._child.pidfd, LEFTOVER_GRACE)
                self._finish()
            elif self.ending is None:
                self._remove_group()
            for file in (self.stdin, self.stdout, self.stderr):
                if file is not None and not file.closed:
                    _close_quietly(file)
            if self._plumbing is not None:
                self._plumbing.close()

    def __del__(self) -> None:
        if not hasattr(self, "_exchange") or self._owner != os.getpid():
            return
        forgotten = self.ending is None and self._child.pidfd >= 0
        if self.sandbox.die_with_parent or not forgotten:
            self.abandon()
        if forgotten:
            # Last, since a warning may be an error.
            text = f"the process {self.pid} in a sandbox was not waited for"
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode {self.returncode}"
        return f"<Process {self.args!r}: pid {self.pid}, {state}>"

    # How it ended

    def _finish(self) -> None:
        """Reap it, know how it ended, remove its cgroup. Only once, whoever comes first."""
        with Uninterrupted(), self._lock:
            if self.ending is not None:
                return
            status = _reap(self._child.pid)
            facts = self._plumbing.read_exit() if self._plumbing is not None else None
            usage = cgroup.Usage()
            if self._group is not None:
                if not self._own_pids:
                    self._group.kill(time.monotonic() + LEFTOVER_GRACE)
                usage = cgroup.read_usage(self._group)
            ending = _judge(facts, status, usage, self._sent, time.monotonic() - self._started)
            self._remove_group()
            if self._plumbing is not None:
                self._plumbing.close_exit()
            self.ending = ending
            self.returncode = ending.returncode
            self._child.close()
            _running.discard(self)

    def _remove_group(self) -> None:
        group = self._group
        if group is None:
            return
        try:
            group.remove()
        except CgroupError as error:
            warnings.warn(f"a cgroup is left over: {error}", ResourceWarning, stacklevel=2)
        self._group = None

    def end_of(self, number: int) -> IO[bytes] | None:
        """Our end of the pipe to its descriptor, as an unbuffered file; None where there is no pipe."""
        if self._plumbing is None or self._plumbing.ours(number) < 0:
            return None
        return _End(self._plumbing, number)


def _judge(facts: ExitFacts | None, status: _Status, usage: cgroup.Usage, sent: set[int], wall: float) -> Ending:
    """How it ended, by what init recorded, or else by how init itself ended."""
    if facts is not None:
        returncode = facts.status if facts.code == CLD_EXITED else -facts.status
        wall = (facts.ended - facts.started) / BILLION
        user, system = facts.user / BILLION, facts.system / BILLION
    else:
        # Killed together with its init, which then could not write a record.
        returncode = status.code if status.code is not None else -signal.SIGKILL
        user, system = status.user, status.system
    timed_out = facts is not None and bool(facts.timed_out)
    met = {
        "memory": bool(usage.oom_kills),
        "processes": bool(usage.processes_failures),
        "wall_time": timed_out,
        "cpu_time": returncode == -signal.SIGXCPU,
        "file_size": returncode == -signal.SIGXFSZ,
    }
    if timed_out:
        reason = TIMEOUT
    elif facts is None and status.code is None:
        reason = UNKNOWN
    elif returncode == -signal.SIGKILL and usage.oom_kills and signal.SIGKILL not in sent:
        reason = OOM
    elif returncode < 0:
        reason = KILLED if -returncode in sent else SIGNALLED
    else:
        reason = EXITED
    return Ending(
        returncode=returncode,
        reason=reason,
        limits_hit=tuple(name for name, hit in met.items() if hit),
        core_dumped=facts is not None and facts.code == CLD_DUMPED,
        resources=Resources(
            wall=wall,
            user=user,
            system=system,
            max_rss=facts.max_rss if facts is not None else None,
            memory_peak=usage.memory_peak,
            cpu=None if usage.cpu_ns is None else usage.cpu_ns / BILLION,
            processes_peak=usage.processes_peak,
        ),
    )


def _reap(pid: int) -> _Status:
    """Take the status of an init that has ended; without a code where someone else took it, or nobody is to have it."""
    # The largest size would be ours: a child that shares our memory until it is executed takes it over (wait4(2)).
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return _Status(None)
    return _Status(os.waitstatus_to_exitcode(status), usage.ru_utime, usage.ru_stime)


def _is_readable(fd: int, timeout: float | None) -> bool:
    """Whether it becomes so in time. By poll(2), which takes descriptors above 1,023, too."""
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(0, timeout) * 1000))


def _descriptor(plumbing: Plumbing, null: int, number: int, streams: tuple[Stream, Stream, Stream]) -> int:
    """The descriptor that becomes the program's 0, 1 or 2; -1 where it is closed, as ours is."""
    stream = streams[number]
    if stream == PIPE:
        return plumbing.theirs(number)
    if stream == DEVNULL:
        return null
    if stream == STDOUT and number == 2:
        return _descriptor(plumbing, null, 1, streams)
    if isinstance(stream, int):
        if stream < 0:
            raise ValueError(f"not a stream for {NAMES[number]}: {stream}")
        return stream
    if stream is not None:
        return stream.fileno()
    # One that is not inheritable would be closed by execve(2): it is some file of ours that got a free number.
    try:
        return number if os.get_inheritable(number) else -1
    except OSError:
        return -1


class _End(io.FileIO):
    """Our end of a pipe. The descriptor stays the plumbing's, which closes it once, whatever comes in between."""

    def __init__(self, plumbing: Plumbing, number: int) -> None:
        self._plumbing = plumbing
        self._number = number
        super().__init__(plumbing.ours(number), "wb" if number == 0 else "rb", closefd=False)

    def close(self) -> None:
        """Close it, once."""
        super().close()
        self._plumbing.close_ours(self._number)


def _open_end(plumbing: Plumbing, number: int, bufsize: int, text: tuple[str | None, str | None] | None) -> IO[Any]:
    raw = _End(plumbing, number)
    by_lines = bufsize == 1 and text is not None
    size = io.DEFAULT_BUFFER_SIZE if bufsize < 0 or bufsize == 1 else bufsize
    if size == 0 and text is None:
        return raw
    file: Any = io.BufferedWriter(raw, size or 1) if number == 0 else io.BufferedReader(raw, size or 1)
    if text is not None:
        encoding, errors = text
        write_through = number == 0 and bufsize == 0
        file = io.TextIOWrapper(
            file, encoding or "locale", errors, line_buffering=by_lines, write_through=write_through
        )
    result: IO[Any] = file
    return result


def _close_quietly(file: IO[Any]) -> None:
    try:
        file.close()
    except OSError:
        pass


class _Exchange:
    """What communicate() has written and read so far."""

    def __init__(self, process: Process, input: str | bytes | None) -> None:
        self.process = process
        self.read: dict[int, list[bytes]] = {}
        self.left = memoryview(b"")
        self.files: dict[int, IO[Any]] = {}
        if process.stdin is not None and not process.stdin.closed:
            try:
                process.stdin.flush()
            except BrokenPipeError:
                pass
            if input:
                self.left = memoryview(_encoded(process.stdin, input))
                os.set_blocking(process.stdin.fileno(), False)
                self.files[0] = process.stdin
            else:
                _close_quietly(process.stdin)
        for number, file in ((1, process.stdout), (2, process.stderr)):
            if file is not None:
                self.read[number] = []
                if not file.closed:
                    self.files[number] = file

    def carry_on(self, deadline: float | None) -> None:
        """Until there is nothing more to write or to read."""
        poll = select.poll()
        numbers = {}
        for number, file in self.files.items():
            numbers[file.fileno()] = number
            poll.register(file.fileno(), select.POLLOUT if number == 0 else select.POLLIN)
        # What shares our pids may outlive the program, and hold the pipes open: its end is looked for here, too.
        pidfd = -1 if self.process._own_pids else self.process.pidfd
        if pidfd >= 0 and self.files:
            poll.register(pidfd, select.POLLIN)
        while self.files:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                raise ProcessTimeout(self.process.args, 0.0)
            for fd, _ in poll.poll(None if left is None else left * 1000):
                if fd == pidfd:
                    poll.unregister(pidfd)
                    self.process.wait()
                elif not (self.write(fd) if numbers[fd] == 0 else self.take(fd, numbers[fd])):
                    poll.unregister(fd)
                    _close_quietly(self.files.pop(numbers[fd]))

    def write(self, fd: int) -> bool:
        try:
            self.left = self.left[os.write(fd, self.left[:CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self.left)

    def take(self, fd: int, number: int) -> bool:
        data = os.read(fd, CHUNK)
        self.read[number].append(data)
        return bool(data)

    def so_far(self) -> tuple[bytes | None, bytes | None]:
        """What was read, as bytes."""
        out, err = (b"".join(self.read[number]) if number in self.read else None for number in (1, 2))
        return out, err

    def result(self) -> tuple[Any, Any]:
        """What was read, as text where that was asked for."""
        out, err = self.so_far()
        return _decoded(self.process.stdout, out), _decoded(self.process.stderr, err)


def _encoded(file: IO[Any], data: str | bytes) -> bytes:
    if isinstance(data, str):
        if not isinstance(file, io.TextIOWrapper):
            raise TypeError("a bytes-like object is required, not 'str'")
        return data.encode(file.encoding, file.errors or "strict")
    return bytes(data)


def _decoded(file: IO[Any] | None, data: bytes | None) -> Any:
    if data is None or not isinstance(file, io.TextIOWrapper):
        return data
    return data.decode(file.encoding, file.errors or "strict").replace("\r\n", "\n").replace("\r", "\n")


def _end_all() -> None:
    """On the way out, end what would die with us anyway, so that its cgroups go, too."""
    for process in list(_running):
        if process._owner == os.getpid() and process.sandbox.die_with_parent:
            process.abandon()


atexit.register(_end_all)
