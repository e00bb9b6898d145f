"""run() and popen(), as asyncio has them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from bpm.aio.process import Process
from bpm.sandbox import (
    Argument,
    Arguments,
    Completed,
    EnvMapping,
    Prepared,
    ProcessTimeout,
    Sandbox,
    Stream,
    Text,
    decode,
    encode,
    streams_of,
)

LIMIT = 2**16
"""How much of its output is kept for a reader who is behind, as asyncio has it."""


async def run(
    sandbox: Sandbox | Prepared,
    args: Arguments,
    *,
    stdin: Stream = None,
    input: str | bytes | None = None,
    stdout: Stream = None,
    stderr: Stream = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    env: EnvMapping | None = None,
    cwd: Argument | None = None,
    executable: Argument | None = None,
    text: bool | None = None,
    encoding: str | None = None,
    errors: str | None = None,
    universal_newlines: bool | None = None,
    shell: bool = False,
    pass_fds: Iterable[int] = (),
) -> Completed:
    """Run a program to its end. Cancelled, it kills the program, and is over when nothing is left of it.

    Args:
        sandbox: Where; a prepared one is faster.
        timeout: Seconds after which the program is killed, and ProcessTimeout raised.

    The other arguments, what is returned and what is raised: as in :meth:`bpm.Sandbox.run`.
    """
    stdin, stdout, stderr = streams_of(stdin, input, stdout, stderr, capture_output)
    as_text = Text.asked(text, encoding, errors, universal_newlines)
    data = None if input is None else encode(input, as_text)
    process = await popen(
        sandbox,
        args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        env=env,
        cwd=cwd,
        executable=executable,
        shell=shell,
        pass_fds=pass_fds,
    )
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        process.kill()

    timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, expire)
    try:
        async with process:
            out, err = await process.communicate(data)
    finally:
        if timer is not None:
            timer.cancel()
    if expired and process.ending.reason == "killed":
        raise ProcessTimeout(args, timeout or 0.0, out, err, process.ending)
    completed = Completed(args, process.ending, decode(out, as_text), decode(err, as_text))
    if check:
        completed.check_returncode()
    return completed


async def popen(
    sandbox: Sandbox | Prepared,
    args: Arguments,
    *,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    limit: int = LIMIT,
    env: EnvMapping | None = None,
    cwd: Argument | None = None,
    executable: Argument | None = None,
    shell: bool = False,
    pass_fds: Iterable[int] = (),
) -> Process:
    """Start a program.

    Args:
        sandbox: Where; a prepared one is faster.
        limit: Bytes that its StreamReaders keep before the program has to wait, and the longest line that they read.

    The other arguments, and what is raised: as in :meth:`bpm.Sandbox.popen`. The streams are bytes.

    Returns:
        The running program; an asynchronous context manager.
    """
    process = sandbox.popen(
        args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        bufsize=0,
        env=env,
        cwd=cwd,
        executable=executable,
        shell=shell,
        pass_fds=pass_fds,
    )
    return Process(process, limit)
