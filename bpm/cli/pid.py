"""Prints the pid of a running process, as the host counts."""

from __future__ import annotations

from bpm.cli.flags import Arguments
from bpm.cli.job import PROCESS, find_process
from bpm.cli.output import print_line

WORDS = "JOB"
FLAGS = (PROCESS,)


def run(arguments: Arguments) -> int:
    """`bpm pid`."""
    print_line(str(find_process(arguments).pid()))
    return 0
