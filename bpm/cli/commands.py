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
    "check": "find what is wrong with a bpm.yml, without running anything",
    "doctor": "tell what this host can do",
    "explain": "tell why a path is as it is inside, and what would change it",
    "export": "write a process as an OCI bundle",
    "list": "show every process and its state",
    "logs": "show what a process wrote",
    "pid": "print the pid of a process",
    "plan": "show what a start would do, and why",
    "run": "run a process in the foreground",
    "shell": "open a shell where a process runs",
    "start": "start a process",
    "status": "show all that is known of processes",
    "stop": "stop a process",
    "top": "show what all processes use, live",
    "trace": "show the system calls of a process",
    "version": "print the version",
}
"""Every command's name, and what it does."""

OPEN_TO_ALL = frozenset({"check", "doctor", "explain", "export", "plan"})
"""Those that change nothing and show nothing of root's, so that everyone may use them."""


def load_command(name: str) -> Command:
    """Imports the file of one command, and nothing of the others."""
    command: Command = __import__(f"bpm.cli.{name}", fromlist=["run"])
    return command
