"""What a container's cgroup has counted: memory, processes, CPU time, and the limits that were hit."""

from __future__ import annotations

from contextlib import ExitStack

from attrs import frozen

from bpm.cgroup.directory import opened, read_text
from bpm.cgroup.group import Group


@frozen
class Usage:
    """What the kernel has counted for one cgroup; None where this host does not tell, or has no such limit.

    Args:
        oom_kills: How many of its processes an out-of-memory kill has ended.
        memory_now, memory_peak: Bytes. The peak needs v1, or 5.19.
        memory_limit: Bytes.
        memory_failures: How often it was about to go over its memory limit. On v1, recent kernels (6.18, not 6.1) miss
            those that the limit on memory and swap together has stopped; ``oom_kills`` counts in any case.
        processes_now, processes_peak: Processes and threads alike. The peak needs 6.1.
        processes_limit: The most it may have.
        processes_failures: How often that kept one from being made.
        cpu_ns: CPU time used, in nanoseconds.
        memory_stalled_ns: How long some of it has waited for memory, where v2 and the kernel's PSI count that.
    """

    oom_kills: int | None = None
    memory_now: int | None = None
    memory_peak: int | None = None
    memory_limit: int | None = None
    memory_failures: int | None = None
    processes_now: int | None = None
    processes_peak: int | None = None
    processes_limit: int | None = None
    processes_failures: int | None = None
    cpu_ns: int | None = None
    memory_stalled_ns: int | None = None


_Source = tuple[str, str, int]

# Each field: the file of v1 and the one of v2 (of several, the sum); the key, where the file is a list of keys and
# numbers; the factor to our unit. Where v1 limits memory and swap to one figure, it is memsw that notices. A kill
# counts wherever below it happens; that the limit was met, only here (memory.events.local, since 5.2).
_SOURCES: tuple[tuple[str, _Source, _Source], ...] = (
    # field               v1                                             v2
    ("oom_kills", ("memory.oom_control", "oom_kill", 1), ("memory.events", "oom_kill", 1)),
    ("memory_now", ("memory.usage_in_bytes", "", 1), ("memory.current", "", 1)),
    ("memory_peak", ("memory.max_usage_in_bytes", "", 1), ("memory.peak", "", 1)),
    ("memory_limit", ("memory.limit_in_bytes", "", 1), ("memory.max", "", 1)),
    ("memory_failures", ("memory.failcnt memory.memsw.failcnt", "", 1), ("memory.events.local", "max", 1)),
    ("processes_now", ("pids.current", "", 1), ("pids.current", "", 1)),
    ("processes_peak", ("pids.peak", "", 1), ("pids.peak", "", 1)),
    ("processes_limit", ("pids.max", "", 1), ("pids.max", "", 1)),
    ("processes_failures", ("pids.events", "max", 1), ("pids.events", "max", 1)),
    ("cpu_ns", ("cpuacct.usage", "", 1), ("cpu.stat", "usage_usec", 1000)),
    ("memory_stalled_ns", ("", "", 1), ("memory.pressure", "total", 1000)),  # its first line: "some"
)

# v1 says "no limit" as the largest number of whole pages below 2**63 bytes, with pages of up to 64 KiB.
_NO_LIMIT = 2**63 - 2**16


def read_usage(group: Group) -> Usage:
    """What has been counted for this group until now; for one that is gone, nothing.

    Raises:
        OSError: A file cannot be read.
    """
    with ExitStack() as stack:
        directories = []
        for path in group.directories:
            try:
                directories.append(stack.enter_context(opened(path)))
            except FileNotFoundError:
                pass
        texts: dict[tuple[int, str], str] = {}
        return Usage(**{name: _first_value(directories, sources, texts) for name, *sources in _SOURCES})


def _first_value(directories: list[int], sources: list[_Source], texts: dict[tuple[int, str], str]) -> int | None:
    for names, key, factor in sources:
        for directory in directories:
            found = [_value(_text(directory, name, texts), key) for name in names.split()]
            values = [value for value in found if value is not None]
            if values:
                return sum(values) * factor
    return None


def _text(directory: int, name: str, texts: dict[tuple[int, str], str]) -> str:
    """A file's text, read once."""
    if (directory, name) not in texts:
        texts[directory, name] = read_text(directory, name) or ""
    return texts[directory, name]


def _value(text: str, key: str) -> int | None:
    """The number after a key, or the only one; None where it is not there, or says that there is no limit."""
    words = text.replace("=", " ").split()
    if key:
        words = words[words.index(key) + 1 :] if key in words else []
    if not words or not words[0].isdigit() or int(words[0]) >= _NO_LIMIT:
        return None
    return int(words[0])
