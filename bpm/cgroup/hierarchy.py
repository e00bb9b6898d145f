"""Where each cgroup controller lives on this host, and which cgroup bpm itself is in.

Two texts tell: /proc/self/mountinfo says what is mounted where, /proc/self/cgroup says where we
are. Nothing is guessed from path names, so any mount point will do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from bpm.plan import CGROUP_ROOT, LEAF, Controller

UNIFIED = "unified"
"""What the v2 hierarchy itself is called where a Controller is wanted for it; no controller has this name."""

_SYSTEMD_RUNS = "/run/systemd/system"  # sd_booted(3)

_OUTSIDE = -1  # no mount's id


@frozen
class MountPoint:
    """One line of /proc/self/mountinfo, as far as it matters here; see proc_pid_mountinfo(5).

    Args:
        number, parent: The mount's id, and that of the mount it stands on.
        root: Which directory of its file system is mounted.
        path: Where it is mounted.
        read_only: Whether the mount or its file system is read-only.
        kind: The file system's type, such as ``cgroup2``.
        options: The file system's own options; a v1 hierarchy lists its controllers here.
    """

    number: int
    parent: int
    root: str
    path: str
    read_only: bool
    kind: str
    options: frozenset[str]


def find_hierarchies(
    mountinfo: str, own_cgroups: str, available: Callable[[str], str] = lambda mount_point: ""
) -> tuple[tuple[Controller, ...], Controller | None]:
    """Where each controller lives, sorted by name, and the v2 hierarchy, also where it has no controllers.

    A controller whose hierarchy is not mounted, or only mounted where we cannot tell which
    directory is ours, is left out.

    Args:
        mountinfo: The text of /proc/self/mountinfo.
        own_cgroups: The text of /proc/self/cgroup.
        available: Gives the text of ``cgroup.controllers`` of a v2 mount point. That of the mount and not of our
            own cgroup, since what is not enabled down here yet can be.
    """
    mounts = _visible_cgroup_mounts(parse_mounts(mountinfo))
    found: dict[str, Controller] = {}
    unified: Controller | None = None
    for names, path in _own_paths(own_cgroups):
        if not names:
            # Where an earlier bpm has moved us out of the way, our own cgroup is still the one above.
            path = os.path.dirname(path) if os.path.basename(path) == LEAF else path
            unified = _nearest(UNIFIED, 2, path, [mount for mount in mounts if mount.kind == "cgroup2"])
            continue
        hierarchy = [mount for mount in mounts if mount.kind == "cgroup" and mount.options.issuperset(names)]
        for name in names:
            controller = _nearest(name, 1, path, hierarchy)
            if controller and "=" not in name:  # "name=systemd" tracks processes and controls nothing
                found[name] = controller
    if unified:
        for name in available(unified.mount_point).split():
            found.setdefault(name, Controller(name, 2, unified.mount_point, unified.own_path))
    return tuple(found[name] for name in sorted(found)), unified


def observe_hierarchies() -> tuple[tuple[Controller, ...], Controller | None]:
    """What :func:`find_hierarchies` finds on this host, now.

    Raises:
        OSError: /proc cannot be read.
    """
    return find_hierarchies(read_proc("self/mountinfo"), read_proc("self/cgroup"), _read_available)


def find_mountable(
    mountinfo: str, own_cgroups: str, known: str, found: Iterable[Controller]
) -> tuple[tuple[Controller, ...], bool]:
    """The v1 controllers that could be mounted: each with the place, and whether a tmpfs is to be mounted before.

    Args:
        known: The text of /proc/cgroups.
        found: Those that are mounted, in any version.
    """
    kinds = {mount.path: mount.kind for mount in parse_mounts(mountinfo)}
    if kinds.get(CGROUP_ROOT) == "cgroup2":
        return (), False  # a directory made there would be a cgroup
    mounted = {controller.name for controller in found}
    together: dict[tuple[str, str], list[str]] = {}
    for line in known.split("\n"):
        name, _, rest = line.partition("\t")
        hierarchy, _, enabled = rest.split("\t") if rest.count("\t") == 2 else ("", "", "0")
        if enabled == "1" and name not in mounted:
            # Those of one hierarchy must be mounted together; 0 stands for none yet.
            together.setdefault((hierarchy, name if hierarchy == "0" else ""), []).append(name)
    own = {name: path for names, path in _own_paths(own_cgroups) for name in names}
    mountable = [
        Controller(name, 1, f"{CGROUP_ROOT}/{','.join(names)}", own.get(name, "/"))
        for names in together.values()
        for name in names
    ]
    return tuple(sorted(mountable, key=lambda controller: controller.name)), CGROUP_ROOT not in kinds


def observe_mountable(found: Iterable[Controller]) -> tuple[tuple[Controller, ...], bool]:
    """What :func:`find_mountable` finds on this host, now."""
    try:
        known = read_proc("cgroups")
    except FileNotFoundError:
        return (), False  # a kernel without cgroup v1
    return find_mountable(read_proc("self/mountinfo"), read_proc("self/cgroup"), known, found)


def find_systemd(mountinfo: str, own_cgroups: str, unified: Controller | None) -> Controller | None:
    """The hierarchy in which systemd keeps its units apart: v2 where it is mounted, ``name=systemd`` otherwise."""
    if unified is not None:
        return unified
    mounts = [mount for mount in _visible_cgroup_mounts(parse_mounts(mountinfo)) if "name=systemd" in mount.options]
    for names, path in _own_paths(own_cgroups):
        if names == ("name=systemd",):
            return _nearest(names[0], 1, path, mounts)
    return None


def observe_systemd(unified: Controller | None) -> Controller | None:
    """What :func:`find_systemd` finds on this host, now; None where systemd is not pid 1."""
    if not os.path.isdir(_SYSTEMD_RUNS):
        return None
    return find_systemd(read_proc("self/mountinfo"), read_proc("self/cgroup"), unified)


def is_crowded(unified: Controller | None) -> bool:
    """Whether bpm's own cgroup v2 holds processes, and is not the root, the only one that may and still have children
    with controllers."""
    if unified is None:
        return False
    own = unified.mount_point + unified.own_path.rstrip("/")
    if not os.path.exists(own + "/cgroup.type"):
        return False
    try:
        with open(own + "/cgroup.procs", encoding="ascii") as file:
            return bool(file.read(1))
    except OSError:
        return False  # a threaded one: whoever writes there is told


def swap_accounting(controllers: Iterable[Controller]) -> bool:
    """Whether the kernel here can count swap in a memory limit.

    Until 6.1 it cannot when booted with ``swapaccount=0``, and in some distributions' kernels not without
    ``swapaccount=1``.
    """
    memory = next((controller for controller in controllers if controller.name == "memory"), None)
    if memory is None:
        return False
    own = memory.mount_point + memory.own_path.rstrip("/")
    if memory.version == 1:
        return os.path.exists(own + "/memory.memsw.limit_in_bytes")
    # The file is never in v2's root, so ask what is nearest: our own cgroup, then its children, then root's.
    for directory in (own, *_children(own), *_children(memory.mount_point)):
        if os.path.exists(directory + "/memory.current"):
            return os.path.exists(directory + "/memory.swap.max")
    return os.path.exists("/proc/swaps")


def parse_mounts(mountinfo: str) -> list[MountPoint]:
    """The lines of a /proc/PID/mountinfo; what does not look like one is left out."""
    found = []
    for line in mountinfo.split("\n"):
        mount, separator, file_system = line.partition(" - ")
        fields, (kind, _, options) = mount.split(" "), [*file_system.split(" "), "", ""][:3]
        if not separator or len(fields) < 6:
            continue
        words = frozenset(options.split(","))
        read_only = "ro" in fields[5].split(",") or "ro" in words
        root, path = _unescape(fields[3]), _unescape(fields[4])
        found.append(MountPoint(int(fields[0]), int(fields[1]), root, path, read_only, kind, words))
    return found


def read_proc(name: str) -> str:
    """The text of a file below /proc; bytes that are no UTF-8 survive as surrogates, as in any path."""
    with open("/proc/" + name, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _visible_cgroup_mounts(mounts: list[MountPoint]) -> list[MountPoint]:
    """Those that a path lookup reaches: not covered by another mount on the same place, or on one above."""
    numbers = {mount.number for mount in mounts}
    children: dict[int, list[MountPoint]] = {}
    for mount in reversed(mounts):
        # The root stands on a mount outside of our view, or on itself; in a chroot there can be several such.
        top = mount.parent not in numbers or mount.parent == mount.number
        children.setdefault(_OUTSIDE if top else mount.parent, []).append(mount)
    cgroups = [mount for mount in mounts if mount.kind in ("cgroup", "cgroup2")]
    return [mount for mount in cgroups if _reached(mount.path, children) == mount.number]


def _reached(path: str, children: Mapping[int, list[MountPoint]]) -> int:
    """The id of the mount that a lookup of ``path`` ends on: from each mount, step onto the first one in the way."""
    here = _OUTSIDE
    while True:
        in_the_way = [mount for mount in children.get(here, ()) if _below(path, mount.path) is not None]
        if not in_the_way:
            return here
        here = min(in_the_way, key=lambda mount: len(mount.path)).number


def _own_paths(own_cgroups: str) -> list[tuple[tuple[str, ...], str]]:
    """Controllers and path of each line of /proc/self/cgroup; the v2 hierarchy's line, ``0::``, names none."""
    lines = [line.split(":", 2) for line in own_cgroups.split("\n")]
    return [(tuple(filter(None, line[1].split(","))), line[2]) for line in lines if len(line) == 3]


