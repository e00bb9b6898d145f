"""Writing to the terminal, or whatever stands in for it: at once, and any byte that a file's name may hold."""

from __future__ import annotations

import os

STDOUT, STDERR = 1, 2


def write(fd: int, data: bytes | memoryview) -> None:
    """Writes all of it, waiting where whoever shares the descriptor has made it one that does not."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            import select

            select.select([], [fd], [])


def print_line(text: str = "") -> None:
    """A line on stdout."""
    write(STDOUT, f"{text}\n".encode("utf-8", "surrogateescape"))


def complain(text: str) -> None:
    """A line on stderr, as far as anyone listens there."""
    try:
        write(STDERR, f"{text}\n".encode("utf-8", "surrogateescape"))
    except OSError:
        pass


def open_standard_descriptors() -> None:
    """Opens /dev/null in place of any of descriptors 0, 1 and 2 that the caller closed.

    Otherwise the next file to be opened would become our stdout or stderr, and be written to.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # The lowest free descriptor: this one.
