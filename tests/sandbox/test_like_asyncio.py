"""The same scripts through asyncio's subprocesses and through bpm.aio: only what is in the manual's table differs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from bpm import Prepared, Sandbox, aio
from tests.manual import CHECKOUT

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

PIPE = subprocess.PIPE
BIG = b"x" * 1_000_000

Popen = Callable[..., Awaitable[Any]]
Script = Callable[[Popen], Awaitable[Any]]
SAME: dict[str, Script] = {}
DIFFERENT: dict[str, tuple[str, Script]] = {}


def same(script: Script) -> Script:
    SAME[script.__name__] = script
    return script


def differs(row: str) -> Callable[[Script], Script]:
    def keep(script: Script) -> Script:
        DIFFERENT[script.__name__] = row, script
        return script

    return keep


async def there(args: list[str], **keys: Any) -> Any:
    return await asyncio.create_subprocess_exec(*args, **keys)


async def outcome(script: Script, popen: Popen) -> Any:
    """What it comes to, or the builtin exception's name."""
    try:
        return await script(popen)
    except Exception as error:
        return next(
            kind.__name__ for kind in type(error).__mro__ if kind.__module__ in ("builtins", "asyncio.exceptions")
        )


@pytest.fixture(scope="module")
def prepared(_files_made: None) -> Iterator[Prepared]:
    """A sandbox whose user and environment are the caller's."""
    system = Sandbox.system(user=os.geteuid(), group=os.getegid(), env=dict(os.environ))
    with system.prepare() as prepared:
        yield prepared


def outcomes(prepared: Prepared, script: Script) -> tuple[Any, Any]:
    async def here(args: list[str], **keys: Any) -> Any:
        return await aio.popen(prepared, args, **keys)

    async def main() -> tuple[Any, Any]:
        return await outcome(script, there), await outcome(script, here)

    return asyncio.run(main())


@same
async def communicate_with_everything(popen: Popen) -> Any:
    process = await popen(["sh", "-c", "cat; echo e >&2; exit 4"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    return await process.communicate(BIG), process.returncode


@same
async def communicate_with_nothing(popen: Popen) -> Any:
    process = await popen(["true"])
    return await process.communicate(), process.stdin, process.stdout, process.stderr, process.returncode


@same
async def errors_among_the_output(popen: Popen) -> Any:
    process = await popen(["sh", "-c", "echo a; echo b >&2"], stdout=PIPE, stderr=subprocess.STDOUT)
    return await process.communicate(), process.stderr


@same
async def input_of_any_bytes(popen: Popen) -> Any:
    answers = []
    for data in (b"", b"x", bytearray(b"x"), memoryview(b"x")):
        process = await popen(["cat"], stdin=PIPE, stdout=PIPE)
        answers.append(await process.communicate(data))
    return answers


@same
async def input_that_nobody_reads(popen: Popen) -> Any:
    process = await popen(["true"], stdin=PIPE, stdout=PIPE)
    return await process.communicate(BIG), process.returncode


@same
async def communicate_after_a_line(popen: Popen) -> Any:
    process = await popen(["printf", "a\\nb\\n"], stdout=PIPE)
    return await process.stdout.readline(), await process.communicate(), await process.communicate()


@same
async def communicate_after_a_cancelled_one(popen: Popen) -> Any:
    process = await popen(["sh", "-c", "echo a; sleep 0.3; echo b"], stdout=PIPE)
    try:
        await asyncio.wait_for(process.communicate(), 0.1)
    except asyncio.TimeoutError:
        return await process.communicate()


@same
async def communicate_with_closed_input(popen: Popen) -> Any:
    process = await popen(["cat"], stdin=PIPE, stdout=PIPE)
    process.stdin.close()
    return await process.communicate(b"x")


@same
async def waiting(popen: Popen) -> Any:
    process = await popen(["sh", "-c", "exit 4"])
    return process.returncode, await process.wait(), await process.wait(), process.returncode


@same
async def signals(popen: Popen) -> Any:
    codes = []
    for end in ("terminate", "kill"):
        process = await popen(["sleep", "9"])
        getattr(process, end)()
        codes.append(await process.wait())
    return codes


@same
async def reading_in_every_way(popen: Popen) -> Any:
    process = await popen(["printf", "line\\n12345uptoxrest"], stdout=PIPE)
    out = process.stdout
    read = [await out.readline(), await out.readexactly(5), await out.readuntil(b"x"), await out.read(), out.at_eof()]
    return read, await process.wait()


@same
async def reading_too_much(popen: Popen) -> Any:
    process = await popen(["printf", "abc"], stdout=PIPE)
    await process.wait()
    return await process.stdout.readexactly(5)


@same
async def lines_longer_than_the_limit(popen: Popen) -> Any:
    process = await popen(["head", "-c", "5000", "/dev/zero"], stdout=PIPE, limit=100)
    try:
        return await process.stdout.readline()
    finally:
        await process.stdout.read()
        await process.wait()


@same
async def reading_line_by_line(popen: Popen) -> Any:
    process = await popen(["printf", "a\\nb"], stdout=PIPE)
    return [line async for line in process.stdout], await process.wait()


@same
async def closing_and_waiting_for_it(popen: Popen) -> Any:
    process = await popen(["cat"], stdin=PIPE)
    can = process.stdin.can_write_eof()
    process.stdin.close()
    await process.stdin.wait_closed()
    return can, process.stdin.is_closing(), await process.wait()


@same
async def a_program_that_is_called_otherwise(popen: Popen) -> Any:
    process = await popen(["other", "-c", "echo $0"], executable="/bin/sh", stdout=PIPE)
    return await process.communicate()


@same
async def input_after_the_end(popen: Popen) -> Any:
    process = await popen(["true"], stdin=PIPE)
    await process.wait()
    await asyncio.sleep(0.05)
    return process.stdin.is_closing()


@same
async def a_missing_program(popen: Popen) -> Any:
    return await popen(["no-such-program"])


@differs("asyncio: signals after the end")
async def signals_after_the_end(popen: Popen) -> Any:
    process = await popen(["true"])
    await process.wait()
    return process.kill()


@(differs("asyncio: `communicate()` without input") if sys.version_info < (3, 12) else same)
async def communicate_without_input(popen: Popen) -> Any:
    process = await popen(["cat"], stdin=PIPE, stdout=PIPE)
    try:
        return await asyncio.wait_for(process.communicate(), 1)
    finally:
        process.stdin.close()
        await process.wait()


@differs("asyncio: `drain()` of a broken pipe")
async def draining_a_broken_pipe(popen: Popen) -> Any:
    process = await popen(["sh", "-c", "exec <&-; echo; sleep 0.2"], stdin=PIPE, stdout=PIPE)
    await process.stdout.readline()
    try:
        for _ in range(3):
            process.stdin.write(BIG)
            await process.stdin.drain()
    finally:
        await process.wait()


@pytest.mark.parametrize("name", SAME)
def test_popen_answers_alike(prepared: Prepared, name: str) -> None:
    """The same values, or the same exception."""
    theirs, ours = outcomes(prepared, SAME[name])

    assert theirs == ours


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_still_does(prepared: Prepared, name: str) -> None:
    """Else its row of the manual's table would have to go."""
    row, script = DIFFERENT[name]
    theirs, ours = outcomes(prepared, script)

    assert theirs != ours
    assert f"\n| {row} | " in (CHECKOUT / "docs/library.md").read_text()
