"""What a program's descriptors 0, 1 and 2 are, and the file objects at our ends of its pipes."""

from __future__ import annotations

import io
import locale
import os
import subprocess
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
    def asked(cls, text: bool | None, encoding: str | None, errors: str | None) -> Text | None:
        """What these arguments of subprocess.Popen ask for; None for bytes."""
        if not (text or encoding or errors):
            return None
        return cls(encoding or locale.getpreferredencoding(False), errors or "strict")


def encode(data: str | bytes, text: Text | None) -> bytes:
    """What is written.

    Raises:
        TypeError: It is text where bytes were asked for, or the other way round.
    """
    if isinstance(data, str):
        if text is None:
            raise TypeError("a bytes-like object is required, not 'str'")
        return data.encode(text.encoding, text.errors)
    if text is not None:
        raise TypeError(f"expected text to write, got {type(data).__name__}")
    return bytes(data)


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
    """Our end of a pipe. The descriptor stays the plumbing's, which closes it once, whatever comes in between."""

    def __init__(self, plumbing: Plumbing, number: int) -> None:
        self._plumbing = plumbing
        self._number = number
        super().__init__(plumbing.ours(number), "wb" if number == 0 else "rb", closefd=False)

    def close(self) -> None:
        """Close it, once."""
        super().close()
        self._plumbing.close_ours(self._number)


def open_end(plumbing: Plumbing, number: int, bufsize: int, text: Text | None) -> IO[Any] | None:
    """A file object at our end, as subprocess.Popen makes it; None where there is no pipe."""
    if plumbing.ours(number) < 0:
        return None
    raw = End(plumbing, number)
    by_lines = bufsize == 1 and text is not None
    size = io.DEFAULT_BUFFER_SIZE if bufsize < 0 or bufsize == 1 else bufsize
    if size == 0 and text is None:
        return raw
    file: Any = io.BufferedWriter(raw, size or 1) if number == 0 else io.BufferedReader(raw, size or 1)
    if text is not None:
        write_through = number == 0 and bufsize == 0
        file = io.TextIOWrapper(file, text.encoding, text.errors, line_buffering=by_lines, write_through=write_through)
    result: IO[Any] = file
    return result


def close_quietly(file: IO[Any] | None) -> None:
    """Close it, though nobody may read what is still to be written, or an earlier attempt stopped half-way."""
    try:
        if file is not None:
            file.close()
    except (OSError, ValueError):
        pass
