"""The usage texts, made from the tables."""

from __future__ import annotations

from bpm.cli.commands import COMMANDS
from bpm.cli.flags import NUMBER, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bpm.cli.commands import Command

ABOUT = "bpm runs the processes of BOSH jobs, each isolated from its neighbours."

HELP = Flag("help", "h", help="show this text")
VERSION = Flag("version", help="print the version")
COMMON_FLAGS = (HELP, VERSION)


def describe_usage() -> str:
    """How to use bpm as a whole."""
    rows = [("help", "show how to use a command"), *COMMANDS.items()]
    return (
        "Usage:\n  bpm [flags]\n  bpm COMMAND [flags]\n\n"
        f"Commands:\n{_align(sorted(rows))}\n"
        f"Flags:\n{_align(map(_row, COMMON_FLAGS))}\n"
        "`bpm COMMAND --help` shows more about one of them.\n"
    )


def describe_command_usage(name: str, command: Command) -> str:
    """How to use one command."""
    flags = sorted((*command.FLAGS, HELP), key=lambda flag: flag.name)
    words = f" {command.WORDS}" if command.WORDS else ""
    return (
        f"Usage:\n  bpm {name}{words} [flags]\n\n"
        f"Flags:\n{_align(map(_row, flags))}\n"
        f"Flags of every command:\n{_align([_row(VERSION)])}"
    )


def _row(flag: Flag) -> tuple[str, str]:
    letter = f"-{flag.short}, " if flag.short else "    "
    default = f" (default {flag.default})" if flag.kind == NUMBER else ""
    return f"{letter}--{flag.name} {flag.value}".rstrip(), flag.help + default


def _align(rows: Iterable[tuple[str, str]]) -> str:
    table = list(rows)
    width = max(len(left) for left, _ in table)
    return "".join(f"  {left:{width}}   {right}\n" for left, right in table)
