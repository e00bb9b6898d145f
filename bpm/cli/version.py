"""Prints the version, alone on a line."""

from __future__ import annotations

from bpm.cli.flags import Arguments, Flag, UsageError

WORDS = ""
FLAGS: tuple[Flag, ...] = ()


def run(arguments: Arguments) -> int:
    """`bpm version`."""
    if arguments.words:
        raise UsageError
    from bpm import __version__
    from bpm.cli.output import print_line

    print_line(__version__)
    return 0
