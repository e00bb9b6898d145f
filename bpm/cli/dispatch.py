"""From the command line to the command, and from what it raises to one line and an exit status."""

from __future__ import annotations

import os
import sys

from bpm.cli.commands import COMMANDS, OPEN_TO_ALL, load_command
from bpm.cli.failure import INTERNAL_ERROR, Failure, describe, describe_bug
from bpm.cli.flags import Arguments, UsageError, find_command
from bpm.cli.output import STDERR, STDOUT, complain, open_standard_descriptors, print_line, write
from bpm.cli.usage import ABOUT, COMMON_FLAGS, describe_command_usage, describe_usage

NOT_ROOT = "bpm must be run as root. Please run 'sudo -i' to become the root user."

AT_SECURE = 23  # linux/auxvec.h

# As a shell has it: 128 and the signal's number.
INTERRUPTED, BROKEN_PIPE = 128 + 2, 128 + 13


def main(argv: list[str] | None = None) -> int:
    """The whole command line.

    Args:
        argv: The words after ``bpm``; by default those that the interpreter was given.

    Returns:
        The exit status.
    """
    try:
        open_standard_descriptors()
        refuse_borrowed_power()
        return dispatch(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return BROKEN_PIPE
    except Exception as error:
        return report(error)


def dispatch(argv: list[str]) -> int:
    """Finds the command, and runs it."""
    at = find_command(argv, COMMON_FLAGS)
    if at is None:
        return run_without_command(argv)
    name, rest = argv[at], [*argv[:at], *argv[at + 1 :]]
    if name == "help":
        return run_help(rest)
    if name not in COMMANDS:
        raise unknown_command(name)
    return run_command(name, rest)


def run_command(name: str, argv: list[str]) -> int:
    """Runs one command; what is wrong with its arguments is answered with its usage."""
    command = load_command(name)
    arguments = Arguments((*command.FLAGS, *COMMON_FLAGS))
    try:
        arguments.read(argv)
        if arguments.switch("help"):
            return run_help([name])
        if name not in OPEN_TO_ALL:
            require_root()
        if arguments.switch("version"):
            return print_version()
        return command.run(arguments)
    except UsageError as error:
        status = getattr(command, "WRONG_USAGE", 1)
        return refuse(describe_command_usage(name, command), error, status)


def run_without_command(argv: list[str]) -> int:
    """``bpm`` alone, or with flags only."""
    arguments = Arguments(COMMON_FLAGS)
    try:
        arguments.read(argv)
        if arguments.words:
            raise unknown_command(arguments.words[0])
        if arguments.switch("help"):
            return run_help([])
        require_root()
        if arguments.switch("version"):
            return print_version()
        raise UsageError("Exit code 1")
    except UsageError as error:
        return refuse(describe_usage(), error)


def run_help(argv: list[str]) -> int:
    """``bpm help``, ``bpm help COMMAND`` and ``--help``: on stdout, for anyone."""
    arguments = Arguments(COMMON_FLAGS)
    try:
        arguments.read(argv)
    except UsageError as error:
        return refuse(describe_usage(), error)
    name = arguments.words[0] if arguments.words else "help"
    if name == "help":
        text = f"{ABOUT}\n\n{describe_usage()}"
    elif name in COMMANDS:
        command = load_command(name)
        text = f"{(command.__doc__ or '').strip()}\n\n{describe_command_usage(name, command)}"
    else:
        raise unknown_command(name)
    write(STDOUT, text.encode())
    return 0


def print_version() -> int:
    """``--version``, which may stand anywhere."""
    from bpm import __version__

    print_line(__version__)
    return 0


def refuse_borrowed_power() -> None:
    """Refuses to run as a setuid or setgid program, or by file capabilities: its caller would use another's power."""
    borrowed = os.getuid() != os.geteuid() or os.getgid() != os.getegid()
    if not borrowed and os.geteuid() != 0:
        # Capabilities of the file's are none of the ids', but the kernel tells: getauxval(3).
        import ctypes

        borrowed = bool(ctypes.CDLL(None).getauxval(AT_SECURE))
    if borrowed:
        raise Failure("bpm must not be made setuid or setgid, nor be given file capabilities")


def require_root() -> None:
    """Refuses to go on as anyone else: everything that most commands look at is root's."""
    if os.geteuid() != 0:
        raise Failure(NOT_ROOT)


def unknown_command(name: str) -> Failure:
    """What to raise for a command that is none."""
    from bpm.cli.style import plain

    return Failure(f'unknown command "{plain(name)}" for "bpm"')


def refuse(usage: str, error: UsageError, status: int = 1) -> int:
    """Shows how it is done, and what was wrong, where that needs words."""
    write(STDERR, usage.encode())
    if str(error):
        complain(f"\nError: {error}")
    return status


def report(error: Exception) -> int:
    """Puts what a command raised into one line, and into an exit status."""
    if os.environ.get("BPM_DEBUG"):
        import traceback

        complain("".join(traceback.format_exception(error)).rstrip())
    if isinstance(error, Failure):
        if error.message:
            complain(f"Error: {error.message}")
        return error.status
    from bpm import BpmError

    if isinstance(error, (BpmError, OSError)):
        complain(f"Error: {describe(error)}")
        return 1
    complain(f"Error: {describe_bug(error)}")
    return INTERNAL_ERROR
