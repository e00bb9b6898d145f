"""Pipes as asyncio's streams, watched by add_reader() and add_writer().

Not by the loop's connect_read_pipe(): its transports close a pipe some time later, or twice (uvloop's, through libuv),
and neither may be where other threads open descriptors.
"""

from __future__ import annotations

import asyncio
import os
from typing import IO

CHUNK = 65536
"""What a pipe holds by default, pipe(7)."""

LOW, HIGH = 16384, 65536
"""How many bytes wait to be written when a writer may go on, and when it has to stop, as asyncio has it."""


class PipeReader(asyncio.StreamReader):
    """A StreamReader of a pipe, and the transport that it asks to pause when it has too much.

    Args:
        loop: Who watches it.
        file: Our end, unbuffered.
        limit: See asyncio.StreamReader.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes], limit: int) -> None:
        super().__init__(limit=limit, loop=loop)
        self._file = file
        self._watching = loop
        os.set_blocking(file.fileno(), False)
        self.set_transport(self)  # type: ignore[arg-type]
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._file.closed:
            self._watching.add_reader(self._file.fileno(), self._take)

    def pause_reading(self) -> None:
        """Read no more for now: the program has to wait when the pipe is full."""
        if not (self._file.closed or self._watching.is_closed()):
            self._watching.remove_reader(self._file.fileno())

    def close(self) -> None:
        """Read no more."""
        if not self._file.closed:
            self.pause_reading()
            self._file.close()
            if not self._watching.is_closed():
                self.feed_eof()

    def _take(self) -> None:
        try:
            data = os.read(self._file.fileno(), CHUNK)
        except BlockingIOError:
            return
        if data:
            self.feed_data(data)
        else:
            self.close()


def open_writer(loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> asyncio.StreamWriter:
    """A StreamWriter of a pipe.

    Args:
        loop: Who watches it.
        file: Our end, unbuffered.
    """
    # A StreamWriter learns from its reader what broke the pipe; this one never reads anything.
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport = PipeWriter(loop, file, protocol)
    protocol.connection_made(transport)
    return asyncio.StreamWriter(transport, protocol, reader, loop)


class PipeWriter(asyncio.WriteTransport):
    """The transport behind such a StreamWriter."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, file: IO[bytes], protocol: asyncio.StreamReaderProtocol
    ) -> None:
        super().__init__({"pipe": file})
        self._loop = loop
        self._file = file
        self._protocol = protocol
        self._left = bytearray()
        self._low, self._high = LOW, HIGH
        self._paused = False
        self._closing = False
        os.set_blocking(file.fileno(), False)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write it, or keep it until the program reads. What comes after the end of the pipe is dropped."""
        if self._closing or not data:
            return
        self._left += data
        if len(self._left) == len(data):
            self._give()
            if self._left:
                self._loop.add_writer(self._file.fileno(), self._give)
        if len(self._left) > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        """It can."""
        return True

    def write_eof(self) -> None:
        """Close it, once all has been taken."""
        self.close()

    def close(self) -> None:
        """Close it, once all has been taken."""
        if not self._closing:
            self._closing = True
            if not self._left:
                self._end(None)

    def abort(self) -> None:
        """Close it now."""
        self._end(BrokenPipeError("the program has ended") if self._left else None)

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """How many bytes wait for the program to read."""
        return len(self._left)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """How many bytes wait when a writer may go on, and when it has to stop."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set them; see asyncio.WriteTransport."""
        if high is None:
            high = HIGH if low is None else 4 * low
        low = high // 4 if low is None else low
        if not 0 <= low <= high:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._low, self._high = low, high

    def _give(self) -> None:
        """Once, so that other callbacks get their turn."""
        try:
            del self._left[: os.write(self._file.fileno(), self._left[:CHUNK])]
        except BlockingIOError:
            return
        except OSError as error:
            self._end(error)
            return
        if self._paused and len(self._left) <= self._low:
            self._paused = False
            self._protocol.resume_writing()
        if not self._left:
            self._loop.remove_writer(self._file.fileno())
            if self._closing:
                self._end(None)

    def _end(self, error: OSError | None) -> None:
        self._closing = True
        self._left.clear()
        if self._file.closed:
            return
        is_closed = self._loop.is_closed()
        if not is_closed:
            self._loop.remove_writer(self._file.fileno())
        self._file.close()
        if not is_closed:
            self._protocol.connection_lost(error)
