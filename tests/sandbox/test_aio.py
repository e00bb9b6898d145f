"""The same for asyncio, in its own loop and in uvloop's."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop

from bpm import Limits, Prepared, ProcessFailed, ProcessTimeout, ProgramNotFound, Sandbox, aio
from tests.sandbox.leavings import leavings
from tests.sandbox.test_endings import FORKS, GREEDY

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

PIPE = subprocess.PIPE
PIPE_SIZE = 65536  # pipe(7)


def make_eager_loop() -> asyncio.AbstractEventLoop:
    """One whose tasks run as soon as they are made."""
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = make_eager_loop


@pytest.fixture(scope="module", autouse=True)
def _loops_made() -> None:
    """uvloop's first loop makes a pipe for the whole process."""
    for make in LOOPS.values():
        make().close()


@pytest.fixture(params=LOOPS)
def loop(request: pytest.FixtureRequest) -> Iterator[asyncio.AbstractEventLoop]:
    """A new loop, closed after the test."""
    loop = LOOPS[request.param]()
    yield loop
    loop.close()


@pytest.fixture
def run(loop: asyncio.AbstractEventLoop) -> Any:
    """Run a coroutine to its end."""
    return loop.run_until_complete


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
    """Two hundred wait together, in one thread."""

    async def main() -> tuple[set[int], float, int]:
        started = time.monotonic()
        tasks = [asyncio.create_task(aio.run(prepared, ["sleep", "1"])) for _ in range(200)]
        await asyncio.sleep(0.5)
        threads = threading.active_count()
        done = await asyncio.gather(*tasks)
        return {one.returncode for one in done}, time.monotonic() - started, threads

    codes, seconds, threads = run(main())

    assert ({0}, 1) == (codes, threads)
    assert seconds < 20


def test_cancelled_it_kills_and_reaps(run: Any, prepared: Prepared) -> None:
    """When the await is over, nothing is left; also when it is cancelled again meanwhile, or by a timeout."""

    async def main() -> list[str]:
        ended = []
        before = leavings()
        for cancels in (1, 3):
            task = asyncio.create_task(aio.run(prepared, ["sleep", "93"], capture_output=True))
            await asyncio.sleep(0.1)
            for _ in range(cancels):
                task.cancel()
                await asyncio.sleep(0)
            with pytest.raises(asyncio.CancelledError):
                await task
            assert before == leavings()
            ended.append("cancelled")
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(aio.run(prepared, ["sleep", "93"]), 0.1)
        assert before == leavings()
        return ended

    assert ["cancelled", "cancelled"] == run(main())


@pytest.mark.parametrize(
    "script", ["cat; cat >&2", "exec <&-; sleep 93", "head -c 1000000 /dev/zero; sleep 93", "exit 3"]
)
def test_cancelled_after_any_turn_of_the_loop(run: Any, prepared: Prepared, script: str) -> None:
    """Wherever it waits: nothing is left of a program that reads all, reads nothing, writes much, or ends at once."""
    data = b"x" * (2 * PIPE_SIZE)

    async def main() -> int:
        before = leavings()
        for turns in range(40):
            task = asyncio.create_task(aio.run(prepared, ["sh", "-c", script], input=data, capture_output=True))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            done, _ = await asyncio.wait([task])
            assert task in done
            assert task.cancelled() or task.result().reason == "exited"
            assert before == leavings()
        return turns

    assert 39 == run(main())


def test_cancelled_waits_leave_it_alone(run: Any, prepared: Prepared) -> None:
    """Of wait() and communicate(), as with asyncio's; only the end of the block ends it."""

    async def main() -> tuple[int | None, str]:
        async with await aio.popen(prepared, ["sleep", "93"], stdout=PIPE) as process:
            for waiting in (process.wait(), process.communicate()):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(waiting, 0.05)
            state = process.returncode
            process.kill()
        return state, process.ending.reason

    assert (None, "killed") == run(main())


def test_a_block_left_by_an_error_kills(run: Any, prepared: Prepared) -> None:
    """And the error goes on."""

    async def main() -> None:
        async with await aio.popen(prepared, ["sleep", "93"]):
            raise LookupError("on the way")

    with pytest.raises(LookupError, match="on the way"):
        run(main())


def test_cancelled_while_it_waits_at_the_end_of_the_block(run: Any, prepared: Prepared) -> None:
    """It kills the program, and is over when that is gone."""

    async def main() -> tuple[bool, str]:
        started: list[aio.Process] = []

        async def block() -> None:
            async with await aio.popen(prepared, ["sleep", "93"]) as process:
                started.append(process)

        task = asyncio.create_task(block())
        await asyncio.sleep(0.1)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        started[0].kill()
        await asyncio.wait({task})
        return task in done and task.cancelled(), started[0].ending.reason

    assert (True, "killed") == run(main())


def test_a_full_pipe_that_nobody_reads(run: Any, prepared: Prepared) -> None:
    """It makes the program wait, not the loop; the end of the block closes it, as Popen's does."""

    async def main() -> tuple[int | None, int | None]:
        async with await aio.popen(prepared, ["cat", "/dev/zero"], stdout=PIPE) as process:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), 0.2)
            running = process.returncode
        return running, process.returncode

    assert (None, -signal.SIGPIPE) == run(main())