def _nearest(name: str, version: int, path: str, mounts: list[MountPoint]) -> Controller | None:
    """The controller, by the first mount that shows our own cgroup, one that can be written before one that cannot."""
    for mount in sorted(mounts, key=lambda mount: mount.read_only):
        own_path = _own_path(path, mount.root)
        if own_path is not None:
            return Controller(name, version, mount.path, own_path)
    return None


def _own_path(path: str, root: str) -> str | None:
    """Our own cgroup below a mount point that shows ``root``, or None where it does not show it.

    Both are written from the root of our cgroup namespace (cgroup_namespaces(7)); what lies outside of
    it begins with ``/..``. A mount of the namespace's root is as near as one can get to such a place.
    """
    below = _below(path, root)
    if below is not None and ".." not in below.split("/"):
        return below or "/"
    return "/" if root == "/" else None


def _below(path: str, directory: str) -> str | None:
    """What ``path`` adds to ``directory``: ``""``, ``/more``, or None where it lies elsewhere."""
    directory = directory.rstrip("/")
    if path.rstrip("/") == directory:
        return ""
    return path[len(directory) :] if path.startswith(directory + "/") else None


def _unescape(text: str) -> str:
    """The kernel writes space, tab, newline, ``#`` and backslash as a backslash and three octal digits."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _read_available(mount_point: str) -> str:
    try:
        with open(mount_point + "/cgroup.controllers", encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _children(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(entry.path for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
