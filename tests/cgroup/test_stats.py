"""Reading what a cgroup has counted, in both versions' files."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from attrs import evolve

from bpm.cgroup import Group, Usage, read_usage
from tests.cgroup.hosts import MIB, Host, setting
from tests.cgroup.test_group import use

V1 = {
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    "memory/memory.usage_in_bytes": "1000\n",
    "memory/memory.max_usage_in_bytes": "2000\n",
    "memory/memory.limit_in_bytes": "3000\n",
    "memory/memory.failcnt": "3\n",
    "memory/memory.memsw.failcnt": "4\n",
    "pids/pids.current": "5\n",
    "pids/pids.peak": "6\n",
    "pids/pids.max": "8\n",
    "pids/pids.events": "max 9\n",
    "cpu/cpu.stat": "nr_periods 1\nnr_throttled 2\nthrottled_time 3\n",
    "cpu/cpuacct.usage": "11000\n",
}
V2 = {
    "one/memory.events": "low 1\nhigh 1\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n",
    "one/memory.events.local": "low 1\nhigh 6\nmax 7\noom 1\noom_kill 1\noom_group_kill 0\n",
    "one/memory.current": "1000\n",
    "one/memory.peak": "2000\n",
    "one/memory.max": "3000\n",
    "one/pids.current": "5\n",
    "one/pids.peak": "6\n",
    "one/pids.max": "8\n",
    "one/pids.events": "max 9\n",
    "one/memory.swap.events": "high 1\nmax 4\nfail 5\n",
    "one/cpu.stat": "usage_usec 11\nuser_usec 6\nsystem_usec 5\nnr_periods 1\nnr_throttled 2\nthrottled_usec 3\n",
}
ALL = Usage(
    oom_kills=2,
    memory_now=1000,
    memory_peak=2000,
    memory_limit=3000,
    memory_failures=7,
    swap_failures=4,
    processes_now=5,
    processes_peak=6,
    processes_limit=8,
    processes_failures=9,
    cpu_ns=11000,
    cpu_throttled=2,
)


def lay_out(top: Path, files: dict[str, str]) -> Group:
    """A group of directories with these files."""
    for name, content in files.items():
        directory, file = name.split("/")
        (top / f"bpm-{directory}").mkdir(exist_ok=True)
        (top / f"bpm-{directory}" / file).write_text(content)
    return Group.from_paths(sorted({f"{top}/bpm-{name.split('/')[0]}" for name in files}))


@pytest.mark.parametrize(("files", "more"), [(V1, {}), (V2, {"memory_slowed": 6})], ids=["v1", "v2"])
def test_both_versions_tell_the_same(tmp_path: Path, files: dict[str, str], more: dict[str, int]) -> None:
    """Either version's files give the same usage, but for what only one of them limits."""
    assert read_usage(lay_out(tmp_path, files)) == evolve(ALL, **more)


def test_hybrid(tmp_path: Path) -> None:
    """Beside v1 limits, a v2 directory that only keeps track tells the CPU time."""
    files = {name: content for name, content in V1.items() if not name.startswith("cpu/")}

    usage = read_usage(lay_out(tmp_path, {**files, "unified/cpu.stat": "usage_usec 11\nuser_usec 6\n"}))

    assert usage == evolve(ALL, cpu_throttled=None)


def test_no_limits(tmp_path: Path) -> None:
    """No limit is None, as v2 words it and as v1 does, with pages of 4 and of 64 KiB."""
    files = {
        "a/memory.max": "max\n",
        "b/memory.limit_in_bytes": "9223372036854771712\n",
        "c/memory.limit_in_bytes": "9223372036854710272\n",
        "d/pids.max": "max\n",
    }

    assert Usage() == read_usage(lay_out(tmp_path, files))


def test_what_is_missing_is_none(tmp_path: Path) -> None:
    """Files that an older kernel does not have leave their own fields None, and only these."""
    files = {name: content for name, content in V2.items() if not name.endswith((".peak", "cpu.stat"))}

    missing = {"memory_peak": None, "processes_peak": None, "cpu_ns": None, "cpu_throttled": None}
    assert evolve(ALL, memory_slowed=6, **missing) == read_usage(lay_out(tmp_path, files))


def test_a_group_that_is_gone() -> None:
    """A group that is gone has used nothing that anyone could tell."""
    assert Usage() == read_usage(Group.from_paths(["/sys/fs/cgroup/pids/bpm-never-made"]))


def test_this_host(host: Host) -> None:
    """On this host, memory, processes and CPU time of a real group are counted, and its limits read back."""
    settings = (*host.memory_limit(64 * MIB), setting("pids", "max", 9))
    group = host.create("memory", "pids", settings=settings)

    def work() -> None:
        use(16 * MIB)
        deadline = time.process_time() + 0.05
        while time.process_time() < deadline:
            pass

    host.wait(host.start(group, work))

    usage = read_usage(group)
    assert (
        usage.oom_kills,
        usage.memory_limit,
        usage.processes_now,
        usage.processes_limit,
        usage.processes_failures,
    ) == (0, 64 * MIB, 0, 9, 0)
    assert usage.memory_peak is None or 16 * MIB <= usage.memory_peak < 64 * MIB
    assert usage.memory_now is not None
    assert usage.memory_now < 64 * MIB
    assert usage.cpu_ns is None or 40_000_000 < usage.cpu_ns < 20_000_000_000
