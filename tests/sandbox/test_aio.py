"""The same for asyncio."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from bpm import Prepared, ProcessFailed, ProcessTimeout, ProgramNotFound, Sandbox, aio

pytestmark = pytest.mark.needs_root

PIPE = subprocess.PIPE


def loops() -> list[Any]:
    """asyncio's own loop, and uvloop's where it is installed."""
    try:
        import uvloop  # type: ignore[import-not-found]
    except ImportError:
        return [asyncio.new_event_loop]
    return [asyncio.new_event_loop, uvloop.new_event_loop]


@pytest.fixture(params=loops(), ids=lambda make: make.__module__.split(".")[0])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine to its end in a new loop."""

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        loop = request.param()
        try:
            return loop.run_until_complete(main)
        finally:
            loop.close()

    return run


def test_run_is_run(run: Any, system: Sandbox) -> None:
    """Input, output, status, text."""
    done = run(aio.run(system, ["sh", "-c", "cat; echo err >&2; exit 3"], input="in\n", capture_output=True, text=True))

    assert ("in\n", "err\n", 3, "exited") == (done.stdout, done.stderr, done.returncode, done.reason)


def test_much_of_everything(run: Any, prepared: Prepared) -> None:
    """Three million bytes in and out at once."""
    data = os.urandom(3_000_000)
    done = run(aio.run(prepared, ["cat"], input=data, capture_output=True))

    assert data == done.stdout


def test_its_errors_are_the_same(run: Any, prepared: Prepared) -> None:
    """For a missing program, a failed check, a timeout with what was written until then."""
    with pytest.raises(ProgramNotFound):
        run(aio.run(prepared, ["nothing"]))
    with pytest.raises(ProcessFailed):
        run(aio.run(prepared, ["false"], check=True))
    with pytest.raises(ProcessTimeout) as caught:
        run(aio.run(prepared, ["sh", "-c", "echo x; sleep 9"], capture_output=True, timeout=0.2))
    assert (b"x\n", True) == (caught.value.output, caught.value.ending is not None)


def test_many_at_once(run: Any, prepared: Prepared) -> None:
    """A hundred wait together, in one thread."""

    async def main() -> tuple[set[int], float, int]:
        started = time.monotonic()
        tasks = [asyncio.create_task(aio.run(prepared, ["sleep", "1"])) for _ in range(100)]
        await asyncio.sleep(0.5)
        threads = threading.active_count()
        done = await asyncio.gather(*tasks)
        return {one.returncode for one in done}, time.monotonic() - started, threads

    codes, seconds, threads = run(main())

    assert ({0}, 1) == (codes, threads)
    assert seconds < 10


def test_cancelled_it_kills_and_reaps(run: Any, prepared: Prepared) -> None:
    """When the await is over, nothing is left; also when it is cancelled twice, or in a timeout."""

    async def main() -> list[str]:
        ended = []
        for cancels in (1, 2):
            task = asyncio.create_task(aio.run(prepared, ["sleep", "93"], capture_output=True))
            await asyncio.sleep(0.1)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            try:
                await task
            except asyncio.CancelledError:
                ended.append("cancelled")
        try:
            await asyncio.wait_for(aio.run(prepared, ["sleep", "93"]), 0.1)
        except asyncio.TimeoutError:
            ended.append("timeout")
        return ended

    assert ["cancelled", "cancelled", "timeout"] == run(main())


def test_a_conversation(run: Any, system: Sandbox) -> None:
    """Line by line; leaving the block closes and waits."""

    async def main() -> tuple[list[bytes], int | None]:
        lines = []
        async with await aio.popen(
            system, ["sh", "-c", "while read x; do echo $x$x; done"], stdin=PIPE, stdout=PIPE
        ) as p:
            assert p.stdin is not None
            assert p.stdout is not None
            for word in (b"a\n", b"b\n"):
                p.stdin.write(word)
                await p.stdin.drain()
                lines.append(await p.stdout.readline())
        return lines, p.returncode

    assert ([b"aa\n", b"bb\n"], 0) == run(main())


def test_a_reader_who_is_behind_stops_the_writer(run: Any, prepared: Prepared) -> None:
    """No more is kept than twice the limit, and a pipe full; nothing is lost."""

    async def main() -> tuple[int, int]:
        async with await aio.popen(
            prepared, ["head", "-c", "5000000", "/dev/zero"], stdout=PIPE, limit=1000
        ) as process:
            await asyncio.sleep(0.3)
            assert process.stdout is not None
            kept = len(process.stdout._buffer)  # type: ignore[attr-defined]
            size = len(await process.stdout.read())
        return kept, size

    kept, size = run(main())

    assert (True, 5_000_000) == (kept <= 2 * 1000 + aio.CHUNK, size)


def test_a_program_that_does_not_read(run: Any, prepared: Prepared) -> None:
    """A broken pipe is told to who drains, and nothing to who communicates."""

    async def main() -> int | None:
        async with await aio.popen(prepared, ["sh", "-c", "exec <&-; sleep 0.3"], stdin=PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b"x" * 1_000_000)
            with pytest.raises(BrokenPipeError):
                await process.stdin.drain()
        return (await aio.run(prepared, ["true"], input=b"x" * 1_000_000)).returncode

    assert 0 == run(main())


def test_signals_and_endings(run: Any, prepared: Prepared) -> None:
    """As with popen()."""

    async def main() -> tuple[int, str]:
        process = await aio.popen(prepared, ["sleep", "92"])
        process.terminate()
        return await process.wait(), process.ending.reason

    assert (-15, "killed") == run(main())


def test_asyncio_is_not_imported_by_bpm() -> None:
    """It costs more than a spawn."""
    code = "import sys, bpm; bpm.Sandbox; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout
