"""What run() returns, and the errors that tell how a program ended."""

from __future__ import annotations

import subprocess
from typing import Any

from bpm.errors import BpmError
from bpm.sandbox.ending import Ending, Reason, Resources


class Completed(subprocess.CompletedProcess[Any]):
    """What ``subprocess.run`` returns, and why the program ended and what it used.

    Args:
        args: The program and its arguments.
        ending: How it ended.
        stdout, stderr: What it wrote, where that was captured; else None.
    """

    def __init__(self, args: Any, ending: Ending, stdout: Any = None, stderr: Any = None) -> None:
        super().__init__(args, ending.returncode, stdout, stderr)
        self.ending = ending

    @property
    def reason(self) -> Reason:
        """``exited``, ``signalled``, ``oom``, ``timeout``, ``killed`` or ``unknown``, as in Ending."""
        return self.ending.reason

    @property
    def limits_hit(self) -> tuple[str, ...]:
        """The limits that it met, by their names in Limits."""
        return self.ending.limits_hit

    @property
    def resources(self) -> Resources:
        """What it used."""
        return self.ending.resources

    def check_returncode(self) -> None:
        """Do nothing where the exit status is 0.

        Raises:
            ProcessFailed: It is not.
        """
        if self.returncode:
            raise ProcessFailed(self.args, self.ending, self.stdout, self.stderr)

    def __repr__(self) -> str:
        return f"<Completed {self.args!r}: {self.ending.describe()}>"


class ProcessFailed(BpmError, subprocess.CalledProcessError):
    """A program ended with another status than 0, and ``check=True`` asked for an error.

    Args:
        cmd: The program and its arguments.
        ending: How it ended.
        output, stderr: What it wrote, where that was captured.
    """

    def __init__(self, cmd: Any, ending: Ending, output: Any = None, stderr: Any = None) -> None:
        subprocess.CalledProcessError.__init__(self, ending.returncode, cmd, output, stderr)
        self.ending = ending

    def __str__(self) -> str:
        return f"Command {self.cmd!r} failed: {self.ending.describe()}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cmd, self.ending, self.output, self.stderr)


class ProcessTimeout(BpmError, subprocess.TimeoutExpired):
    """A program took longer than ``timeout=`` allowed.

    Args:
        cmd: The program and its arguments.
        timeout: Seconds.
        output, stderr: What it had written until then, as bytes, where that was captured.
        ending: How it ended, where it was ended for it; None while it goes on.
    """

    def __init__(
        self, cmd: Any, timeout: float, output: Any = None, stderr: Any = None, ending: Ending | None = None
    ) -> None:
        subprocess.TimeoutExpired.__init__(self, cmd, timeout, output, stderr)
        self.ending = ending

    def __str__(self) -> str:
        text = f"Command {self.cmd!r} timed out after {self.timeout} seconds"
        return f"{text} ({self.ending.describe()})" if self.ending else text

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.cmd, self.timeout, self.output, self.stderr, self.ending)
