"""What a process may use: resource limits of its own, and those of its cgroup.

One row a limit, with cgroup v1, v2 and systemd side by side. To add one: one row, and its key in ``config/models.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from bpm.config import Limits, parse_size
from bpm.errors import ConfigError, PlanError
from bpm.plan.asked import Asked
from bpm.plan.model import CgroupSetting, Rlimit, ScopeProperty

# page_counter(9) counts pages in a long, so more than this many bytes are no limit anyway.
MOST_BYTES = 2**63 - 1

# A page. Less than one is rounded down to a limit of nothing, and to set that, a kernel with one CPU may need for ever.
LEAST_BYTES = 4096

# PID_MAX_LIMIT of 64-bit kernels: pids.max answers EINVAL to any number above it, and no system has more.
MOST_PIDS = 4 * 1024 * 1024

# The kernel hands out processor time a period at a time, 100 ms unless told otherwise, and takes no quota below 1 ms.
CPU_PERIOD_US = 100_000
LEAST_CPU_US = 1_000

# NR_CPUS of 64-bit kernels goes no further, and quotas much larger are refused.
MOST_CPUS = 8192

RLIM_INFINITY = 2**64 - 1

# What systemd takes for no limit.
NO_LIMIT = 2**64 - 1


@frozen
class File:
    """A file of a cgroup, and what a limit writes there. ``write`` may raise ValueError: this file cannot hold it."""

    name: str
    write: Callable[[Limits], str]


@frozen
class Property:
    """A property of a systemd unit, and its value."""

    name: str
    value: Callable[[Limits], int]


@frozen
class CgroupLimit:
    """One row: a key of ``limits``, and what enforces it in each version of cgroups and in systemd.

    Args:
        key: The key below ``limits``.
        controller: The controller, called alike in both versions.
        asked: The limit as a number, None where there is no such key.
        v1, v2: The file; None where that version has no such limit.
        counts_swap: Whether the file exists only where the kernel accounts for swap.
        optional: Whether upstream starts where it does not exist.
        least: Less than this is no limit that anything could run in.
    """

    key: str
    controller: str
    asked: Callable[[Limits], int | None]
    v1: File | None
    v2: File | None
    systemd: Property
    counts_swap: bool = False
    optional: bool = False
    least: int = 0

    def file(self, version: int) -> File | None:
        """The file of that version of cgroups."""
        return self.v1 if version == 1 else self.v2


def memory(limits: Limits) -> int | None:
    """Bytes. 0 is no limit: so runc has it."""
    return None if limits.memory is None else parse_size(limits.memory) or None


def memory_alone(limits: Limits) -> int | None:
    """Bytes of memory and swap together, where nothing is said of swap."""
    return memory(limits) if limits.swap is None else None


def swap(limits: Limits) -> int | None:
    """Bytes."""
    return None if limits.swap is None else parse_size(limits.swap)


def memory_high(limits: Limits) -> int | None:
    """Bytes."""
    return None if limits.memory_high is None else parse_size(limits.memory_high)


def processes(limits: Limits) -> int | None:
    """Processes and threads."""
    return limits.processes


def cpu(limits: Limits) -> int | None:
    """Microseconds a period."""
    if limits.cpu is None:
        return None
    whole, _, fraction = limits.cpu.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 30):
        raise ValueError(f"expected a number of processors such as 2 or 0.5, got {limits.cpu!r}")
    microseconds: int = int(digits) * CPU_PERIOD_US // 10 ** len(fraction)
    if microseconds < LEAST_CPU_US:
        raise ValueError(f"the kernel gives no less than 0.01 of a processor, and this is {limits.cpu}")
    return min(microseconds, MOST_CPUS * CPU_PERIOD_US)


def cpu_weight(limits: Limits) -> int | None:
    """From 1 to 10,000."""
    return limits.cpu_weight


def size(read: Callable[[Limits], int | None]) -> Callable[[Limits], str]:
    """Bytes as text; the kernel rounds them down to pages."""
    return lambda limits: str(min(read(limits) or 0, MOST_BYTES))


def memory_and_swap(limits: Limits) -> str:
    """Their sum."""
    bytes_of_memory = memory(limits)
    if bytes_of_memory is None:
        raise ValueError("cgroup v1 limits swap only together with memory: limits.memory is missing")
    return str(min(bytes_of_memory + (swap(limits) or 0), MOST_BYTES))


def nothing(limits: Limits) -> str:
    """Nothing at all, whatever the limit."""
    return "0"


def count(limits: Limits) -> str:
    """A number of processes, or ``max``.

    0 is no limit either: so runc has it (until 1.4), and a container of no processes could never be one.
    """
    limit = limits.processes or 0
    return str(limit) if 0 < limit <= MOST_PIDS else "max"


def quota(limits: Limits) -> str:
    """Microseconds in each period, which is v1's own."""
    return str(cpu(limits))


def bandwidth(limits: Limits) -> str:
    """Microseconds, and the period."""
    return f"{cpu(limits)} {CPU_PERIOD_US}"


