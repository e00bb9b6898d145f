"""What a container's cgroup has counted: memory, processes, CPU time, and the limits that were hit."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from attrs import frozen

from bpm.cgroup.directory import opened, read_text
from bpm.cgroup.group import Group

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.plan import Cgroup, CgroupDirectory


@frozen
class Usage:
    """What the kernel has counted for one cgroup; None where this host does not tell, or has no such limit.

    Args:
        oom_kills: How many of its processes an out-of-memory kill has ended.
        memory_now, memory_peak: Bytes. The peak needs v1, or 5.19.
        memory_limit: Bytes.
        memory_failures: How often it was about to go over its memory limit. On v1, recent kernels (6.18, not 6.1) miss
            those that the limit on memory and swap together has stopped; ``oom_kills`` counts in any case.
        memory_slowed: How often it went over memory_high, and was slowed down for it; only v2 has that.
        swap_failures: How often it was about to go over its limit on swap. On v1 that is one on the sum with memory,
            and recent kernels (6.18, not 6.1) do not count this.
        processes_now, processes_peak: Processes and threads alike. The peak needs 6.1.
        processes_limit: The most it may have.
        processes_failures: How often that kept one from being made.
        cpu_ns: CPU time used, in nanoseconds.
        cpu_throttled: In how many periods of 100 ms it had used up its limit on CPU time, and waited for the next.
        memory_stalled_ns: How long some of it has waited for memory, where v2 and the kernel's PSI count that.
    """

    oom_kills: int | None = None
    memory_now: int | None = None
    memory_peak: int | None = None
    memory_limit: int | None = None
    memory_failures: int | None = None
    memory_slowed: int | None = None
    swap_failures: int | None = None
    processes_now: int | None = None
    processes_peak: int | None = None
    processes_limit: int | None = None
    processes_failures: int | None = None
    cpu_ns: int | None = None
    cpu_throttled: int | None = None
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
    ("memory_slowed", ("", "", 1), ("memory.events.local", "high", 1)),
    ("swap_failures", ("memory.memsw.failcnt", "", 1), ("memory.swap.events", "max", 1)),
    ("processes_now", ("pids.current", "", 1), ("pids.current", "", 1)),
    ("processes_peak", ("pids.peak", "", 1), ("pids.peak", "", 1)),
    ("processes_limit", ("pids.max", "", 1), ("pids.max", "", 1)),
    ("processes_failures", ("pids.events", "max", 1), ("pids.events", "max", 1)),
    ("cpu_ns", ("cpuacct.usage", "", 1), ("cpu.stat", "usage_usec", 1000)),
    ("cpu_throttled", ("cpu.stat", "nr_throttled", 1), ("cpu.stat", "nr_throttled", 1)),
    ("memory_stalled_ns", ("", "", 1), ("memory.pressure", "total", 1000)),  # its first line: "some"
)

# Those that are told of a container that has ended; their files are few enough for the native layer.
_AT_THE_END = (
    *("oom_kills", "memory_peak", "memory_failures", "processes_peak", "processes_failures"),
    *("cpu_ns", "memory_stalled_ns"),
)

# v1 says "no limit" as the largest number of whole pages below 2**63 bytes, with pages of up to 64 KiB.
_NO_LIMIT = 2**63 - 2**16


def read_usage(group: Group) -> Usage:
    """What has been counted for this group until now; for one that is gone, nothing.

    Raises:
        OSError: A file cannot be read.
    """
    with ExitStack() as stack:
        readers = []
        for path in group.directories:
            try:
                readers.append(_reader(stack.enter_context(opened(path))))
            except FileNotFoundError:
                pass
        return _usage(readers)


@contextmanager
def opened_counters(cgroup: Cgroup) -> Iterator[dict[str, int]]:
    """Those files of a cgroup that tell how its container ended, by name, as descriptors for the ``with`` block.

    A cgroup of systemd's is gone as soon as it is empty, before anybody outside could read them. Where a container
    holds them, its last process still can, and :func:`parse_usage` tells what it read. What cannot be opened is left
    out.
    """
    with ExitStack() as stack:
        held = []
        for wanted in cgroup.directories:
            try:
                held.append((wanted, stack.enter_context(opened(wanted.path))))
            except OSError:
                continue
        found: dict[str, int] = {}
        for name, *sources in _SOURCES:
            if name in _AT_THE_END:
                # As _usage() has it: v1 is asked first.
                found |= next(filter(None, (_open_all(held, *source, stack) for source in enumerate(sources, 1))), {})
        yield found


def _open_all(
    held: Sequence[tuple[CgroupDirectory, int]], version: int, source: _Source, stack: ExitStack
) -> dict[str, int]:
    """The files of one source that exist, where this version has them."""
    found: dict[str, int] = {}
    for wanted, directory in held:
        for name in source[0].split():
            # On v1, those of one controller are in its own hierarchy.
            if wanted.version == version and (version == 2 or name.partition(".")[0] in wanted.controllers):
                try:
                    found[name] = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
                except OSError:
                    continue  # An older kernel; or one that cannot count this (EOPNOTSUPP).
                stack.callback(os.close, found[name])
    return found


def parse_usage(texts: Mapping[str, str]) -> Usage:
    """What files of a cgroup say, by their names."""
    return _usage([lambda name: texts.get(name, "")])


def _usage(readers: Sequence[Callable[[str], str]]) -> Usage:
    """What is counted, by functions that each tell the text of one directory's files."""
    return Usage(**{name: _first_value(readers, sources) for name, *sources in _SOURCES})


def _first_value(readers: Sequence[Callable[[str], str]], sources: Sequence[_Source]) -> int | None:
    for names, key, factor in sources:
        for read in readers:
            found = [_value(read(name), key) for name in names.split()]
            values = [value for value in found if value is not None]
            if values:
                return sum(values) * factor
    return None


def _reader(directory: int) -> Callable[[str], str]:
    """Tells the text of a file in it, which is read once."""
    texts: dict[str, str] = {}

    def read(name: str) -> str:
        if name not in texts:
            texts[name] = read_text(directory, name) or ""
        return texts[name]

    return read


def _value(text: str, key: str) -> int | None:
    """The number after a key, or the only one; None where it is not there, or says that there is no limit."""
    words = text.replace("=", " ").split()
    if key:
        words = words[words.index(key) + 1 :] if key in words else []
    if not words or not words[0].isdigit() or int(words[0]) >= _NO_LIMIT:
        return None
    return int(words[0])
