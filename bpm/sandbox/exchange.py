"""What a program is written and what is read of it, at the same time, so that neither side waits for ever."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

from bpm.sandbox.running import Running
from bpm.sandbox.streams import Text, decode, encode

CHUNK = 65536
"""What a pipe holds by default, pipe(7)."""


class Exchange:
    """The pipes of one program: what is left to be written, what has been read. It can be taken up again.

    Args:
        running: The program.
        input: What it reads.
        text: How input and output are text; None for bytes.
        close: Closes our end of the pipe to a descriptor.

    Raises:
        TypeError: The input is text where bytes were asked for, or the other way round.
    """

    def __init__(
        self, running: Running, input: str | bytes | None, text: Text | None, close: Callable[[int], None]
    ) -> None:
        self._running = running
        self._text = text
        self._close = close
        self._left = memoryview(encode(input, text) if input else b"")
        self._open = {number: fd for number in range(3) if (fd := running.end_of(number)) >= 0}
        self._read: dict[int, list[bytes]] = {number: [] for number in (1, 2) if number in self._open}
        if 0 in self._open:
            if self._left:
                os.set_blocking(self._open[0], False)
            else:
                self._stop(0)

    def carry_on(self, deadline: float | None) -> bool:
        """Write and read until there is nothing more of either; False when the deadline has come."""
        if not self._open:
            return True
        poll = select.poll()
        numbers = {fd: number for number, fd in self._open.items()}
        for fd, number in numbers.items():
            poll.register(fd, select.POLLOUT if number == 0 else select.POLLIN)
        # What shares our pids may outlive the program, and hold the pipes open: its end is looked for here, too.
        pidfd = -1 if self._running.owns_pids else self._running.pidfd
        if pidfd >= 0:
            poll.register(pidfd, select.POLLIN)
        while self._open:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left < 0:
                return False
            for fd, _ in poll.poll(None if left is None else left * 1000):
                if fd == pidfd:
                    poll.unregister(pidfd)
                    self._running.look()
                elif not (self._write(fd) if numbers[fd] == 0 else self._take(fd, numbers[fd])):
                    poll.unregister(fd)
                    self._stop(numbers[fd])
        return True

    def so_far(self) -> tuple[bytes | None, bytes | None]:
        """What was read of its standard output and error, as bytes; None where that was no pipe."""
        out, err = (b"".join(self._read[number]) if number in self._read else None for number in (1, 2))
        return out, err

    def result(self) -> tuple[Any, Any]:
        """The same, as text where that was asked for."""
        if not self._read:
            return None, None
        out, err = self.so_far()
        return decode(out, self._text), decode(err, self._text)

    def _stop(self, number: int) -> None:
        del self._open[number]
        self._close(number)

    def _write(self, fd: int) -> bool:
        try:
            self._left = self._left[os.write(fd, self._left[:CHUNK]) :]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            return False
        return bool(self._left)

    def _take(self, fd: int, number: int) -> bool:
        data = os.read(fd, CHUNK)
        self._read[number].append(data)
        return bool(data)