def shares(limits: Limits) -> str:
    """v1 has 1,024 for what is 100 in v2, and no less than 2."""
    return str(max(2, (limits.cpu_weight or 0) * 1024 // 100))


def weight(limits: Limits) -> str:
    """As it is."""
    return str(limits.cpu_weight)


def number(read: Callable[[Limits], int | None]) -> Callable[[Limits], int]:
    """A number as systemd takes it."""
    return lambda limits: min(read(limits) or 0, NO_LIMIT)


def tasks(limits: Limits) -> int:
    """A number of processes."""
    text = count(limits)
    return NO_LIMIT if text == "max" else int(text)


def cpu_per_second(limits: Limits) -> int:
    """Microseconds a second."""
    return (cpu(limits) or 0) * 1_000_000 // CPU_PERIOD_US


# Memory and swap are to stay below one figure together, if nothing is said of swap. v1 has a limit on their sum, memsw,
# which must never be below the one on memory alone, so that one is written first (a new cgroup's memsw is unlimited).
# v2 limits each for itself, so the sum is the figure when memory has all of it and swap none.
CGROUP_LIMITS = (
    CgroupLimit(
        "memory",
        "memory",
        memory,
        v1=File("memory.limit_in_bytes", size(memory)),
        v2=File("memory.max", size(memory)),
        systemd=Property("MemoryMax", number(memory)),
        least=LEAST_BYTES,
    ),
    CgroupLimit(
        "memory",
        "memory",
        memory_alone,
        v1=File("memory.memsw.limit_in_bytes", memory_and_swap),
        v2=File("memory.swap.max", nothing),
        systemd=Property("MemorySwapMax", number(swap)),
        counts_swap=True,
        optional=True,
    ),
    CgroupLimit(
        "swap",
        "memory",
        swap,
        v1=File("memory.memsw.limit_in_bytes", memory_and_swap),
        v2=File("memory.swap.max", size(swap)),
        systemd=Property("MemorySwapMax", number(swap)),
        counts_swap=True,
    ),
    CgroupLimit(
        "memory_high",
        "memory",
        memory_high,
        v1=None,
        v2=File("memory.high", size(memory_high)),
        systemd=Property("MemoryHigh", lambda limits: max(1, number(memory_high)(limits))),  # 0 is out of its range
    ),
    CgroupLimit(
        "processes",
        "pids",
        processes,
        v1=File("pids.max", count),
        v2=File("pids.max", count),
        systemd=Property("TasksMax", tasks),
    ),
    CgroupLimit(
        "cpu",
        "cpu",
        cpu,
        v1=File("cpu.cfs_quota_us", quota),
        v2=File("cpu.max", bandwidth),
        systemd=Property("CPUQuotaPerSecUSec", cpu_per_second),
    ),
    CgroupLimit(
        "cpu_weight",
        "cpu",
        cpu_weight,
        v1=File("cpu.shares", shares),
        v2=File("cpu.weight", weight),
        systemd=Property("CPUWeight", number(cpu_weight)),
    ),
)

# Those of each process for itself: the key below ``limits``, the name that setrlimit(2) has, and by how much the hard
# limit is above the soft one. Processor time at the hard limit kills without a word (setrlimit(2)); one second before,
# there is SIGXCPU, by which one can tell.
RLIMITS = (
    ("open_files", "RLIMIT_NOFILE", 0),
    ("core_file_size", "RLIMIT_CORE", 0),
    ("cpu_time", "RLIMIT_CPU", 1),
    ("file_size", "RLIMIT_FSIZE", 0),
)


def plan_rlimits(asked: Asked) -> tuple[Rlimit, ...]:
    """The resource limits, soft and hard alike.

    Raises:
        PlanError: A limit is no number of 64 bits.
    """
    return tuple(_rlimits(asked))


def _rlimits(asked: Asked) -> Iterator[Rlimit]:
    for key, name, above in RLIMITS:
        limit = getattr(asked.process.limits, key)
        if limit is None:
            continue
        because = asked.key(f"limits.{key}")
        if not -1 <= limit <= RLIM_INFINITY:
            raise PlanError(because, f"not a limit that the kernel can hold: {limit}")
        value = -1 if limit == RLIM_INFINITY else limit
        yield Rlimit(name, value, value if value < 0 else value + above, because)


@frozen
class PlannedLimit:
    """One row in numbers: what is written, and what systemd is told."""

    setting: CgroupSetting
    property: ScopeProperty


def plan_limits(asked: Asked) -> tuple[PlannedLimit, ...]:
    """The limits of the cgroup.

    Raises:
        PlanError: A limit is no limit, or this host cannot enforce it.
    """
    return tuple(_limits(asked))


def _limits(asked: Asked) -> Iterator[PlannedLimit]:
    limits = asked.process.limits
    for row in CGROUP_LIMITS:
        because = asked.key(f"limits.{row.key}")
        try:
            limit = row.asked(limits)
            if limit is None:
                continue
            if row.least and limit < row.least:
                raise ValueError(f"the kernel counts in pages of {row.least} bytes, and {limit} are less than one")
            home = asked.facts.home(row.controller)
            if home is None:
                if row.controller == "pids" and limit <= 0:
                    continue
                raise ValueError(f"this host has no cgroup controller {row.controller} to enforce it with")
            file = row.file(home.version)
            if file is None:
                raise ValueError(f"cgroup v{home.version}, which has {row.controller} here, knows no such limit")
            missing = row.counts_swap and not asked.facts.swap_accounting
            if missing and not row.optional:
                raise ValueError("the kernel does not account for swap here: boot with swapaccount=1")
            setting = CgroupSetting(row.controller, file.name, file.write(limits), because, missing)
            yield PlannedLimit(setting, ScopeProperty(row.systemd.name, row.systemd.value(limits), because))
        except ConfigError as error:
            raise PlanError(because, "; ".join(problem.reason for problem in error.problems)) from error
        except ValueError as error:
            raise PlanError(because, str(error)) from None
