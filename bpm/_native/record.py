"""What init writes of a program's end, read without the extension: bpm_exit_record of abi.h."""

from __future__ import annotations

import struct
from typing import NamedTuple

COUNTERS, COUNTER_SIZE = 8, 256  # enum bpm_counter_limit
EXIT_FORMAT = "=8siiqqqqqq" + f"{COUNTER_SIZE}s" * COUNTERS
EXIT_SIZE = struct.calcsize(EXIT_FORMAT)


class ExitFacts(NamedTuple):
    """What init saw of the program's end. Times in ns of CLOCK_REALTIME or of cpu; max_rss in bytes.

    Args:
        code: CLD_EXITED (1), CLD_KILLED (2) or CLD_DUMPED (3), see waitid(2).
        status: The exit status, or the signal's number.
        timed_out: 1 if init killed it, for its wall time; else 0.
        counters: What the files of the request's ``counters`` said then, in whole lines.
    """

    code: int
    status: int
    started: int
    ended: int
    user: int
    system: int
    max_rss: int
    timed_out: int = 0
    counters: tuple[str, ...] = ("",) * COUNTERS


class Reaped(NamedTuple):
    """What the caller knows of an init that has ended.

    Args:
        returncode: As subprocess has it; None where its status was not there to be taken.
        user, system: Its processor time with all that it waited for, in ns.
        record: What it recorded; None where it was killed before it could.
    """

    returncode: int | None
    user: int
    system: int
    record: ExitFacts | None


def parse_exit(data: bytes) -> ExitFacts | None:
    """What init wrote to ``exit_fd``; None for anything else, a part of it too."""
    if len(data) != EXIT_SIZE:
        return None
    magic, *fields = struct.unpack(EXIT_FORMAT, data)
    if magic != b"bpmexit1":
        return None
    facts, counters = fields[:-COUNTERS], fields[-COUNTERS:]
    return ExitFacts(*facts)._replace(counters=tuple(map(_whole_lines, counters)))


def _whole_lines(text: bytes) -> str:
    """What is left of a text that may have been cut."""
    return text[: text.rfind(b"\n") + 1].decode("ascii", "replace")
