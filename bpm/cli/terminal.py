"""The caller's terminal, while a program elsewhere has one of its own: raw, and as large as the other."""

from __future__ import annotations

import fcntl
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# struct winsize of ioctl_tty(2): four shorts.
SIZE = 8


def copy_size(ours: int, theirs: int) -> None:
    """Makes their terminal as large as ours; its foreground is sent SIGWINCH where that is a change."""
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, fcntl.ioctl(ours, termios.TIOCGWINSZ, bytes(SIZE)))
    except OSError:
        pass  # One of them has been hung up; reading will tell.


def copy_modes(ours: int, theirs: int) -> None:
    """Gives their terminal the modes of ours: special characters, UTF-8."""
    termios.tcsetattr(theirs, termios.TCSANOW, termios.tcgetattr(ours))


@contextmanager
def raw(ours: int, theirs: int) -> Iterator[None]:
    """Meanwhile our terminal passes on every key as it is, and changes of its size to theirs."""
    modes = termios.tcgetattr(ours)

    def resize(number: int, frame: FrameType | None) -> None:
        copy_size(ours, theirs)

    def resume(number: int, frame: FrameType | None) -> None:
        # Whoever stopped us had the terminal meanwhile.
        tty.setraw(ours, termios.TCSADRAIN)
        copy_size(ours, theirs)

    before = {
        signal.SIGWINCH: signal.signal(signal.SIGWINCH, resize),
        signal.SIGCONT: signal.signal(signal.SIGCONT, resume),
    }
    try:
        tty.setraw(ours, termios.TCSADRAIN)
        copy_size(ours, theirs)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        try:
            termios.tcsetattr(ours, termios.TCSADRAIN, modes)
        except termios.error:
            pass  # It was hung up.
