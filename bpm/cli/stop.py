"""Stops a process: TERM (or INT, where its configuration says so), after 15 seconds QUIT, 2 seconds later KILL.

It returns as soon as the process is gone. One that does not run is no error.
"""

from __future__ import annotations

from bpm.cli.flags import Arguments
from bpm.cli.job import PROCESS, failure_of, find_process

WORDS = "JOB"
FLAGS = (PROCESS,)


def run(arguments: Arguments) -> int:
    """`bpm stop`."""
    process = find_process(arguments, note_unknown=False)
    from bpm import BpmError

    try:
        process.stop()
    except (BpmError, OSError) as error:
        raise failure_of("failed to stop job-process", error) from error
    return 0
