"""The limits that an operator sets, in the cgroup, in the rlimits, and felt."""

from __future__ import annotations

import pytest

from tests.acceptance.jobs import PROBE, Jobs, cgroup_file
from tests.inside import wait_for

pytestmark = pytest.mark.needs_root

RLIMIT_CORE, RLIMIT_NOFILE = 4, 7


def test_open_files_and_core_file_size_are_rlimits(jobs: Jobs) -> None:
    """open_files 2444 and core_file_size 1073741824 are the soft and the hard limit."""
    seen = jobs.see(limits={"open_files": 2444, "core_file_size": 1073741824})

    assert ((2444, 2444), (1073741824, 1073741824)) == (seen.rlimits[RLIMIT_NOFILE], seen.rlimits[RLIMIT_CORE])


def test_memory_and_processes_are_the_cgroups(jobs: Jobs) -> None:
    """memory 743M and 503 processes stand in the container's cgroup."""
    jobs.define("/bin/sleep", "100", limits={"memory": "743M", "processes": 503})
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()

    memory = cgroup_file(pid, "memory", "memory.limit_in_bytes", "memory.max")
    processes = cgroup_file(pid, "pids", "pids.max", "pids.max")

    assert (str(743 << 20), "503") == (memory, processes)


def test_memory_and_swap_have_the_same_figure(jobs: Jobs) -> None:
    """What the memory limit leaves over cannot be had as swap, where the kernel counts that."""
    jobs.define("/bin/sleep", "100", limits={"memory": "743M"})
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()
    try:
        limit = cgroup_file(pid, "memory", "memory.memsw.limit_in_bytes", "memory.swap.max")
    except FileNotFoundError:
        pytest.skip("this kernel does not count swap")

    assert limit in (str(743 << 20), "0")


def test_the_504th_process_is_refused(jobs: Jobs) -> None:
    """With a limit of 503 processes, init and the program among them, the fork of one more fails."""
    assert {"forks:510": 501} == jobs.see("forks:510", limits={"processes": 503}).attempts


def test_a_fork_bomb_stays_inside(jobs: Jobs) -> None:
    """A program that forks without end has as many processes as it may, and stop ends them all."""
    bomb = "bomb() { bomb & bomb & sleep 1000; }; bomb 2>/dev/null & exec sleep 1000"
    jobs.define("/bin/bash", "-c", bomb, limits={"processes": 40, "memory": "64M"})
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()

    def count() -> int:
        return int(cgroup_file(pid, "pids", "pids.current", "pids.current"))

    assert wait_for(lambda: count() == 40)
    inside = [count() for _ in range(50)]
    jobs.must("stop", "web")

    assert max(inside) <= 40
    assert "web - stopped" == " ".join(jobs.must("list").splitlines()[1].split())


def test_children_count_for_the_memory_limit(jobs: Jobs) -> None:
    """Two children that would fit alone do not fit together: one is killed, and list --long says for what."""
    script = f"{PROBE} eat:40 sleep:2000 >/dev/null & {PROBE} eat:40 sleep:2000 >/dev/null; wait; exit 3"
    jobs.define("/bin/sh", "-c", script, limits={"memory": "64M"})
    jobs.must("start", "web")

    listing = wait_for(lambda: [line for line in jobs.must("list", "-l").splitlines() if " failed " in line])

    assert ["web", "-", "failed"] == listing[0].split()[:3]
    assert ", out of memory" in listing[0]
