"""What a program's descriptors 0, 1 and 2 are, and the file objects at our ends of its pipes."""

from __future__ import annotations

import io
import locale
import os
import subprocess
import warnings
from typing import IO, Any

from attrs import frozen

from bpm._native import Plumbing
from bpm.sandbox.command import Stream

PIPE, STDOUT, DEVNULL = subprocess.PIPE, subprocess.STDOUT, subprocess.DEVNULL
NAMES = ("stdin", "stdout", "stderr")


@frozen
class Text:
    """How bytes are text.

    Args:
        encoding: A codec's name.
        errors: What is done with what it cannot hold, see ``codecs``.
    """

    encoding: str
    errors: str = "strict"

    @classmethod
    def asked(
        cls, text: bool | None, encoding: str | None, errors: str | None, universal_newlines: bool | None
    ) -> Text | None:
        """What these arguments of subprocess.Popen ask for; None for bytes.

        Raises:
            subprocess.SubprocessError: ``text`` and ``universal_newlines`` contradict each other.
        """
        if text is not None and universal_newlines is not None and bool(text) != bool(universal_newlines):
            raise subprocess.SubprocessError("text and universal_newlines are the same, and contradict each other")
        if not (text or universal_newlines or encoding or errors):
            return None
        return cls(encoding or locale.getpreferredencoding(False), errors or "strict")


def encode(data: str | bytes, text: Text | None) -> bytes:
    """What is written.

    Raises:
        TypeError: It is text where bytes were asked for, or the other way round, or neither.
    """
    if text is None:
        return bytes(memoryview(data))  # type: ignore[arg-type]  # it says so itself
    if not isinstance(data, str):
        raise TypeError(f"expected text to write, got {type(data).__name__}")
    return data.encode(text.encoding, text.errors)


def decode(data: bytes | None, text: Text | None) -> Any:
    """What was read: where text was asked for, with every end of a line as ``\\n``."""
    if data is None or text is None:
        return data
    return data.decode(text.encoding, text.errors).replace("\r\n", "\n").replace("\r", "\n")


def descriptor_of(plumbing: Plumbing, null: int, number: int, streams: tuple[Stream, Stream, Stream]) -> int:
    """The descriptor that becomes the program's 0, 1 or 2; -1 where it is closed, as ours is."""
    stream = streams[number]
    if stream is None:
        # One that is not inheritable would be closed by execve(2): it is some file of ours that got a free number.
        try:
            return number if os.get_inheritable(number) else -1
        except OSError:
            return -1
    if not isinstance(stream, int):
        return stream.fileno()
    if stream == PIPE:
        return plumbing.theirs(number)
    if stream == DEVNULL:
        return null
    if stream == STDOUT and number == 2:
        return descriptor_of(plumbing, null, 1, streams)
    if stream < 0:
        raise ValueError(f"not a stream for {NAMES[number]}: {stream}")
    return stream


class End(io.FileIO):
    """Our end of a pipe. The descriptor stays the plumbing's, which closes it once, whatever comes in between.

    Attributes:
        was_read: Whether something was read through it, of which a file above it may still hold a part.
    """

    def __init__(self, plumbing: Plumbing, number: int) -> None:
        self.was_read = False
        self._plumbing = plumbing
        self._number = number
        self._rest: io.BytesIO | None = None
        super().__init__(plumbing.ours(number), "wb" if number == 0 else "rb", closefd=False)

    def go_on_with(self, rest: bytes) -> None:
        """Give this, which was read of the pipe elsewhere, and then end."""
        self._rest = io.BytesIO(rest)

    def readinto(self, buffer: Any) -> int | None:
        """Read as much as is there."""
        self.was_read = True
        return super().readinto(buffer) if self._rest is None else self._rest.readinto(buffer)

    def readall(self) -> bytes:
        """Read to the end."""
        return super().readall() if self._rest is None else self._rest.read()

    def close(self) -> None:
        """Close it, once."""
        super().close()
        self._plumbing.close_ours(self._number)


def open_end(end: End, bufsize: int, text: Text | None) -> IO[Any]:
    """A file object above our end, as subprocess.Popen makes it."""
    by_lines = bufsize == 1
    size = io.DEFAULT_BUFFER_SIZE if bufsize < 0 or by_lines else bufsize
    if size == 0 and text is None:
        return end
    file: Any = io.BufferedWriter(end, size or 1) if end.writable() else io.BufferedReader(end, size or 1)
    if text is not None:
        file = io.TextIOWrapper(
            file, text.encoding, text.errors, line_buffering=by_lines and end.writable(), write_through=end.writable()
        )
    elif by_lines:
        warnings.warn("bytes are not buffered by lines: bufsize=1 is the usual size", RuntimeWarning, stacklevel=4)
    result: IO[Any] = file
    return result


def close_quietly(file: IO[Any] | None) -> None:
    """Close it, though nobody may read what is still to be written, or an earlier attempt stopped half-way."""
    try:
        if file is not None:
            file.close()
    except (OSError, ValueError):
        pass
