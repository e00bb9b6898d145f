"""The command line: one file a command, a line for each in COMMANDS. It speaks to the public names of bpm only."""

from bpm.cli.commands import COMMANDS
from bpm.cli.dispatch import main
from bpm.cli.flags import Arguments, Flag, UsageError

__all__ = ["COMMANDS", "Arguments", "Flag", "UsageError", "main"]
