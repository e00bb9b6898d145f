"""Ctrl-C at any point: KeyboardInterrupt, and nothing is left over."""

from __future__ import annotations

import asyncio
import gc
import linecache
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import bpm
from bpm import Limits, Prepared, ProcessTimeout, Sandbox, aio
from tests.sandbox.leavings import leavings

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

SOURCES = str(Path(bpm.__file__).parent)
ALARMS = 150

PIPE = subprocess.PIPE


class Interrupter:
    """Sends SIGINT at one line of bpm's, counted from the start.

    Lines that begin with ``with`` are left out: on the way out of the block such a line comes once more, before
    __exit__() is called, where Python looks for no signals.
    """

    def __init__(self, line: int) -> None:
        self.left = line
        self.place = ""

    def trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(SOURCES) or is_finalizing(frame):
            return None
        if event == "line" and not is_with(frame.f_code.co_filename, frame.f_lineno):
            self.left -= 1
            if self.left == 0:
                self.place = f"{frame.f_code.co_filename}:{frame.f_lineno}"
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self.trace


def is_finalizing(frame: FrameType | None) -> bool:
    """Whether it runs for some __del__(), from which Python lets nothing come out."""
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def is_with(file: str, line: int) -> bool:
    return linecache.getline(file, line).lstrip().startswith("with ")


def interrupt_everywhere(work: Callable[[], object], stride: int) -> tuple[int, list[str]]:
    """Do it again and again, interrupted at a later line each time: how often, and where something was left."""
    work()
    gc.collect()
    before = leavings()
    left: list[str] = []
    for line in range(1, 100_000, stride):
        interrupter = Interrupter(line)
        try:
            sys.settrace(interrupter.trace)
            work()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if not interrupter.place:
            return line // stride, left
        if leavings() != before:
            gc.collect()
            if leavings() != before:
                left.append(f"{interrupter.place}: {leavings()}")
                before = leavings()
    raise AssertionError("it never ends")


def test_a_prepared_run(prepared: Prepared) -> None:
    """At every second line."""
    count, left = interrupt_everywhere(lambda: prepared.run(["cat"], input=b"x", capture_output=True), 2)

    assert (True, []) == (count > 100, left)


@pytest.mark.timeout(300)
def test_a_run_with_limits(system: Sandbox) -> None:
    """With cgroups made and removed; at every fifth line."""
    with system.replace(limits=Limits(memory="64M", processes=20)).prepare() as prepared:
        count, left = interrupt_everywhere(lambda: prepared.run(["true"]), 5)

    assert (True, []) == (count > 100, left)


@pytest.mark.timeout(300)
def test_a_whole_run(system: Sandbox) -> None:
    """From the sandbox to the result, preparing included; at every 37th line."""
    count, left = interrupt_everywhere(lambda: system.run(["true"], stdout=-1), 37)

    assert (True, []) == (count > 100, left)


def converse(prepared: Prepared) -> None:
    """All that popen() has."""
    with prepared.popen(
        ["sh", "-c", "read x; echo $x; cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("a line\n")
        process.stdin.flush()
        process.stdout.readline()
        with suppress(ProcessTimeout):
            process.communicate("more", timeout=0)
        process.communicate()


# What is forgotten on the way is killed with a warning.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_conversation(prepared: Prepared) -> None:
    """With popen(), its files, communicate() and the end of the block; at every third line."""
    count, left = interrupt_everywhere(lambda: converse(prepared), 3)

    assert (True, []) == (count > 100, left)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_asyncio(prepared: Prepared) -> None:
    """At every third line."""

    def work() -> None:
        asyncio.run(aio.run(prepared, ["cat"], input=b"x", capture_output=True))

    count, left = interrupt_everywhere(work, 3)

    assert (True, []) == (count > 100, left)


def test_an_ordinary_user(as_user: Any) -> None:
    """At every third line of a prepared run, and here and there in a whole one."""

    def work() -> tuple[int, list[str]]:
        system = Sandbox.system()
        with system.prepare() as prepared:
            count, left = interrupt_everywhere(lambda: prepared.run(["cat"], input=b"x", capture_output=True), 3)
        more, found = interrupt_everywhere(lambda: system.run(["true"], stdout=PIPE), 61)
        return count + more, left + found

    count, left = as_user(work)

    assert (True, []) == (count > 100, left)


@contextmanager
def alarm(after: float) -> Iterator[None]:
    """A SIGINT of which nobody knows when it comes."""

    def handle(number: int, frame: FrameType | None) -> None:
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, after)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_a_real_signal_at_any_time(prepared: Prepared) -> None:
    """Also while C runs."""
    assert threading.current_thread() is threading.main_thread()
    chance = random.Random(0)
    before = leavings()
    interrupted = 0
    for _ in range(ALARMS):
        try:
            with alarm(chance.uniform(0.0002, 0.006)):
                prepared.run(["true"], capture_output=True)
        except KeyboardInterrupt:
            interrupted += 1
    gc.collect()

    assert interrupted > ALARMS // 10
    assert before == leavings()
