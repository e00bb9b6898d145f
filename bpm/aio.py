"""Sandboxes in asyncio: the same calls, awaited.

Waiting is the loop's: it watches a pidfd and the pipes, as it watches sockets. No thread, no child watcher, no signal
handler; any loop that has ``add_reader()`` will do. (What is not awaited is the spawn itself, about a millisecond.)

    async def main():
        done = await bpm.aio.run(bpm.Sandbox.system(), ["uname", "-r"], capture_output=True, text=True)
        print(done.stdout)
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import IO, Any

from bpm.sandbox import Completed, Ending, Prepared, Process, ProcessTimeout, Sandbox
from bpm.sandbox.prepared import streams_of
from bpm.sandbox.words import Argument, Words

Stream = None | int | IO[Any]

LIMIT = 2**16
"""How much of its output is kept for a reader who is behind, as asyncio has it."""

CHUNK = 65536


async def run(
    sandbox: Sandbox | Prepared,
    args: Words | Argument,
    *,
    stdin: Stream = None,
    input: str | bytes | None = None,
    stdout: Stream = None,
    stderr: Stream = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Argument | None = None,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    shell: bool = False,
    pass_fds: Iterable[int] = (),
) -> Completed:
    """Run a program to its end. Cancelled, it kills the program and waits until nothing is left of it.

    Args:
        sandbox: Where.

    The other arguments, and what is raised: as in :meth:`bpm.Sandbox.run`.
    """
    stdin, stdout, stderr = streams_of(stdin, input, stdout, stderr, capture_output)
    as_text = bool(text or encoding or errors)
    data = _encode(input, encoding, errors, as_text)
    process = await popen(
        sandbox, args, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, shell=shell, pass_fds=pass_fds
    )
    timer = asyncio.get_running_loop().call_later(timeout, process.kill) if timeout is not None else None
    expired = False
    try:
        out, err = await process.communicate(data)
        expired = timer is not None and timer.when() <= asyncio.get_running_loop().time()
    finally:
        if timer is not None:
            timer.cancel()
        await process.end()
    if expired and process.ending.reason == "killed":
        raise ProcessTimeout(args, timeout or 0.0, out, err, process.ending)
    outputs = (_decode(out, encoding, errors), _decode(err, encoding, errors)) if as_text else (out, err)
    completed = Completed(args, process.ending, *outputs)
    if check:
        completed.check_returncode()
    return completed


async def popen(
    sandbox: Sandbox | Prepared,
    args: Words | Argument,
    *,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    limit: int = LIMIT,
    env: Mapping[str, str] | None = None,
    cwd: Argument | None = None,
    shell: bool = False,
    pass_fds: Iterable[int] = (),
) -> AsyncProcess:
    """Start a program.

    Args:
        sandbox: Where.
        limit: Of the StreamReaders, see asyncio.

    The other arguments, and what is raised: as in :meth:`bpm.Sandbox.popen`. The streams are bytes.

    Returns:
        The running program; an asynchronous context manager.
    """
    prepared = sandbox if isinstance(sandbox, Prepared) else Prepared(sandbox, once=True)
    try:
        process = prepared.launch(args, stdin, stdout, stderr, env=env, cwd=cwd, shell=shell, pass_fds=pass_fds)
    finally:
        if prepared is not sandbox:
            prepared.close()
    return AsyncProcess(process, limit)


class AsyncProcess:
    """A program that was started in a sandbox, for one loop. What has a name of asyncio's Process means the same.

    Args:
        process: The program, started and with nobody at its pipes.
        limit: Of the StreamReaders.
    """

    def __init__(self, process: Process, limit: int) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        ends = [process.end_of(number) for number in range(3)]
        self.stdin = Writer(self._loop, ends[0]) if ends[0] is not None else None
        self.stdout = _open_reader(self._loop, ends[1], limit)
        self.stderr = _open_reader(self._loop, ends[2], limit)
        self._pidfd = process.pidfd
        self._loop.add_reader(self._pidfd, self._look)

    @property
    def args(self) -> Any:
        """The program and its arguments."""
        return self._process.args

    @property
    def pid(self) -> int:
        """The pid of its init."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """As subprocess has it; None while it runs."""
        return self._process.returncode

    @property
    def ending(self) -> Ending:
        """How it ended.

        Raises:
            ValueError: It was not waited for.
        """
        return self._process.known_ending()

    async def wait(self) -> int:
        """Wait until it has ended: its returncode."""
        await asyncio.shield(self._ended)
        return self.ending.returncode

    async def communicate(self, input: bytes | None = None) -> tuple[bytes | None, bytes | None]:
        """Write its input, read its output to the end, and wait for it."""
        _, out, err, _ = await asyncio.gather(
            self._feed(input), _read(self.stdout), _read(self.stderr), asyncio.shield(self._ended)
        )
        return out, err

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; SIGKILL ends everything inside."""
        self._process.send_signal(sig)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Kill everything inside."""
        self._process.kill()

    async def end(self) -> None:
        """Kill it if it still runs, wait until nothing is left of it, close the pipes; also while being cancelled."""
        self.kill()
        cancelled = None
        while not self._ended.done():
            try:
                await asyncio.shield(self._ended)
            except asyncio.CancelledError as error:
                cancelled = error
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                stream.close()
        if cancelled is not None:
            raise cancelled

    async def __aenter__(self) -> AsyncProcess:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self.stdin is not None:
            self.stdin.close()
        try:
            if error is None:
                await self.wait()
        finally:
            await self.end()

    def __repr__(self) -> str:
        return f"<Async{repr(self._process)[1:]}"

    def _look(self) -> None:
        self._loop.remove_reader(self._pidfd)
        self._process.poll()
        if not self._ended.done():
            self._ended.set_result(None)

    async def _feed(self, data: bytes | None) -> None:
        if self.stdin is None:
            return
        if data:
            self.stdin.write(data)
            try:
                await self.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.stdin.close()


class Reader(asyncio.StreamReader):
    """A StreamReader of a pipe, which the loop watches for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes], limit: int) -> None:
        super().__init__(limit=limit, loop=loop)
        self._file = file
        self._watching = loop
        os.set_blocking(file.fileno(), False)
        # It is asked to pause by a StreamReader that has too much.
        self.set_transport(self)  # type: ignore[arg-type]
        self.resume_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._file.closed:
            self._watching.add_reader(self._file.fileno(), self._take)

    def pause_reading(self) -> None:
        """Read no more for now."""
        if not self._file.closed:
            self._watching.remove_reader(self._file.fileno())

    def close(self) -> None:
        """Read no more."""
        if not self._file.closed:
            self._watching.remove_reader(self._file.fileno())
            self._file.close()
            self.feed_eof()

    def _take(self) -> None:
        try:
            data = os.read(self._file.fileno(), CHUNK)
        except BlockingIOError:
            return
        if data:
            self.feed_data(data)
        else:
            self.close()


