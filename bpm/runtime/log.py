"""bpm.log: one JSON line an event, in the shape that operators' tools know.

A line has the event's full name as ``message``, such as ``bpm.start.starting``, and in ``data`` the job,
the process and the session: ``1`` is the command, ``1.2`` the second thing it began within.
"""

from __future__ import annotations

import json
import os
import time

from bpm.errors import BpmError


class Log:
    """Where the events of one command go.

    Args:
        fd: The file, opened for appending; None to write nothing.
        name: What every event's name begins with, such as ``bpm.start``.
        data: What is said of every event.
    """

    def __init__(self, fd: int | None, name: str, data: dict[str, str], session: str = "1") -> None:
        self._fd = fd
        self._name = name
        self._data = data
        self._session = session
        self._begun = 0
        self._told: list[BaseException] = []

    def begin(self, task: str) -> Log:
        """A log for one task within this one, whose events are named after it."""
        self._begun += 1
        log = Log(self._fd, f"{self._name}.{task}", self._data, f"{self._session}.{self._begun}")
        log._told = self._told
        return log

    def info(self, event: str, **data: str) -> None:
        """Writes that something happens."""
        self._write("info", event, data)

    def error(self, event: str, error: BaseException, **data: str) -> None:
        """Writes that something failed, and why."""
        self._told.append(error)
        self._write("error", event, data, describe(error))

    def has_told(self, error: BaseException) -> bool:
        """Whether this very error was written, here or by a task within."""
        return any(told is error for told in self._told)

    def close(self) -> None:
        """Closes the file; to be called once, on the outermost log."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, level: str, event: str, data: dict[str, str], error: str | None = None) -> None:
        if self._fd is None:
            return
        told = {} if error is None else {"error": error}
        line = {
            "timestamp": timestamp(time.time_ns()),
            "level": level,
            "source": "bpm",
            "message": f"{self._name}.{event}",
            "data": dict(sorted({**self._data, **data, **told, "session": self._session}.items())),
            **told,
        }
        try:
            # One write of one line: O_APPEND keeps those of several bpm apart.
            os.write(self._fd, (json.dumps(line, separators=(",", ":")) + "\n").encode())
        except OSError:
            pass  # A full disk must not keep a job from being stopped.


def describe(error: BaseException) -> str:
    """An error as operators are shown it: a plain OSError as ``FILE: reason``, any of bpm's own as it words itself."""
    if isinstance(error, OSError) and not isinstance(error, BpmError):
        reason = error.strerror or str(error)
        return f"{error.filename}: {reason}" if error.filename else reason
    return str(error)


def timestamp(nanoseconds: int) -> str:
    """Nanoseconds since 1970 as ``2026-11-22T09:52:20.316052958Z``."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
