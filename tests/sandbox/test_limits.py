"""Memory with swap, and memory that is slowed down: what the kernel is told, and what becomes of who wants more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpm import Limits, PlanError, Sandbox
from bpm.cgroup import observe_hierarchies
from tests.effort import SLOW_HOST
from tests.native.callers import check, libc

pytestmark = pytest.mark.needs_root

MEMORY = next((controller for controller in observe_hierarchies()[0] if controller.name == "memory"), None)

needs_v2 = pytest.mark.skipif(MEMORY is None or MEMORY.version != 2, reason="memory is no controller of cgroup v2 here")


@pytest.fixture
def _swap() -> Iterator[None]:
    """Swap, for as long as the test lasts: on the disk that machines of tests/vm have for it."""
    if SLOW_HOST not in os.environ:
        pytest.skip("not a machine of tests/vm: no swap is turned on but in those")
    check(libc.swapon(b"/dev/ubda", 0))
    yield
    check(libc.swapoff(b"/dev/ubda"))


needs_swap = pytest.mark.usefixtures("_swap")

# Little by little: a kernel that is asked for all at once may give up before swap is full.
EAT = """
import time
memory = []
for _ in range({}):
    memory.append(bytearray(1 << 20))
    time.sleep(0.002)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(int(status["VmSwap"].split()[0]) << 10)
"""


def eat(system: Sandbox, size: int, **limits: str) -> tuple[int, str, tuple[str, ...], int]:
    """How it ends to use so many MiB: the returncode, the reason, the limits met, and how many bytes were in swap."""
    command = ["/usr/bin/python3", "-c", EAT.format(size)]
    done = system.replace(limits=Limits(**limits)).run(command, capture_output=True)
    return done.returncode, done.reason, done.limits_hit, int(done.stdout or 0)


def told(system: Sandbox, **limits: str) -> dict[str, str]:
    """The files of its cgroup that hold limits on memory."""
    with system.replace(limits=Limits(**limits)).popen(["sleep", "9"]) as process:
        files = [path for directory in process.cgroups for path in Path(directory).glob("memory.*")]
        texts = {path.name: path.read_text().strip() for path in files if path.name in FILES}
        process.kill()
    return texts


FILES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.max", "memory.swap.max", "memory.high")


def test_swap_is_on_top_of_memory(system: Sandbox) -> None:
    """On v2 it is a limit of its own, on v1 one on the sum."""
    try:
        files = told(system, memory="32M", swap="16M")
    except PlanError as error:
        pytest.skip(str(error))

    assert files in (
        {"memory.limit_in_bytes": str(32 << 20), "memory.memsw.limit_in_bytes": str(48 << 20)},
        {"memory.max": str(32 << 20), "memory.swap.max": str(16 << 20), "memory.high": "max"},
    )


@needs_swap
def test_what_memory_does_not_hold_is_swapped(system: Sandbox) -> None:
    """Up to the limit; no limit was met then."""
    returncode, reason, hit, swapped = eat(system, 48, memory="32M", swap="64M")

    assert (0, "exited", ()) == (returncode, reason, hit)
    assert 10 << 20 < swapped < 64 << 20


@needs_swap
def test_more_than_memory_and_swap(system: Sandbox) -> None:
    """Both limits are met, and the program is killed."""
    assert (-9, "oom", ("memory", "swap"), 0) == eat(system, 100, memory="32M", swap="16M")


@needs_swap
def test_a_limit_on_memory_alone_leaves_no_swap(system: Sandbox) -> None:
    """What is limited is then both together."""
    assert (-9, "oom", ("memory",), 0) == eat(system, 48, memory="32M")


@needs_v2
def test_memory_high_is_no_limit(system: Sandbox) -> None:
    """It stands beside the limit."""
    files = told(system, memory="32M", memory_high="24M")

    assert (str(32 << 20), str(24 << 20)) == (files["memory.max"], files["memory.high"])


@needs_v2
@needs_swap
def test_above_memory_high_a_program_goes_on(system: Sandbox) -> None:
    """What it has beyond that is swapped, and that it was slowed down for it is told."""
    returncode, reason, hit, swapped = eat(system, 40, memory_high="24M")

    assert (0, "exited", ("memory_high",)) == (returncode, reason, hit)
    assert swapped > 10 << 20


@pytest.mark.skipif(MEMORY is None or MEMORY.version != 1, reason="memory is no controller of cgroup v1 here")
def test_memory_high_on_v1_is_refused(system: Sandbox) -> None:
    """By its name, before anything is made."""
    with pytest.raises(PlanError, match=r"cgroup v1.* knows no such limit \(limits\.memory_high\)"):
        system.replace(limits=Limits(memory_high="24M")).plan()
