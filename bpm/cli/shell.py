"""Opens a shell in a running container: in its namespaces and cgroup, as its user, with its limits and its filter.

It has a terminal of its own, or pipes where stdin is no terminal, and none of the caller's descriptors. The exit status
is the shell's. When the container ends, so does the shell.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bpm.cli.failure import Failure
from bpm.cli.flags import Arguments
from bpm.cli.job import PROCESS, failure_of, find_process
from bpm.cli.output import STDERR, STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Channel, Container, Visitor

WORDS = "JOB"
FLAGS = (PROCESS,)

SHELL = "/bin/bash"
STDIN = 0

# How many seconds a shell whose caller goes away has to notice.
GRACE = 2.0


class Ended(Exception):
    """A signal told bpm to end."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def run(arguments: Arguments) -> int:
    """`bpm shell`."""
    process = find_process(arguments)
    from bpm import BpmError, NotRunning

    container = process.running()
    try:
        channel = container.open_channel(terminal=os.isatty(STDIN))
        try:
            visitor = enter(container, channel)
        finally:
            channel.close_theirs()
    except NotRunning:
        raise
    except (BpmError, OSError) as error:
        raise failure_of("failed to open a shell", error) from error
    finally:
        container.close()
    with visitor:
        return attend(visitor, channel)


def enter(container: Container, channel: Channel) -> Visitor:
    """Runs the shell. Its terminal is what ours is, from its first moment."""
    if channel.terminal:
        from bpm.cli.terminal import copy_modes, copy_size

        copy_modes(STDIN, channel.theirs[0])
        copy_size(STDIN, channel.theirs[0])
    kind = {"TERM": os.environ["TERM"]} if "TERM" in os.environ else {}
    try:
        return container.enter([SHELL], channel.theirs, kind, terminal=channel.terminal)
    except BaseException:
        channel.close_ours()
        raise


def attend(visitor: Visitor, channel: Channel) -> int:
    """Passes on what is typed and what is shown until the shell ends; its status."""
    try:
        try:
            with ending():
                talk(visitor, channel)
        finally:
            # Nothing can be said to it any more: what it left running in its terminal is sent SIGHUP.
            channel.close_ours()
    except BaseException as error:
        dismiss(visitor)
        if isinstance(error, Ended):
            return 128 + error.number
        raise
    status = dismiss(visitor)
    if status is None:
        raise Failure("it is not known how the shell ended")
    return status


def talk(visitor: Visitor, channel: Channel) -> None:
    """The conversation itself."""
    from bpm.cli.relay import Inlet, Outlet, relay

    talking, hearing, complaining = channel.ours
    inlet = Inlet(STDIN, talking)
    if channel.terminal:
        from bpm.cli.terminal import raw

        with raw(STDIN, talking):
            relay(inlet, [Outlet(hearing, STDOUT)], visitor.pidfd)
        return
    outlets = [Outlet(hearing, STDOUT), Outlet(complaining, STDERR)]
    if not relay(inlet, outlets, visitor.pidfd):
        # It reads the end of its input, and may have much to say yet. (The number stays taken until both are closed.)
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(null, talking, inheritable=False)
        os.close(null)
        relay(None, outlets, visitor.pidfd)


def dismiss(visitor: Visitor) -> int | None:
    """The shell's status. One that has not ended is told that nobody is there any more, and may ignore it."""
    from bpm import NotRunning

    if visitor.running:
        try:
            visitor.signal(signal.SIGHUP)
            return visitor.wait(GRACE).status
        except (NotRunning, TimeoutError):
            return 128 + signal.SIGHUP
    return visitor.wait().status


@contextmanager
def ending() -> Iterator[None]:
    """Meanwhile, signals that end bpm end the conversation first, so that the terminal is given back as it was."""

    def end(number: int, frame: FrameType | None) -> None:
        raise Ended(number)

    before = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
