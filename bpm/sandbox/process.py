"""Process: a program that runs in a sandbox, with the face of subprocess.Popen."""

from __future__ import annotations

import signal
import time
import weakref
from types import TracebackType
from typing import IO, Any

from bpm.sandbox.command import Arguments
from bpm.sandbox.ending import Ending
from bpm.sandbox.exchange import Exchange
from bpm.sandbox.result import ProcessTimeout
from bpm.sandbox.running import Running
from bpm.sandbox.streams import End, Text, close_quietly, open_end


class Process:
    """A program that was started in a sandbox. What of it has a name of subprocess.Popen's means the same.

    Made by :meth:`bpm.Sandbox.popen` and :meth:`bpm.Prepared.popen`. Any thread may use it. One that is forgotten
    before it was waited for is killed, unless its sandbox has ``die_with_parent=False``.

    Args:
        args: The program and its arguments.
        running, text: What was made for it, and how its streams are text; for bpm itself.

    Attributes:
        stdin, stdout, stderr: Our ends of the pipes, as files; None where there is none.
    """

    def __init__(self, args: Arguments, running: Running, text: Text | None) -> None:
        self.args = args
        self.stdin: IO[Any] | None = None
        self.stdout: IO[Any] | None = None
        self.stderr: IO[Any] | None = None
        self._running = running
        self._text = text
        self._ends: list[End | None] = [None] * 3
        self._exchange: Exchange | None = None
        self._result: tuple[Any, Any] | None = None
        # Not a __del__(), through which every process would have to go, and an interruption then be lost. Called at
        # exit, too, so that the cgroups of what dies with us are not left behind.
        self._forget = weakref.finalize(self, running.forget)

    def open_files(self, bufsize: int) -> None:
        """Make files of our ends of the pipes; for bpm itself.

        Args:
            bufsize: As of :meth:`bpm.Sandbox.popen`.
        """
        plumbing = self._running.plumbing
        if plumbing is not None:
            self._ends = [End(plumbing, number) if plumbing.ours(number) >= 0 else None for number in range(3)]
            self.stdin, self.stdout, self.stderr = (end and open_end(end, bufsize, self._text) for end in self._ends)

    @property
    def pid(self) -> int:
        """The pid of its init, which stands for all that runs inside."""
        return self._running.pid

    @property
    def pidfd(self) -> int:
        """A pidfd of its init, which becomes readable when all of it has ended; -1 from when it was waited for."""
        return self._running.pidfd

    @property
    def returncode(self) -> int | None:
        """The exit status, or minus the signal's number; None until it was waited for."""
        return self._running.returncode

    @property
    def ending(self) -> Ending | None:
        """How it ended, and what it used; None until it was waited for."""
        return self._running.ending

    @property
    def cgroups(self) -> tuple[str, ...]:
        """The cgroup directories that it is in, one in each hierarchy that its limits need; none once it ended."""
        group = self._running.group
        return () if group is None else group.directories

    def poll(self) -> int | None:
        """Look whether it has ended: its returncode, or None."""
        return None if self._look(0) is None else self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended.

        Args:
            timeout: Seconds.

        Returns:
            Its returncode.

        Raises:
            ProcessTimeout: It still runs.
        """
        ending = self._look(timeout)
        if ending is None:
            raise ProcessTimeout(self.args, timeout or 0.0)
        return ending.returncode

    def communicate(self, input: str | bytes | None = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Write its input, read its output to the end, and wait for it.

        Args:
            input: What it reads; bytes, or text where text was asked for.
            timeout: Seconds. After the error all that was read is kept, and it may be called again.

        Returns:
            What it wrote to its standard output and error, None where that was no pipe.

        Raises:
            ProcessTimeout: It still runs. Its ``output`` is what was read, as bytes.
            TypeError: The input is text where bytes were asked for, or the other way round.
            ValueError: Input comes again, after an error.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if self._exchange is None:
            self._flush()
            self._exchange = Exchange(self._running, input, self._text, self._end_reached)
        elif input:
            raise ValueError("Cannot send input after starting communication")
        over = self._exchange.carry_on(deadline)
        if not (over and self._look(None if deadline is None else deadline - time.monotonic())):
            out, err = self._exchange.so_far()
            raise ProcessTimeout(self.args, timeout or 0.0, out or None, err or None)
        if self._result is None:
            out, err = self._exchange.result()
            self._result = self._whole(1, out), self._whole(2, err)
        return self._result

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; SIGKILL ends everything inside.

        Args:
            sig: Its number. To a program that has ended, nothing is sent.
        """
        self._running.send_signal(sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill everything inside."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipes and wait for it, as Popen does; where the block was left by an error, kill it first."""
        if error is not None:
            self.kill()
        self._close_end(1)
        self._close_end(2)
        try:
            if self.stdin is not None and error is None:
                self.stdin.close()  # What is still to be written, nobody may read any more.
        finally:
            self._close_end(0)
            self.wait()

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode {self.returncode}"
        return f"<Process {self.args!r}: pid {self.pid}, {state}>"

    def _look(self, timeout: float | None) -> Ending | None:
        ending = self._running.look(timeout)
        if ending is not None:
            self._forget.detach()
        return ending

    def _end_reached(self, number: int) -> None:
        """Of the pipe to that descriptor, in communicate(). A file that was read before may still hold some of it."""
        end = self._ends[number]
        if self._exchange is None or end is None or end.closed or not end.was_read:
            self._close_end(number)
        else:
            end.go_on_with(self._exchange.so_far()[number - 1] or b"")

    def _whole(self, number: int, read: Any) -> Any:
        """What is left to be read of that pipe, when all that communicate() has read is this."""
        file, end = (self.stdin, self.stdout, self.stderr)[number], self._ends[number]
        if file is None or end is None:
            return read
        if read is None:  # It was closed before.
            return "" if self._text else b""
        if not end.was_read or file.closed:
            return read
        with file:
            return file.read()

    def _flush(self) -> None:
        try:
            if self.stdin is not None and not self.stdin.closed:
                self.stdin.flush()
        except BrokenPipeError:
            pass

    def _close_end(self, number: int) -> None:
        close_quietly((self.stdin, self.stdout, self.stderr)[number])
        self._running.close_end(number)
