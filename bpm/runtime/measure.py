"""What a running container uses: as its cgroup counts it, and as /proc does where no controller counts."""

from __future__ import annotations

import os

from attrs import evolve

from bpm.cgroup import Group, Usage, read_usage


def measure(group: Group) -> Usage:
    """What has been counted for it until now.

    Without a memory controller, memory is the sum of the resident sizes of its processes, which counts what they share
    more than once; without one for processor time, that of processes whose parent is gone is missing.
    """
    usage = read_usage(group)
    if None not in (usage.memory_now, usage.processes_now, usage.cpu_ns):
        return usage
    memory = threads = ticks = 0
    for pid in group.processes():
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                # Field 2, in parentheses, is a name of the program's own choosing.
                fields = file.read().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        # proc_pid_stat(5): 14 to 17 are its own time and that of its children, 20 its threads, 24 its resident pages.
        ticks += sum(int(field) for field in fields[14 - 3 : 18 - 3])
        threads += int(fields[20 - 3])
        memory += int(fields[24 - 3]) * os.sysconf("SC_PAGE_SIZE")
    return evolve(
        usage,
        memory_now=memory if usage.memory_now is None else usage.memory_now,
        processes_now=threads if usage.processes_now is None else usage.processes_now,
        cpu_ns=ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK") if usage.cpu_ns is None else usage.cpu_ns,
    )
