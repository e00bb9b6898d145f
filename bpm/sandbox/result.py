"""How a program in a sandbox ended, as a value and as the errors that tell of it."""

from __future__ import annotations

import signal
import subprocess
from typing import Any

from attrs import frozen

from bpm.errors import BpmError

EXITED = "exited"
SIGNALLED = "signalled"
OOM = "oom"
TIMEOUT = "timeout"
KILLED = "killed"
UNKNOWN = "unknown"


@frozen
class Resources:
    """What a program has used.

    Args:
        wall: Seconds from its start to its end.
        user, system: Seconds of processor time, of it and of all its descendants that were waited for.
        max_rss: The largest resident size that any one of them had, in bytes; None where all were killed at once, since
            nobody was left then to count it.
        memory_peak: The most memory that all together had, in bytes; None where it was in no cgroup that counts it.
        cpu: Seconds of processor time of all together, waited for or not; None where no cgroup counted it.
        processes_peak: The most processes and threads at a time; None where no cgroup counted them.
    """

    wall: float
    user: float
    system: float
    max_rss: int | None
    memory_peak: int | None = None
    cpu: float | None = None
    processes_peak: int | None = None


@frozen
class Ending:
    """How a program ended.

    Args:
        returncode: As subprocess has it: the exit status, or minus the signal's number.
        reason: ``exited``; ``signalled`` by something else; ``oom`` when its memory limit was met; ``timeout`` when its
            time was up; ``killed`` by a signal that we sent; ``unknown`` when nothing tells.
        limits_hit: The limits that it met, by their names in Limits: ``memory``, ``processes``, ``wall_time``,
            ``cpu_time``, ``file_size``. Not all end a program.
        core_dumped: Whether it left a core dump.
        resources: What it used.
    """

    returncode: int
    reason: str
    limits_hit: tuple[str, ...]
    core_dumped: bool
    resources: Resources

    def describe(self) -> str:
        """One sentence: how it ended, which limits it met, and what it used."""
        used = self.resources
        words = [_how(self)]
        if self.limits_hit:
            words.append("limits met: " + ", ".join(self.limits_hit))
        words.append(f"{used.wall:.3f} s, of which {used.user + used.system:.3f} s of processor time")
        peak = used.memory_peak if used.memory_peak is not None else used.max_rss
        if peak is not None:
            words.append(f"at most {peak / 2**20:.1f} MiB of memory")
        return "; ".join(words)


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
    def reason(self) -> str:
        """Why it ended: ``exited``, ``signalled``, ``oom``, ``timeout``, ``killed`` or ``unknown``; see Ending."""
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
        ending: How it ended.
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


def _how(ending: Ending) -> str:
    if ending.returncode >= 0:
        return {EXITED: f"exit status {ending.returncode}"}.get(ending.reason, f"nobody knows how ({ending.reason})")
    name = signal_name(-ending.returncode)
    return {
        OOM: f"killed for its memory limit (oom, {name})",
        TIMEOUT: f"killed when its time was up (timeout, {name})",
        KILLED: f"killed by us ({name})",
    }.get(ending.reason, f"died of {name}" + (" and dumped core" if ending.core_dumped else ""))


def signal_name(number: int) -> str:
    """A signal's name, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
