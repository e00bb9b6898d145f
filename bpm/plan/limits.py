"""What a process may use: resource limits of its own, and those of its cgroup.

One row a limit, with cgroup v1 and v2 side by side. To add one: one row, and its key in ``config/models.py``.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from hashlib import sha256

from attrs import frozen

from bpm.config import Limits, parse_size
from bpm.errors import ConfigError, PlanError
from bpm.layout import DEFAULT_ROOT
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.facts import Controller, HostFacts
from bpm.plan.model import Cgroup, CgroupDirectory, CgroupSetting, Rlimit

# page_counter(9) counts pages in a long, so more than this many bytes are no limit anyway.
MOST_BYTES = 2**63 - 1

# PID_MAX_LIMIT of 64-bit kernels: pids.max answers EINVAL to any number above it, and no system has more.
MOST_PIDS = 4 * 1024 * 1024

RLIM_INFINITY = 2**64 - 1

LONGEST_NAME = 200


@frozen
class File:
    """A file of a cgroup, and how a limit is written there."""

    name: str
    write: Callable[[int], str]


@frozen
class CgroupLimit:
    """One row: a key of ``limits``, and the file that enforces it in each version of cgroups.

    Args:
        key: The key below ``limits``.
        controller: The controller, called alike in both versions.
        read: The limit as a number, None where there is no such key.
        counts_swap: Whether the file exists only where the kernel accounts for swap.
    """

    key: str
    controller: str
    read: Callable[[Limits], int | None]
    v1: File
    v2: File
    counts_swap: bool = False

    def file(self, version: int) -> File:
        """The file of that version of cgroups."""
        return self.v1 if version == 1 else self.v2


def memory(limits: Limits) -> int | None:
    """Bytes, memory and swap together. 0 is no limit: so runc has it."""
    return None if limits.memory is None else parse_size(limits.memory) or None


def processes(limits: Limits) -> int | None:
    """Processes and threads."""
    return limits.processes


def size(limit: int) -> str:
    """Bytes, which the kernel rounds down to pages."""
    return str(min(limit, MOST_BYTES))


def none(limit: int) -> str:
    """Nothing at all, whatever the limit."""
    return "0"


def count(limit: int) -> str:
    """A number of processes, or ``max``.

    0 is no limit either: so runc has it (until 1.4), and a container of no processes could never be one.
    """
    return str(limit) if 0 < limit <= MOST_PIDS else "max"


# Memory and swap are to stay below one figure together. v1 has a limit on their sum, memsw, which must never be below
# the one on memory alone, so that one is written first (a new cgroup's memsw is unlimited). v2 limits each for
# itself, so the sum is the figure when memory has all of it and swap none.
CGROUP_LIMITS = (
    CgroupLimit("memory", "memory", memory, v1=File("memory.limit_in_bytes", size), v2=File("memory.max", size)),
    CgroupLimit(
        "memory",
        "memory",
        memory,
        v1=File("memory.memsw.limit_in_bytes", size),
        v2=File("memory.swap.max", none),
        counts_swap=True,
    ),
    CgroupLimit("processes", "pids", processes, v1=File("pids.max", count), v2=File("pids.max", count)),
)

# Those of each process for itself: the key below ``limits``, and the name that setrlimit(2) has.
RLIMITS = (("open_files", "RLIMIT_NOFILE"), ("core_file_size", "RLIMIT_CORE"))


def plan_rlimits(asked: Asked) -> tuple[Rlimit, ...]:
    """The resource limits, soft and hard alike.

    Raises:
        PlanError: A limit is no number of 64 bits.
    """
    return tuple(_rlimits(asked))


def _rlimits(asked: Asked) -> Iterator[Rlimit]:
    for key, name in RLIMITS:
        limit = getattr(asked.process.limits, key)
        if limit is None:
            continue
        because = asked.key(f"limits.{key}")
        if not -1 <= limit <= RLIM_INFINITY:
            raise PlanError(because, f"not a limit that the kernel can hold: {limit}")
        value = -1 if limit == RLIM_INFINITY else limit
        yield Rlimit(name, value, value, because)


def plan_cgroup(asked: Asked, container_id: str) -> Cgroup:
    """The cgroup: its name, its directory in each hierarchy that is needed, and what is written there, in order.

    Raises:
        PlanError: A limit is no limit, or this host lacks the controller for it.
    """
    name = cgroup_name(container_id, asked.paths.layout.root)
    settings = tuple(_settings(asked))
    return Cgroup(name, tuple(_directories(asked.facts, settings, name)), settings)


def _settings(asked: Asked) -> Iterator[CgroupSetting]:
    for row in CGROUP_LIMITS:
        because = asked.key(f"limits.{row.key}")
        try:
            limit = row.read(asked.process.limits)
        except ConfigError as error:
            raise PlanError(because, "; ".join(problem.reason for problem in error.problems)) from error
        if limit is None:
            continue
        home = asked.facts.controller(row.controller)
        if home is None:
            if limit <= 0:
                continue
            raise PlanError(because, f"this host has no cgroup controller {row.controller} to enforce it with")
        file = row.file(home.version)
        optional = row.counts_swap and not asked.facts.swap_accounting
        yield CgroupSetting(row.controller, file.name, file.write(limit), because, optional)


def _directories(facts: HostFacts, settings: tuple[CgroupSetting, ...], name: str) -> Iterator[CgroupDirectory]:
    """One directory in each hierarchy that a setting needs, and one to keep track of the processes and to kill them."""
    needed: list[tuple[Controller, str, str]] = []
    for setting in settings:
        home = facts.controller(setting.controller)
        if home is not None:
            needed.append((home, setting.controller, setting.because))
    # cgroup.kill is v2's (since 5.14); v1 has the freezer, which holds the processes still while they are signalled.
    tracking = facts.unified or facts.controller("freezer") or facts.controller("pids")
    if tracking is not None:
        needed.append((tracking, "", reasons.CGROUP))

    # Several controllers can share one v1 mount (cpu,cpuacct), and all of v2's do.
    hierarchies: dict[tuple[int, str, str], list[tuple[str, str]]] = {}
    for home, controller, because in needed:
        hierarchies.setdefault((home.version, home.mount_point, home.own_path), []).append((controller, because))
    for (version, mount_point, own_path), uses in hierarchies.items():
        path = posixpath.join(mount_point, own_path.lstrip("/"), name)
        controllers = tuple(dict.fromkeys(controller for controller, _ in uses if controller))
        yield CgroupDirectory(controllers, version, path, uses[0][1])


def cgroup_name(container_id: str, root: str) -> str:
    """The cgroup's name, which no other container of any root of this machine has.

    A container id has ``.`` only before two hexadecimal digits, so what is added here cannot be a part of one.
    """
    name = container_id if root == DEFAULT_ROOT else f"{container_id}.root-{_digest(root, 8)}"
    if len(name) <= LONGEST_NAME:
        return name
    # NAME_MAX is 255, and a systemd unit around the name takes its share.
    return f"{name[: LONGEST_NAME - 21]}.cut-{_digest(name, 16)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
