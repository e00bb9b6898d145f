"""How a command ends when it cannot do what was asked."""

from __future__ import annotations

INTERNAL_ERROR = 70  # EX_SOFTWARE of sysexits.h


class Failure(Exception):
    """The command failed.

    Args:
        message: What follows ``Error:`` on stderr; nothing is printed when it is empty.
        status: The exit status.
    """

    def __init__(self, message: str, status: int = 1) -> None:
        self.message = message
        self.status = status
        super().__init__(message, status)


def describe(error: Exception) -> str:
    """An error in words for a person: a plain OSError as ``FILE: reason``, any of bpm's own as it words itself.

    On one line, whatever newlines a path or a name in it has; a ConfigError, on one for each problem.
    """
    from bpm import BpmError, ConfigError
    from bpm.cli.style import plain

    if isinstance(error, ConfigError):
        return "\n".join(plain(str(problem)) for problem in error.problems)
    if isinstance(error, OSError) and not isinstance(error, BpmError):
        reason = error.strerror or str(error)
        return plain(f"{error.filename}: {reason}" if error.filename else reason)
    return plain(str(error))


def describe_bug(error: Exception) -> str:
    """One line that names a bug: what was raised, and where."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
    what = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in bpm: {what}{where} (BPM_DEBUG=1 shows more)"
