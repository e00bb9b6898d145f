"""Shows the last lines that a process wrote to its stdout, and with --follow all that it writes from now on."""

from __future__ import annotations

import select

from bpm.cli.failure import Failure
from bpm.cli.flags import NUMBER, Arguments, Flag
from bpm.cli.job import PROCESS, find_process
from bpm.cli.output import STDOUT, print_line, write
from bpm.cli.tail import LogTail, follow, show

WORDS = "JOB"
FLAGS = (
    Flag("all", "a", help="show stdout and stderr"),
    Flag("err", "e", help="show stderr"),
    Flag("follow", "f", help="go on showing what is written, until interrupted"),
    Flag("lines", "n", kind=NUMBER, value="COUNT", default=25, help="how many lines to begin with"),
    Flag("quiet", "q", help="leave out the names of the files"),
    PROCESS,
)

# How often a followed file is looked at, in milliseconds.
PAUSE = 100


def run(arguments: Arguments) -> int:
    """`bpm logs`."""
    process = find_process(arguments, note_unknown=False)
    stdout, stderr = process.log_paths
    paths = [stderr] if arguments.switch("err") else [stdout]
    if arguments.switch("all"):
        paths = [stdout, stderr]
    tails = [LogTail(path, process.open_log) for path in paths]
    if not any(tail.exists for tail in tails):
        raise Failure("logs not found")
    for tail in tails:
        tail.seek_last_lines(abs(arguments.number("lines")))
    headers = arguments.switch("all") and not arguments.switch("quiet")
    try:
        last = show(tails, headers, write_out)
        if arguments.switch("follow"):
            follow(tails, last if headers else None, write_out, listener_remains)
    except KeyboardInterrupt:
        # How following is meant to end.
        if not arguments.switch("follow"):
            raise
    print_line()
    return 0


def write_out(block: bytes) -> None:
    """To stdout."""
    write(STDOUT, block)


def listener_remains() -> bool:
    """Lets a moment pass, and tells whether anyone still reads what we write: `head` leaves when it has enough."""
    poll = select.poll()
    poll.register(STDOUT, 0)  # With no event asked for, only a reader's going away is told.
    return not poll.poll(PAUSE)
