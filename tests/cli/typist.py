"""Someone who sits at a terminal, types, and reads what appears."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time


class Typist:
    """A command that runs at a terminal of its own, as its foreground. A context manager: at its end, hung up.

    Args:
        argv: The command.
        environment: Its whole environment.
        rows, columns: The terminal's size.
    """

    def __init__(self, argv: list[str], environment: dict[str, str], rows: int = 24, columns: int = 80) -> None:
        self.screen, self.terminal = pty.openpty()
        self.resize(rows, columns)
        self.seen = b""
        self.modes = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(
            argv, env=environment, stdin=self.terminal, stdout=self.terminal, stderr=self.terminal, preexec_fn=_sit_down
        )

    def __enter__(self) -> Typist:
        return self

    def __exit__(self, *error: object) -> None:
        for fd in (self.screen, self.terminal):
            if fd >= 0:
                os.close(fd)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def resize(self, rows: int, columns: int) -> None:
        """Make the window as large."""
        fcntl.ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.screen, text.encode())

    def read_until(self, pattern: str, timeout: float = 15) -> re.Match[str]:
        """Read until this has appeared since the last time."""
        end = time.monotonic() + timeout
        while True:
            text = self.seen.decode(errors="replace")
            found = re.search(pattern, text, re.MULTILINE)
            if found:
                self.seen = text[found.end() :].encode()
                return found
            left = end - time.monotonic()
            assert left > 0, f"no {pattern!r} within {timeout} seconds in {text!r}"
            if select.select([self.screen], [], [], left)[0]:
                self.seen += os.read(self.screen, 65536)

    def ask(self, command: str, answer: str) -> re.Match[str]:
        """Type a command, and read what it answers. What is typed is shown, so it must not match itself."""
        self.type(command + "\n")
        return self.read_until(answer)

    def wait(self, timeout: float = 15) -> int:
        """Read on to the command's end; its status."""
        end = time.monotonic() + timeout
        while self.process.poll() is None:
            assert time.monotonic() < end, f"not ended: {self.seen!r}"
            if select.select([self.screen], [], [], 0.02)[0]:
                self.seen += os.read(self.screen, 65536)
        return self.process.returncode

    def hang_up(self) -> None:
        """Close the window."""
        for fd in (self.screen, self.terminal):
            os.close(fd)
        self.screen = self.terminal = -1


def _sit_down() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
