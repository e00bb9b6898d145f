"""All that a probe saw as a table of facts by name, so that two can be compared line by line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from bpm import ProcessPlan
from bpm.runtime.lower import RLIMITS
from tests.inside import MountLine, Seen

Facts = dict[str, Any]

# What says nothing about the container: names and sizes of the moment.
VOLATILE = {"Pid", "PPid", "Tgid", "Ngid", "NSpid", "NStgid", "NSpgid", "NSsid", "voluntary_ctxt_switches"}
VOLATILE |= {"nonvoluntary_ctxt_switches", "FDSize", "SigQ", "Threads", "State", "x86_Thread_features"}

# Two that libc keeps for itself: posix_spawn(3) of glibc leaves them ignored in what it starts, as make starts all
# tests, and runc hands that on.
SIGNALS_OF_LIBC = 0b11 << 31

# Directories that are the container's own, as far as they are; and what /proc says of the process.
DIRECTORIES = ("/", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/var", "/var/vcap", "/var/vcap/sys")
FILES = tuple(
    f"/proc/self/{name}"
    for name in ("uid_map", "gid_map", "setgroups", "oom_score_adj", "coredump_filter", "timerslack_ns", "attr/current")
)
READABLE, WRITABLE, EXECUTABLE = 4, 2, 1  # access(2)

NODES = ("null", "zero", "full", "random", "urandom", "tty", "console", "kmsg", "mem", "fuse", "ptmx", "vda")


def attempts_of(plan: ProcessPlan) -> tuple[str, ...]:
    """What the probe is to try: each path that the plan says something of, devices, and a few calls."""
    paths = dict.fromkeys([*(mount.target for mount in plan.mounts), plan.workdir.path, "/", "/proc/1/root", "/sys/fs"])
    covered = [cover.path for cover in (*plan.masked, *plan.read_only)]
    found = [f"access:{path}:{mode}" for path in (*paths, *covered) for mode in (READABLE, WRITABLE, EXECUTABLE)]
    found += [f"{verb}:{path}" for path in covered for verb in ("mode", "list", "read", "write")]
    found += [f"{verb}:/dev/{name}" for name in NODES for verb in ("read", "write")]
    # A disk, the kernel's memory, and one that anyone may have; each by a node of the process's own.
    for place in ("/dev/shm", "/dev", "/tmp", ""):
        found += [f"node:{place}/node:{device}" for device in ("b:7:0", "c:1:1", "c:1:3", "c:10:200")]
    found += ["mount:/tmp/.", "unmount:/proc", "unshare:0x10000000", "unshare:0x20000"]
    found += [f"entries:{path}" for path in DIRECTORIES]
    found += [f"file:{path}" for path in FILES]
    return tuple(text for text in dict.fromkeys(found) if text.count(":") == expected_colons(text))


def expected_colons(attempt: str) -> int:
    """How many a well-formed attempt has: a path with one in it cannot be tried."""
    return {"access": 2, "node": 4, "syscall": 2}.get(attempt.partition(":")[0], 1)


def facts_of(seen: Seen, host: frozenset[str]) -> Facts:
    """The table. Names are ``area: what``.

    Args:
        host: The devices of the host's file systems, as ``major:minor``.
    """
    facts: Facts = {}
    for area, of in AREAS.items():
        facts |= {f"{area}: {name}": value for name, value in of(seen)}
    return facts | {f"mount: {name}": value for name, value in mounts(seen, host)}


Pairs = Iterator[tuple[str, Any]]


def process(seen: Seen) -> Pairs:
    """Arguments, environment, directory, host name, session."""
    yield "arguments", seen.argv
    yield "environment", seen.environment
    yield "directory", seen.cwd
    yield "host name", seen.hostname
    yield "pid", seen.pid
    yield "parent", seen.ppid
    yield "process group", seen.pgid
    yield "session", seen.sid


def status(seen: Seen) -> Pairs:
    """Ids, groups, capability sets, signals, no_new_privs, seccomp: every line of /proc/self/status that stays."""
    for key, value in seen.status.items():
        if key == "SigIgn":
            yield key, f"{int(value, 16) & ~SIGNALS_OF_LIBC:016x}"
        elif key not in VOLATILE and not key.startswith(("Vm", "Rss", "Hugetlb")):
            yield key, " ".join(value.split())


def limits(seen: Seen) -> Pairs:
    """Every resource limit, soft and hard."""
    for number, pair in enumerate(seen.rlimits):
        yield RLIMITS[number], pair


def namespaces(seen: Seen) -> Pairs:
    """Whether each is the container's own."""
    for kind, identifier in seen.namespaces.items():
        yield kind, "host's" if identifier == host_namespace(kind) else "own"


@cache
def host_namespace(kind: str) -> str:
    return os.readlink(f"/proc/self/ns/{kind}")


def descriptors(seen: Seen) -> Pairs:
    """Which are open, what they are, and their flags. The files of the two outputs differ in name alone."""
    for fd, descriptor in seen.descriptors.items():
        target = "output" if "(deleted)" in descriptor.target else descriptor.target
        yield str(fd), (target, oct(descriptor.flags))


def mounts(seen: Seen, host: frozenset[str]) -> Pairs:
    """Every mount, hidden ones too, by the mount points on the way to it: with what lies over what, that is all."""
    by_id = {line.number: line for line in seen.mounts}
    for line in seen.mounts:
        chain = [line.target]
        above = line
        while above.parent in by_id:
            above = by_id[above.parent]
            chain.append(above.target)
        place = " > ".join(reversed(chain))
        yield f"{place} (of)", source_of(line, host)
        yield f"{place} (options)", " ".join(sorted(line.options))
        yield f"{place} (propagation)", " ".join(line.propagation)
        yield f"{place} (file system)", " ".join((line.kind, line.source, *sorted(line.super_options)))


def source_of(line: MountLine, host: frozenset[str]) -> str:
    """What is mounted: the device is the host's, or one of a file system made anew."""
    return f"{line.device if line.device in host else 'new'}:{line.root}"


def entries(seen: Seen) -> Pairs:
    """The directories that are the container's own."""
    for path, of in seen.entries.items():
        for name, entry in of.items():
            yield f"{path} {name}", (oct(entry.mode), entry.uid, entry.gid, entry.device, entry.link)


def files(seen: Seen) -> Pairs:
    yield from seen.files.items()


def attempts(seen: Seen) -> Pairs:
    yield from seen.attempts.items()


AREAS = {
    "process": process,
    "status": status,
    "limit": limits,
    "namespace": namespaces,
    "descriptor": descriptors,
    "entry": entries,
    "file": files,
    "attempt": attempts,
}


def differing(ours: Facts, theirs: Facts) -> Iterable[tuple[str, Any, Any]]:
    """Each fact that is not the same, with None for one that is not there."""
    for name in dict.fromkeys([*ours, *theirs]):
        if ours.get(name) != theirs.get(name):
            yield name, ours.get(name), theirs.get(name)