class Writer:
    """Writes to a pipe: what asyncio.StreamWriter has, as far as pipes have it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, file: IO[bytes]) -> None:
        self._loop = loop
        self._file = file
        self._left = bytearray()
        self._closing = False
        self._error: OSError | None = None
        self._drained: list[asyncio.Future[None]] = []
        os.set_blocking(file.fileno(), False)

    def write(self, data: bytes) -> None:
        """Write it, or keep it until the program reads."""
        if self._closing:
            raise RuntimeError("the pipe is closed")
        if self._error is None:
            self._left += data
            self._give()

    def writelines(self, data: Iterable[bytes]) -> None:
        """Write them one after the other."""
        self.write(b"".join(data))

    async def drain(self) -> None:
        """Wait until all that was written has been taken.

        Raises:
            BrokenPipeError: The program reads no more.
        """
        if self._left and self._error is None:
            future = self._loop.create_future()
            self._drained.append(future)
            await future
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Close the pipe, once all has been taken."""
        if not self._closing:
            self._closing = True
            if not self._left:
                self._shut()

    def is_closing(self) -> bool:
        """Whether it is closed, or about to be."""
        return self._closing

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        if not self._file.closed and self._error is None:
            await self.drain()

    def _give(self) -> None:
        try:
            while self._left:
                del self._left[: os.write(self._file.fileno(), self._left[:CHUNK])]
        except BlockingIOError:
            self._loop.add_writer(self._file.fileno(), self._give)
            return
        except OSError as error:
            self._error = error
            self._left.clear()
        self._loop.remove_writer(self._file.fileno())
        if self._closing or self._error is not None:
            self._shut()
        for future in self._drained:
            if not future.done():
                future.set_result(None)
        self._drained.clear()

    def _shut(self) -> None:
        if not self._file.closed:
            self._loop.remove_writer(self._file.fileno())
            self._file.close()


def _open_reader(loop: asyncio.AbstractEventLoop, file: IO[bytes] | None, limit: int) -> Reader | None:
    return None if file is None else Reader(loop, file, limit)


async def _read(reader: Reader | None) -> bytes | None:
    return None if reader is None else await reader.read()


def _encode(data: str | bytes | None, encoding: str | None, errors: str | None, as_text: bool) -> bytes | None:
    if isinstance(data, str):
        if not as_text:
            raise TypeError("a bytes-like object is required, not 'str'")
        buffer = io.BytesIO()
        file = io.TextIOWrapper(buffer, encoding or "locale", errors, newline="")
        file.write(data)
        file.flush()
        return buffer.getvalue()
    return data


def _decode(data: bytes | None, encoding: str | None, errors: str | None) -> str | None:
    return None if data is None else io.TextIOWrapper(io.BytesIO(data), encoding or "locale", errors).read()


__all__ = ["AsyncProcess", "Reader", "Writer", "popen", "run"]
