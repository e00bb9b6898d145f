"""The ends of log files: the last lines of one, and what is appended from then on."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BLOCK = 1 << 16

# How many of the bytes read last are remembered, to tell whether they still stand where they were read.
MARK = 256


class LogTail:
    """One log file, read to its end as often as one likes. It may appear later, be cut, or be replaced.

    Args:
        path: The file.
        open_log: Opens what has that path, for reading; None where there is nothing. The job's user could put something
            else there.
    """

    def __init__(self, path: str, open_log: Callable[[str], int | None]) -> None:
        self.path = path
        self._open = open_log
        self._fd = open_log(path)
        self._go_to(0)

    @property
    def exists(self) -> bool:
        """Whether the file was there when it was last looked for."""
        return self._fd is not None

    def seek_last_lines(self, count: int) -> None:
        """Goes to where the last ``count`` lines begin; an unfinished line counts as one."""
        if self._fd is not None:
            self._go_to(find_last_lines(self._fd, count))

    def read_new(self) -> Iterator[bytes]:
        """What was appended since, in blocks, and goes on in what has replaced the file."""
        yield from self._read_to_end()
        successor = self._open_successor()
        if successor is not None:
            # The last words may have come between the last read and the look at the new file.
            yield from self._read_to_end()
            self.close()
            self._fd = successor
            self._go_to(0)
            yield from self._read_to_end()

    def close(self) -> None:
        """Closes the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _go_to(self, position: int) -> None:
        self._at = position
        self._mark = b"" if self._fd is None else os.pread(self._fd, min(MARK, position), max(0, position - MARK))

    def _read_to_end(self) -> Iterator[bytes]:
        """To where the file ended when this was called: whoever writes on and on must not keep us."""
        if self._fd is None:
            return
        if self._was_cut(self._fd):
            self._go_to(0)
        end = os.fstat(self._fd).st_size
        while block := os.pread(self._fd, min(BLOCK, max(0, end - self._at)), self._at):
            self._at += len(block)
            self._mark = (self._mark + block)[-MARK:]
            yield block

    def _was_cut(self, fd: int) -> bool:
        """Whether the file was cut, as logrotate's copytruncate does, however much was written to it since."""
        return os.pread(fd, len(self._mark), self._at - len(self._mark)) != self._mark

    def _open_successor(self) -> int | None:
        """The file that now has the path, if it is another one and has been written to.

        A process that was not restarted goes on writing into the renamed file, even where an empty
        one was created in its place; so that one is left only for a file in which something stands.
        """
        try:
            found = os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if self._fd is not None:
            mine = os.fstat(self._fd)
            if (mine.st_dev, mine.st_ino) == (found.st_dev, found.st_ino) or not found.st_size:
                return None
        return self._open(self.path)


def find_last_lines(fd: int, count: int) -> int:
    """Where the last ``count`` lines of a file begin. Reads no more of it than those lines, from its end."""
    end = os.fstat(fd).st_size
    if count <= 0:
        return end
    at = end
    while at:
        start = max(0, at - BLOCK)
        block = os.pread(fd, at - start, start)
        # The newline that ends the last line begins none.
        stop = len(block) - 1 if at == end else len(block)
        while (newline := block.rfind(b"\n", 0, max(stop, 0))) >= 0:
            count -= 1
            if not count:
                return start + newline + 1
            stop = newline
        at = start
    return 0


def show(tails: list[LogTail], headers: bool, write: Callable[[bytes], None]) -> LogTail:
    """Writes what the files hold from where they stand, each below its name.

    Returns:
        The one that was shown last.
    """
    present = [tail for tail in tails if tail.exists]
    for tail in present:
        if headers:
            write(_header(tail, first=tail is present[0]))
        for block in tail.read_new():
            write(block)
    return present[-1]


def follow(
    tails: list[LogTail], last: LogTail | None, write: Callable[[bytes], None], wait: Callable[[], bool]
) -> None:
    """Goes on writing what is appended.

    Args:
        last: The file that was shown last, when what comes from another is to stand below its name.
        wait: Lets a moment pass; false ends it.
    """
    while wait():
        for tail in tails:
            for block in tail.read_new():
                if last is not None and last is not tail:
                    write(_header(tail, first=False))
                    last = tail
                write(block)


def _header(tail: LogTail, *, first: bool) -> bytes:
    return os.fsencode(f"{'' if first else chr(10)}==> {tail.path} <==\n")