def test_a_pipe_full_of_input(run: Any, prepared: Prepared) -> None:
    """drain() waits for a program that does not read yet; the loop goes on, and all of it arrives."""

    async def main() -> tuple[bool, bytes | None]:
        script = "read line; wc -c"
        async with await aio.popen(prepared, ["sh", "-c", script], stdin=PIPE, stdout=PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b"go\n" + b"x" * 5_000_000)
            waited = process.stdin.transport.get_write_buffer_size() > PIPE_SIZE
            out, _ = await process.communicate()
        return waited, out

    assert (True, b"5000000\n") == run(main())


def test_the_output_before_the_end_is_read_after_it(run: Any, prepared: Prepared) -> None:
    """What is in the pipe when the program ends is not lost."""

    async def main() -> bytes:
        process = await aio.popen(prepared, ["echo", "last words"], stdout=PIPE)
        await process.wait()
        assert process.stdout is not None
        return await process.stdout.read()

    assert b"last words\n" == run(main())


def test_a_loop_that_is_closed_early(loop: asyncio.AbstractEventLoop, prepared: Prepared) -> None:
    """Whoever throws the program away is warned, and nothing is left of it."""

    async def main() -> aio.Process:
        return await aio.popen(prepared, ["sleep", "93"], stdout=PIPE)

    process = loop.run_until_complete(main())
    loop.close()
    thrown_away = [process]
    del process
    with pytest.warns(ResourceWarning, match="was not waited for"):
        thrown_away.clear()


def test_a_run_that_is_thrown_away(loop: asyncio.AbstractEventLoop, prepared: Prepared) -> None:
    """A coroutine that is closed in the middle, as interpreters do at their end, kills and reaps before it is gone."""
    before = leavings()

    async def main() -> Any:
        coroutine = aio.run(prepared, ["sleep", "93"], input=b"x" * 1_000_000, capture_output=True)
        coroutine.send(None)
        await asyncio.sleep(0.05)
        return coroutine

    coroutine = loop.run_until_complete(main())
    coroutine.close()
    tasks = asyncio.all_tasks(loop)
    loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))

    assert before == leavings()


def test_a_run_whose_loop_is_gone(prepared: Prepared) -> None:
    """The same when the loop was closed first."""
    code = """
import asyncio
from bpm import Sandbox, aio
loop = asyncio.new_event_loop()
task = loop.create_task(aio.run(Sandbox.system(), ["sleep", "93"]))
loop.run_until_complete(asyncio.sleep(0.1))
loop.close()
task.get_coro().close()
task._log_destroy_pending = False
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_interrupted_from_the_keyboard(prepared: Prepared) -> None:
    """asyncio.run() ends with KeyboardInterrupt, without a warning, and nothing is left."""
    code = """
import asyncio, os, signal, threading
from bpm import Sandbox, aio
async def main():
    asyncio.get_running_loop().call_later(0.2, os.kill, os.getpid(), signal.SIGINT)
    await aio.run(Sandbox.system(), ["sleep", "93"], capture_output=True)
try:
    asyncio.run(main())
except KeyboardInterrupt:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("interrupted")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True)

    assert (0, "interrupted\n", "") == (done.returncode, done.stdout, done.stderr)


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

    assert (True, 5_000_000) == (kept <= 2 * 1000 + PIPE_SIZE, size)


def test_a_program_that_does_not_read(run: Any, prepared: Prepared) -> None:
    """A broken pipe is told to who drains, and nothing to who communicates."""

    async def main() -> int | None:
        async with await aio.popen(prepared, ["sh", "-c", "exec <&-; sleep 0.3"], stdin=PIPE) as process:
            assert process.stdin is not None
            process.stdin.write(b"x" * 1_000_000)
            with pytest.raises(BrokenPipeError):
                await process.stdin.drain()
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


def test_memory_and_processes_that_are_used_up(run: Any, system: Sandbox) -> None:
    """Filling either ends in what it does for run()."""
    limited = system.replace(limits=Limits(memory="32M", processes=10))
    hog = run(aio.run(limited, ["python3", "-c", GREEDY]))
    forks = run(aio.run(limited, ["python3", "-c", FORKS], capture_output=True))

    assert ("oom", ("memory",)) == (hog.reason, hog.limits_hit)
    assert (b"8\n", "exited", ("processes",)) == (forks.stdout, forks.reason, forks.limits_hit)


def test_its_face_is_asyncios(run: Any, prepared: Prepared) -> None:
    """All that asyncio.subprocess.Process has; its streams are asyncio's."""
    names = {name for name in vars(asyncio.subprocess.Process) if not name.startswith("_")}

    async def main() -> tuple[bool, ...]:
        async with await aio.popen(prepared, ["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
            assert set() == (names | {"pid", "stdin", "stdout", "stderr"}) - set(dir(process))
            assert isinstance(process.stdin, asyncio.StreamWriter)
            process.stdin.writelines([b"a", b"b"])
            process.stdin.write_eof()
            await process.stdin.wait_closed()
            assert isinstance(process.stdout, asyncio.StreamReader)
            assert b"ab" == await process.stdout.read()
            return (
                process.stdout.at_eof(),
                process.stdin.is_closing(),
                isinstance(process.stderr, asyncio.StreamReader),
            )

    assert (True, True, True) == run(main())


def test_asyncio_is_not_imported_by_bpm() -> None:
    """It costs more than a spawn."""
    code = "import sys, bpm; bpm.Sandbox; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "False\n" == done.stdout
