"""The commands. Each is a file of this directory; to add one, write the file and a line here.

A command's file has a docstring, which is its help text, and

    WORDS       what its usage text shows after its name, such as ``JOB``
    FLAGS       its own flags
    run         takes the Arguments and returns the exit status
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from bpm.cli.flags import Arguments, Flag

    class Command(Protocol):
        """What a command's file has."""

        WORDS: str
        FLAGS: tuple[Flag, ...]
        run: Callable[[Arguments], int]


COMMANDS = {
    "list": "show every process and its state",
    "logs": "show what a process wrote",
    "pid": "print the pid of a process",
    "run": "run a process in the foreground",
    "shell": "open a shell where a process runs",
    "start": "start a process",
    "stop": "stop a process",
    "trace": "show the system calls of a process",
    "version": "print the version",
}
"""Every command's name, and what it does."""


def load_command(name: str) -> Command:
    """Imports the file of one command, and nothing of the others."""
    command: Command = __import__(f"bpm.cli.{name}", fromlist=["run"])
    return command
