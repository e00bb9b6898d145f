"""Starts a process in the background, and writes its pidfile. One that runs already is left alone."""

from __future__ import annotations

from bpm.cli.flags import Arguments
from bpm.cli.job import PROCESS, failure_of, find_process, warn

WORDS = "JOB"
FLAGS = (PROCESS,)


def run(arguments: Arguments) -> int:
    """`bpm start`."""
    process = find_process(arguments)
    from bpm import BpmError

    try:
        process.start(warn).close()
    except (BpmError, OSError) as error:
        raise failure_of("failed to start job-process", error) from error
    return 0
