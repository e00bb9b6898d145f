"""Limits bite, and say so."""

from __future__ import annotations

import signal

import pytest

from tests.integration.conftest import PROBE, Probing

pytestmark = pytest.mark.needs_root


def test_the_memory_limit_ends_who_passes_it(probing: Probing) -> None:
    """A process that takes twice what it may is killed, and its record says that it was for memory."""
    record = probing.run("eat:64", limits={"memory": "32M"}).record

    assert (signal.SIGKILL, True, None) == (record.signal, record.oom_killed, record.exit_code)


def test_below_the_memory_limit_all_is_well(probing: Probing) -> None:
    """What fits, fits; and no kill is recorded."""
    told = probing.run("eat:16", limits={"memory": "64M"})

    assert (16, 0, False) == (told.seen.attempts["eat:16"], told.record.exit_code, told.record.oom_killed)


def test_a_child_that_passes_the_memory_limit_is_recorded_too(probing: Probing) -> None:
    """The program that goes on after the kernel killed its child is recorded as having met the limit."""
    script = f"{PROBE} eat:64; exit 3"
    record = probing.run("-c", script, executable="/bin/sh", limits={"memory": "32M"}).record

    assert (3, True) == (record.exit_code, record.oom_killed)


def test_files_in_memory_count_for_the_memory_limit(probing: Probing) -> None:
    """/dev/shm is no way around it."""
    script = "exec dd if=/dev/zero of=/dev/shm/x bs=1048576 count=64 2>/dev/null"
    record = probing.run("-c", script, executable="/bin/sh", limits={"memory": "32M"}).record

    assert (signal.SIGKILL, True) == (record.signal, record.oom_killed)


def test_the_processes_limit_holds_for_all_together(probing: Probing) -> None:
    """Init and the program count: of 10, eight are left."""
    assert {"forks:50": 8} == probing.see("forks:50", limits={"processes": 10}).attempts


def test_without_a_processes_limit_there_is_none(probing: Probing) -> None:
    """Fifty more are no matter."""
    assert {"forks:50": 50} == probing.see("forks:50").attempts


def test_open_files_are_limited(probing: Probing) -> None:
    """RLIMIT_NOFILE, soft and hard."""
    seen = probing.see(limits={"open_files": 123})

    assert (123, 123) == seen.rlimits[7]
