"""Passing bytes on between descriptors of the caller's and those of a program, both ways, until the program ends."""

from __future__ import annotations

import os
import select

from bpm.cli.output import write

BLOCK = 65536


class Inlet:
    """Towards the program: it may read slowly, or not at all, and its output is to flow all the same."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.ended = False
        self._waiting = b""
        os.set_blocking(target, False)

    def watch(self) -> tuple[int, int]:
        """The descriptor and the event to wait for."""
        return (self.target, select.POLLOUT) if self._waiting else (self.source, select.POLLIN)

    def pass_on(self) -> None:
        """Reads, or writes what is left of what was read; at the end of the input, ``ended`` is set."""
        try:
            if not self._waiting:
                self._waiting = os.read(self.source, BLOCK)
                self.ended = not self._waiting
            if self._waiting:
                self._waiting = self._waiting[os.write(self.target, self._waiting) :]
        except BlockingIOError:
            pass
        except OSError:
            # Whoever had the one or the other has gone.
            self.ended = True


class Outlet:
    """From the program, which waits where the caller reads slowly."""

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        os.set_blocking(source, False)

    def pass_on(self) -> bool:
        """Passes on what there is; false when there was nothing, now or for ever."""
        try:
            block = os.read(self.source, BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            return False  # EIO: nobody has the terminal any more.
        write(self.target, block)
        return bool(block)


def relay(inlet: Inlet | None, outlets: list[Outlet], program: int) -> bool:
    """Passes on until the program has ended, and all it wrote was passed on, or until the input ends.

    Args:
        inlet: None when there is no input any more.
        program: A pidfd.

    Returns:
        Whether the program has ended.
    """
    open_outlets = {outlet.source: outlet for outlet in outlets}
    while True:
        poll = select.poll()
        poll.register(program, select.POLLIN)
        for source in open_outlets:
            poll.register(source, select.POLLIN)
        if inlet is not None:
            # With a terminal, one descriptor is both where its input goes and where its output comes from.
            fd, event = inlet.watch()
            poll.register(fd, event | (select.POLLIN if fd in open_outlets else 0))
        ready = dict(poll.poll())
        for source in [source for source in open_outlets if source in ready]:
            if not open_outlets[source].pass_on() and ready[source] & (select.POLLHUP | select.POLLERR):
                del open_outlets[source]
        if program in ready:
            break
        if inlet is not None and inlet.watch()[0] in ready:
            inlet.pass_on()
            if inlet.ended:
                return False
    for outlet in open_outlets.values():
        while outlet.pass_on():
            pass
    return True
