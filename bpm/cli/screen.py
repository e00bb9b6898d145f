"""A terminal's whole screen, for as long as a command shows something live; afterwards it is as it was before."""

from __future__ import annotations

import os
import select
import signal
import termios
import tty
from types import FrameType, TracebackType

from bpm.cli.output import write

# What every terminal of the last thirty years understands: ECMA-48, and xterm's second screen.
ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
HOME, END_OF_LINE, END_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Screen:
    """A context manager.

    Args:
        keyboard: The descriptor that is read from.
        display: The one that is written to.
    """

    def __init__(self, keyboard: int, display: int) -> None:
        self.ended = 0
        self._keyboard = keyboard
        self._display = display
        self._modes = termios.tcgetattr(keyboard)
        self._before: dict[int, object] = {}
        self._awake: tuple[int, int] = (-1, -1)

    @property
    def status(self) -> int:
        """The exit status: 0 for who was interrupted, since that is one way to leave."""
        return 0 if self.ended in (0, signal.SIGINT) else 128 + self.ended

    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        try:
            found = os.get_terminal_size(self._display)
        except OSError:
            return 24, 80
        return found.lines or 24, found.columns or 80

    def draw(self, lines: list[str]) -> None:
        """Shows these lines, and nothing else."""
        text = HOME + f"{END_OF_LINE}\r\n".join(lines) + END_OF_LINE + END_OF_SCREEN
        write(self._display, text.encode("utf-8", "surrogateescape"))

    def read_key(self, timeout: float) -> str:
        """The next key within so many seconds; empty when there was none, or the window has changed."""
        ready = select.select([self._keyboard, self._awake[0]], [], [], timeout)[0]
        if self._awake[0] in ready:
            os.read(self._awake[0], 4096)
            return ""
        if self._keyboard in ready:
            try:
                key = os.read(self._keyboard, 1)
            except OSError:
                key = b""
            if not key:
                self.ended = self.ended or signal.SIGHUP  # Nobody sits there any more.
            return key.decode("ascii", "replace")
        return ""

    def __enter__(self) -> Screen:
        self._awake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._awake[1])
        for number in ENDING:
            self._before[number] = signal.signal(number, self._end)
        self._before[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda number, frame: None)
        self._before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._pause)
        self._take()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._give_back()
        except OSError:
            pass  # It was hung up.
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in self._before.items():
                signal.signal(number, handler)  # type: ignore[arg-type]
            for fd in self._awake:
                os.close(fd)

    def _take(self) -> None:
        tty.setcbreak(self._keyboard, termios.TCSADRAIN)
        write(self._display, ENTER)

    def _give_back(self) -> None:
        write(self._display, LEAVE)
        try:
            termios.tcsetattr(self._keyboard, termios.TCSADRAIN, self._modes)
        except termios.error:
            pass

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.ended = number

    def _pause(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: the shell gets the terminal as it was, and we take it again when we go on."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._pause)
        self._take()
