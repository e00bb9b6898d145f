"""Whether what was seen inside is what the plan says."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from bpm import ProcessPlan
from bpm.plan import CAPABILITIES
from tests.inside import NO_LIMIT, MountLine, Seen

NAMESPACES = {"mount": "mnt", "pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net", "user": "user"}
SETS = ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")
LIMITS = {getattr(resource, name): name for name in dir(resource) if name.startswith("RLIMIT_")}
MOUNT_WORDS = {"ro", "nosuid", "nodev", "noexec"}
OPPOSITES = {"ro": "rw", "noexec": "exec"}


def disagreements(plan: ProcessPlan, seen: Seen) -> list[str]:
    """Every way in which the inside differs from the plan; none where they agree."""
    return [*identity(plan, seen), *surroundings(plan, seen), *namespaces(plan, seen), *mounts(plan, seen)]


def differs(what: str, planned: object, found: object) -> Iterator[str]:
    if planned != found:
        yield f"{what}: planned {planned!r}, seen {found!r}"


def identity(plan: ProcessPlan, seen: Seen) -> Iterator[str]:
    """Ids, groups, capability sets, no_new_privs, seccomp mode."""
    mask = sum(1 << CAPABILITIES.index(capability.name) for capability in plan.capabilities)
    yield from differs("uid", (plan.identity.uid,) * 4, seen.ids("Uid"))
    yield from differs("gid", (plan.identity.gid,) * 4, seen.ids("Gid"))
    yield from differs("groups", plan.identity.groups, seen.ids("Groups"))
    for name in SETS:
        yield from differs(name, f"{mask:x}", f"{seen.bits(name):x}")
    yield from differs("no_new_privs", plan.no_new_privs, seen.status["NoNewPrivs"] == "1")
    yield from differs("seccomp", "2" if plan.seccomp else "0", seen.status["Seccomp"])


def surroundings(plan: ProcessPlan, seen: Seen) -> Iterator[str]:
    """Arguments, environment, directory, host name, limits, descriptors, signals."""
    yield from differs("argv", plan.argv, seen.argv)
    yield from differs("environment", tuple(f"{v.name}={v.value}" for v in plan.env), seen.environment)
    yield from differs("cwd", plan.workdir.path, seen.cwd)
    yield from differs("host name", plan.hostname or os.uname().nodename, seen.hostname)
    limits = {number: resource.getrlimit(number) for number in LIMITS}
    limits |= {getattr(resource, limit.name): (limit.soft, limit.hard) for limit in plan.rlimits}
    for number, pair in limits.items():
        soft, hard = (value % (NO_LIMIT + 1) for value in pair)
        yield from differs(LIMITS[number], (soft, hard), seen.rlimits[number])
    yield from differs("descriptors", [0, 1, 2], sorted(seen.descriptors))
    for mask in ("SigBlk", "SigIgn", "SigCgt"):
        yield from differs(mask, 0, seen.bits(mask))
    yield from differs("umask", "0022", seen.status["Umask"])


def namespaces(plan: ProcessPlan, seen: Seen) -> Iterator[str]:
    """Its own where the plan says so, the host's where not."""
    own = {NAMESPACES[namespace.kind] for namespace in plan.namespaces}
    for kind, identifier in seen.namespaces.items():
        # A kernel may have no time namespaces; the probe then sees none.
        hosts = os.readlink(f"/proc/self/ns/{kind}") if os.path.lexists(f"/proc/self/ns/{kind}") else None
        yield from differs(f"own {kind} namespace", kind in own, identifier != hosts)


def mounts(plan: ProcessPlan, seen: Seen) -> Iterator[str]:
    """Each planned mount with its options, each cover that exists, and no other but what a recursive bind brings."""
    for mount in plan.mounts:
        words = set(mount.options) & MOUNT_WORDS
        found = set(seen.mount_at(mount.target).options)
        if mount.kind == "bind":
            words |= inherited(mount.source, set(mount.options))
        yield from differs(f"options of {mount.target}", sorted(words), sorted(found & MOUNT_WORDS))
        yield from differs(f"kind of {mount.target}", mount.kind, kind_of(mount.kind, seen.mount_at(mount.target)))
    targets = [mount.target for mount in plan.mounts]
    covers = {cover.path for cover in (*plan.masked, *plan.read_only)}
    recursive = [mount.target for mount in plan.mounts if "rbind" in mount.options]
    for line in seen.mounts:
        brought = any(line.target.startswith(target + "/") for target in recursive)
        if line.target not in {"/", *targets, *covers} and not brought:
            yield f"{line.target} is mounted and not planned"
        if any(word.startswith("shared:") for word in line.propagation):
            yield f"{line.target} is shared: what is mounted there is mounted on the host"


def kind_of(planned: str, line: MountLine) -> str:
    """A bind has whatever type its source has."""
    return "bind" if planned == "bind" else line.kind


def inherited(source: str, options: set[str]) -> set[str]:
    """The host's flags of what is bound, which stay where the plan does not say otherwise."""
    flags = os.statvfs(Path(source).resolve()).f_flag
    host = {"ro": os.ST_RDONLY, "nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return {word for word, bit in host.items() if flags & bit and OPPOSITES.get(word) not in options}
