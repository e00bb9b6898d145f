"""A program in the foreground: what it writes goes to its log files and to the caller, as it is written."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from bpm.errors import NotRunning
from bpm.plan import ProcessPlan
from bpm.runtime.container import Container
from bpm.runtime.prepare import prepare
from bpm.runtime.records import ExitRecord
from bpm.runtime.room import room_for
from bpm.runtime.startup import launch

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
"""Signals to the caller that are passed on to a program in the foreground."""

# A pipe holds 64 KiB by default, pipe(7). Where program and bpm wait for one another at each block, a busy machine
# takes longer to let them take turns than all the copying takes. So the pipe is large, and one that is written to in
# large blocks is left to fill for a moment.
CHUNK, PIPE = 131072, 1048576
LARGE = 16384
MOMENT = 0.001  # seconds
# What passes: there may be room again.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

F_SETPIPE_SZ = 1031  # fcntl(2); Python names it since 3.10 only where its C library did


def run_attached(
    plan: ProcessPlan,
    outputs: tuple[int, int],
    report: Callable[[str], None] = lambda event: None,
    warn: Callable[[OSError], None] = lambda error: None,
) -> ExitRecord:
    """Runs the plan's program until it ends, and leaves nothing of its container.

    In the main thread, signals to the caller meanwhile reach the program. It dies with the thread that
    called this. For a caller who holds the lock, where nothing stands in the way.

    Args:
        outputs: Where its standard output and error go, beside the log files.
        report: Is told what happens next.
        warn: Is told of a log file, as the error's ``filename``, that lacks something of what the program wrote.
    """
    report("creating-job-prerequisites")
    with room_for(len(plan.mounts)) as limits, prepare(plan) as prepared, forwarding() as forward:
        out = Stream(plan, outputs[0], prepared.stdio[1])
        err = Stream(plan, outputs[1], prepared.stdio[2])
        try:
            stdio = (prepared.null, out.write_end, err.write_end)
            container = launch(plan, prepared, stdio, limits, die_with_parent=True, report=report)
            try:
                forward(container)
                out.close_write_end()
                err.close_write_end()
                pump((out, err), container)
                for stream, log in zip((out, err), plan.preparation.log_files, strict=False):
                    if stream.log_error is not None:
                        warn(OSError(stream.log_error.errno, stream.log_error.strerror, log.path))
                return container.wait()
            finally:
                try:
                    container.remove()
                finally:
                    container.close()
        finally:
            out.close()
            err.close()


def pump(streams: tuple[Stream, Stream], container: Container) -> None:
    """Passes on what the program writes, until it has ended and all it wrote was passed on."""
    poll = select.poll()
    pidfd = container.pidfd
    assert pidfd is not None  # launch() has just got it
    poll.register(pidfd, select.POLLIN)
    by_fd = {stream.read_end: stream for stream in streams}
    for fd in by_fd:
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll()]
        if pidfd in ready:
            break
        sizes = {fd: by_fd[fd].pass_on() for fd in ready}
        for fd, size in sizes.items():
            if not size:
                poll.unregister(fd)
        if any(LARGE <= size < CHUNK for size in sizes.values()):
            time.sleep(MOMENT)
    # What it left behind (with the host's pid namespace) may hold the pipes open for ever.
    container.kill()
    for stream in streams:
        while stream.pass_on():
            pass


class Stream:
    """One output of the program: a pipe, its log file, and where the caller wants it.

    Args:
        output: The caller's descriptor.
        log: The log file's.

    Attributes:
        log_error: Why the log file lacks something, if it does.
    """

    def __init__(self, plan: ProcessPlan, output: int, log: int) -> None:
        self.log_error: OSError | None = None
        self.targets = [log, output]
        self._log = log
        self.read_end, self.write_end = os.pipe2(os.O_CLOEXEC)
        # One buffer for all that ever comes: fresh memory for each read costs as much as the read.
        self._buffer = memoryview(bytearray(CHUNK))
        try:
            fcntl.fcntl(self.read_end, F_SETPIPE_SZ, PIPE)
        except OSError:
            pass  # All pipes together have become too large (pipe-user-pages-soft); a small one does.
        os.set_blocking(self.read_end, False)
        # The program may want to open /dev/stdout: a pipe has an owner and a mode as a file has.
        os.fchown(self.write_end, plan.identity.uid, plan.identity.gid)

    def pass_on(self) -> int:
        """Passes on what is in the pipe, a chunk at most. How many bytes; 0 when there were none, now or for ever."""
        try:
            data = self._buffer[: os.readv(self.read_end, [self._buffer])]
        except BlockingIOError:
            return 0
        for target in tuple(self.targets):
            try:
                write_all(target, data)
            except OSError as error:
                # A reader that went away, a full disk: the program is not to suffer from it, nor the other target.
                if target == self._log:
                    self.log_error = self.log_error or error
                if error.errno not in NO_ROOM:
                    self.targets.remove(target)
        return len(data)

    def close_write_end(self) -> None:
        """Leaves the program's side to the program."""
        os.close(self.write_end)
        self.write_end = -1

    def close(self) -> None:
        """Closes both ends."""
        for fd in (self.read_end, self.write_end):
            if fd >= 0:
                os.close(fd)
        self.read_end = self.write_end = -1


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Writes all of it, waiting where the descriptor does not block."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()


@contextmanager
def forwarding() -> Iterator[Callable[[Container], None]]:
    """Catches FORWARDED signals; those that come before there is a container reach it when it is named.

    Python runs a handler also while it waits in read(2), write(2) or poll(2), and then waits on.
    """
    caught: list[int] = []
    known: list[Container] = []

    def handle(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if known:
            deliver()

    def deliver() -> None:
        while caught:
            try:
                known[0].signal(caught.pop(0))
            except NotRunning:
                pass

    def name(container: Container) -> None:
        known.append(container)
        deliver()

    # Only the main thread may set handlers, and only it runs them.
    mine = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, handle) for number in FORWARDED} if mine else {}
    try:
        yield name
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
