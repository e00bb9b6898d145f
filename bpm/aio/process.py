"""Process: a program that runs in a sandbox, with the face of asyncio.subprocess.Process."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import bpm.sandbox
from bpm.aio.pipes import PipeReader, open_writer
from bpm.sandbox import Ending, ProcessTimeout

LEFTOVER_GRACE = 10.0
"""How many seconds what is killed has to die, where nothing can be awaited any more."""


class Process:
    """A program that was started in a sandbox, for one loop. What has a name of asyncio's Process means the same.

    Made by :func:`bpm.aio.popen`. As an asynchronous context manager it leaves nothing behind: at the end of the block
    it closes the pipes and waits; where an error or a cancellation ends the block, it kills the program first.

    Args:
        process: The program, started, with unbuffered pipes that nobody uses.
        limit: Bytes that its StreamReaders keep, as of :func:`bpm.aio.popen`.

    Attributes:
        stdin: An asyncio.StreamWriter; None where it is no pipe.
        stdout, stderr: An asyncio.StreamReader each; None where it is no pipe.
    """

    def __init__(self, process: bpm.sandbox.Process, limit: int) -> None:
        self._process = process
        self._loop = loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._readers = [
            None if file is None else PipeReader(loop, file, limit) for file in (process.stdout, process.stderr)
        ]
        self.stdin: asyncio.StreamWriter | None = None if process.stdin is None else open_writer(loop, process.stdin)
        self.stdout: asyncio.StreamReader | None = self._readers[0]
        self.stderr: asyncio.StreamReader | None = self._readers[1]
        self._pidfd = process.pidfd
        loop.add_reader(self._pidfd, self._look)

    @property
    def args(self) -> Any:
        """The program and its arguments."""
        return self._process.args

    @property
    def pid(self) -> int:
        """The pid of its init, which stands for all that runs inside."""
        return self._process.pid

    @property
    def pidfd(self) -> int:
        """A pidfd of its init; -1 from when it has ended."""
        return self._process.pidfd

    @property
    def returncode(self) -> int | None:
        """As subprocess has it; None while it runs."""
        return self._process.returncode

    @property
    def ending(self) -> Ending:
        """How it ended.

        Raises:
            ValueError: It still runs.
        """
        if self._process.ending is None:
            raise ValueError("it still runs")
        return self._process.ending

    async def wait(self) -> int:
        """Wait until it has ended, however full its pipes are. Cancelled, it leaves the program alone.

        Returns:
            Its returncode.
        """
        await asyncio.shield(self._ended)
        return self.ending.returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """Write its input, read its output to the end, and wait for it. Cancelled, it leaves the program alone.

        Args:
            input: What it reads.

        Returns:
            What it wrote to its standard output and error; None where that was no pipe.
        """
        out, err, _ = await asyncio.gather(_read(self.stdout), _read(self.stderr), self._feed(input))
        await self.wait()
        return out, err

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; SIGKILL ends everything inside.

        Args:
            sig: Its number. To a program that has ended, nothing is sent.
        """
        self._process.send_signal(sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill everything inside."""
        self._process.kill()

    async def __aenter__(self) -> Process:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        if kind is GeneratorExit or self._loop.is_closed():
            self._end_at_once()
            return
        self._close_pipes()
        cancelled = None
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError as again:
                # Whoever cancels wants it gone; and gone it shall be when this is over.
                cancelled = again
                self.kill()
        if cancelled is not None:
            raise cancelled

    def __repr__(self) -> str:
        state = "running" if self.returncode is None else f"returncode {self.returncode}"
        return f"<bpm.aio.Process {self.args!r}: pid {self.pid}, {state}>"

    def _look(self) -> None:
        """The pidfd is readable: reap it. What it has written before is still read."""
        self._loop.remove_reader(self._pidfd)
        try:
            self._process.poll()
        finally:
            if self.stdin is not None:
                self.stdin.transport.abort()
            self._ended.set_result(None)

    async def _feed(self, data: bytes | None) -> None:
        if self.stdin is None:
            return
        try:
            if data:
                self.stdin.write(data)
                await self.stdin.drain()
            self.stdin.close()
            await self.stdin.wait_closed()
        except (BrokenPipeError, ConnectionResetError):
            pass  # It does not want all of it: see Popen.communicate().

    def _close_pipes(self) -> None:
        for reader in self._readers:
            if reader is not None:
                reader.close()
        if self.stdin is not None:
            self.stdin.close()

    def _end_at_once(self) -> None:
        """For a coroutine that is thrown away: it may not await any more."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self._pidfd)
        self._close_pipes()
        if self.stdin is not None:
            self.stdin.transport.abort()
        try:
            self._process.wait(LEFTOVER_GRACE)
        except ProcessTimeout:
            pass


async def _read(reader: asyncio.StreamReader | None) -> bytes | None:
    return None if reader is None else await reader.read()
