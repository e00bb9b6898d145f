"""Running: one spawn, from before anything of it is made until nothing of it is left."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
import warnings

from bpm import cgroup, host
from bpm._native import Child, Plumbing
from bpm.config import Limits
from bpm.errors import CgroupError
from bpm.sandbox.ending import Ending, judge
from bpm.sandbox.interrupts import Uninterrupted

LEFTOVER_GRACE = 10.0
"""How many seconds what is killed has to die."""

NOTHING = cgroup.Usage()


class Running:
    """What was made for one program, and what becomes of it. Any thread may use it.

    It is made before anything else is, so that whoever holds it can clear away all that was, wherever it stopped.

    Args:
        limits: What the program is held to.
        owns_pids: Whether it has a pid namespace of its own, so that the kernel ends all of it at once.
        dies_with_us: Whether it ends with our process.
    """

    def __init__(self, limits: Limits, *, owns_pids: bool, dies_with_us: bool) -> None:
        self.owns_pids = owns_pids
        self.ending: Ending | None = None
        self.plumbing: Plumbing | None = None
        self.group: cgroup.Group | None = None
        self.child = Child()
        self._limits = limits
        self._dies_with_us = dies_with_us
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._usage = NOTHING
        self._watchers = 0
        self._sent: set[int] = set()
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """The pid of its init, which stands for all that runs inside."""
        return self.child.pid

    @property
    def pidfd(self) -> int:
        """A pidfd of its init, which becomes readable when all of it has ended; -1 from when it was reaped."""
        return self.child.pidfd

    @property
    def returncode(self) -> int | None:
        """As subprocess has it; None until it was reaped."""
        ending = self.ending
        return None if ending is None else ending.returncode

    def end_of(self, number: int) -> int:
        """Our end of the pipe to its descriptor; -1 where there is none, or none any more."""
        return -1 if self.plumbing is None else self.plumbing.ours(number)

    def close_end(self, number: int) -> None:
        """Close our end of the pipe to its descriptor."""
        if self.plumbing is not None:
            self.plumbing.close_ours(number)

    def look(self, timeout: float | None = 0) -> Ending | None:
        """How it ended, if it has or does so within these seconds (None is for ever): then nothing is left of it."""
        with self._lock:
            if self.ending is not None:
                return self.ending
            self._watchers += 1
        try:
            if is_readable(self.pidfd, timeout):
                self._finish()
        finally:
            with self._lock:
                self._watchers -= 1
                # Not while another thread is about to watch it: its number may soon be something else's.
                if self.ending is not None and not self._watchers:
                    self.child.close()
        return self.ending

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; SIGKILL ends everything inside. To one that has ended, nothing is sent.

        Raises:
            HostError: The call is refused here.
        """
        with self._lock:
            if self.ending is None and self.pidfd >= 0:
                try:
                    signal.pidfd_send_signal(self.pidfd, sig)
                except ProcessLookupError:
                    return
                except OSError:
                    host.check_kernel()
                    raise
                self._sent.add(sig)

    def abandon(self) -> None:
        """Make sure that nothing is left of it, wherever its start or its end was interrupted.

        Raises:
            HostError: It cannot be killed here: see :meth:`send_signal`. Only its pipes are closed then.
        """
        try:
            if self.ending is None:
                with Uninterrupted():
                    if self.pidfd >= 0:
                        self.send_signal(signal.SIGKILL)
                        self.look(LEFTOVER_GRACE)
                    else:
                        self._remove_group()
        finally:
            if self.plumbing is not None:
                self.plumbing.close()

    def forget(self) -> None:
        """What is to be done when nobody knows it any more, or our process ends: kill it, unless it may outlive us."""
        if self.ending is not None or self.pidfd < 0 or self._owner != os.getpid():
            return
        pid = self.pid
        if self._dies_with_us:
            self.abandon()
        # Last, since a warning may be an error.
        warnings.warn(f"the process {pid} in a sandbox was not waited for", ResourceWarning, 2, source=self)

    def _finish(self) -> None:
        """Reap it, know how it ended, remove its cgroup. Only once, whoever comes first.

        Interrupted, it can be done again: what is taken from the kernel is remembered by the call that takes it.
        """
        with self._lock:
            if self.ending is not None or self.plumbing is None:
                return
            reaped = self.child.reap(self.plumbing)
            if self.group is not None:
                self._take_usage(self.group)
            self.ending = judge(reaped, self._usage, self._limits, self._sent, time.monotonic() - self._started)

    def _take_usage(self, group: cgroup.Group) -> None:
        """Remember what its cgroup has counted, and remove it."""
        with Uninterrupted():
            if not self.owns_pids:
                group.kill(time.monotonic() + LEFTOVER_GRACE)
            self._usage = cgroup.read_usage(group)
            self._remove_group()

    def _remove_group(self) -> None:
        group, self.group = self.group, None
        if group is None:
            return
        try:
            group.remove()
        except CgroupError as error:
            warnings.warn(f"a cgroup is left over: {error}", ResourceWarning, stacklevel=2)


def is_readable(fd: int, timeout: float | None) -> bool:
    """Whether it becomes so in time. By poll(2), which takes descriptors above 1,023, too."""
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(None if timeout is None else max(0, timeout) * 1000))
