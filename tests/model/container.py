"""The inside of a container as predicted: a plan's entries carried out in the model, on a host of the model.

What a mount needs to exist below a file system of the container's own is made there; below anything of the host's,
nothing is. Each mount is dressed before it is seen: its words hold for all that it brings, but what they open (`rw`,
`exec`) they open of its topmost mount alone. It follows what is mounted on the host, and gives nothing back; but the
top of one that is `shared` becomes a peer of the host's, once everything is mounted.
"""

from __future__ import annotations

import errno
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from attrs import frozen

from bpm import ProcessPlan
from bpm.plan import Mount as PlannedMount
from bpm.plan.model import Preparation
from tests.inside import MountLine
from tests.model.linux import FLAGS
from tests.model.mounts import (
    FileSystem,
    Inode,
    Mount,
    Namespace,
    Place,
    attach,
    copy_tree,
    fault,
    set_attributes,
    set_group,
)

OPENS = {"rw": "ro", "exec": "noexec"}


@frozen
class Refused(Exception):
    """The container is not built.

    Args:
        item: The plan's mount that cannot be made; -1 where it is none.
    """

    stage: str
    item: int
    number: int


@contextmanager
def stage(name: str, item: int = -1) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(name, item, error.errno or 0) from error


@frozen
class Inside:
    """What the program sees, and which of the plan's mounts brought each mount that it sees."""

    namespace: Namespace
    brought: dict[Mount, PlannedMount]


def build(plan: ProcessPlan, host: Namespace, kernel: Mapping[str, str]) -> Inside:
    """What the program sees. The host is changed as a start changes it.

    Args:
        kernel: Names that this kernel has in the file systems that it fills, and whether they are directories or files.

    Raises:
        Refused: It cannot be built.
    """
    with stage("prepare"):
        prepare(plan.preparation, host)
        sources = [host.resolve(mount.source) if mount.kind == "bind" else None for mount in plan.mounts]
        for point in plan.preparation.mount_points:
            make_names(host, point.path, shape(host.resolve(point.source).inode))
    inside: Namespace | None = None
    made: dict[str, str] = {}  # each target, and the type of what is there
    brought: dict[Mount, PlannedMount] = {}
    order = sorted(range(len(plan.mounts)), key=lambda item: clean(plan.mounts[item].target) != "/")
    if not order or clean(plan.mounts[order[0]].target) != "/":
        inside, made["/"] = Namespace(FileSystem("tmpfs").mounted()), "tmpfs"
    for item in order:
        mount, source = plan.mounts[item], sources[item]
        target = clean(mount.target)
        with stage("mounts", item):
            tree = dress(mount, source, shared_system(plan, host, mount.kind))
            for path, kind in kernel.items():
                if source is None and path.startswith(target + "/"):
                    grow(tree.root, path[len(target) :], kind)
            if inside is None:
                inside = Namespace(tree)
            else:
                make_own(inside, made, target, shape(tree.root))
                place = inside.resolve(target)
                if place.mount.system.kind == "proc":
                    raise fault(errno.ELOOP)  # what only looks like a file
                attach(tree, place)
            made[target] = mount.kind
            brought |= dict.fromkeys(tree.tree(), mount)
            furnish(plan, inside, target)
    assert inside is not None
    for item, source in enumerate(sources):
        if source is not None and "shared" in plan.mounts[item].options:
            with stage("mounts", item):
                set_group(source, inside.resolve(clean(plan.mounts[item].target)))
    with stage("mounts"):
        make_own(inside, made, clean(plan.workdir.path), "directory")
    for number, cover in enumerate((*plan.masked, *plan.read_only)):
        with stage("masks", number):
            put_cover(inside, cover.path, read_only=number >= len(plan.masked))
    with stage("workdir"):
        if inside.resolve(plan.workdir.path).inode.kind != "directory":
            raise fault(errno.ENOTDIR)
    return Inside(inside, brought)


def shape(inode: Inode) -> str:
    """What it can be mounted over."""
    return "directory" if inode.kind == "directory" else "file"


def prepare(preparation: Preparation, host: Namespace) -> None:
    """What a start makes on the host before."""
    for directory in preparation.directories:
        make_names(host, directory.path, "directory")
    for log in preparation.log_files:
        make_names(host, log.path, "file")
    for volume in preparation.shared_volumes:
        place = host.resolve(volume.path)
        if place.is_root_of_mount:
            set_attributes(place, kind="shared")
        else:
            tree = copy_tree(place, recursive=False)
            tree.share()
            attach(tree, place)


def make_names(namespace: Namespace, path: str, kind: str) -> None:
    """mkdir -p, and what it ends with. What is there already is left as it is."""
    names = clean(path).split("/")[1:]
    for depth in range(1, len(names) + 1):
        last = depth == len(names)
        try:
            namespace.create("/" + "/".join(names[:depth]), kind if last else "directory")
        except FileExistsError:
            pass


# Of these the kernel has one for each namespace of a kind, however often they are mounted.
ONE_FOR_EACH = {"sysfs": "network", "proc": "pid", "mqueue": "ipc"}


def shared_system(plan: ProcessPlan, host: Namespace, kind: str) -> FileSystem:
    """The host's, where the container is in the namespace that it shows; else a new one."""
    if ONE_FOR_EACH.get(kind) not in (None, *(namespace.kind for namespace in plan.namespaces)):
        return next((m.system for m in host.root.tree() if m.system.kind == kind), FileSystem(kind))
    return FileSystem(kind)


def dress(mount: PlannedMount, source: Place | None, system: FileSystem) -> Mount:
    """The mount as it will be seen, still nowhere."""
    flags = FLAGS.keys() & set(mount.options)
    if source is None:
        return system.mounted(flags)
    tree = copy_tree(source, recursive="rbind" in mount.options)
    place = Place(tree, tree.root)
    set_attributes(place, to_clear={OPENS[word] for word in mount.options if word in OPENS})
    set_attributes(place, flags, kind="slave", recursive=True)
    if "shared" in mount.options:
        set_attributes(place, kind="private")
    return tree


def make_own(inside: Namespace, made: dict[str, str], path: str, kind: str) -> None:
    """The names on the way to a path that lie in a file system of the container's own."""
    names = path.split("/")[1:] if path != "/" else []
    for depth in range(1, len(names) + 1):
        name = "/" + "/".join(names[:depth])
        home = next(target for target in ancestors(name) if target in made)
        if made[home] == "tmpfs" and name not in made:
            parent = inside.resolve(posixpath.dirname(name))
            if parent.inode.kind != "directory":
                raise fault(errno.ENOTDIR)
            parent.inode.add(posixpath.basename(name), kind if depth == len(names) else "directory")


def ancestors(path: str) -> Iterator[str]:
    """The directories above a path, the nearest first."""
    while path != "/":
        path = posixpath.dirname(path)
        yield path


def furnish(plan: ProcessPlan, inside: Namespace, target: str) -> None:
    """The nodes and links of a directory, once it is there."""
    for node in plan.nodes:
        if posixpath.dirname(node.path) == target:
            inside.resolve(target).inode.add(posixpath.basename(node.path), "device")
    for link in plan.links:
        if posixpath.dirname(link.path) == target:
            inside.resolve(target).inode.add(posixpath.basename(link.path), "link", link.target)


def put_cover(inside: Namespace, path: str, *, read_only: bool) -> None:
    """Where there is something at a path: itself once more, read-only; or an empty directory, or /dev/null."""
    try:
        place = inside.resolve(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    if read_only:
        tree = copy_tree(place, recursive=True)
        set_attributes(Place(tree, tree.root), ["ro"], recursive=True)
    elif place.inode.kind == "directory":
        tree = EMPTY.mounted(["ro"])
    else:
        tree = copy_tree(inside.resolve("/dev/null"), recursive=True)
    attach(tree, place)


EMPTY = FileSystem("tmpfs")


def clean(path: str) -> str:
    return "/" + posixpath.normpath("/" + path).lstrip("/")


# The host


def observe_host(lines: Iterable[MountLine]) -> Namespace:
    """This machine's mounts in the model. Of what is on them, only what is asked for with ``learn()``."""
    systems: dict[str, FileSystem] = {}
    mounts: dict[int, Mount] = {}
    known = {line.number: line for line in lines}
    namespace: Namespace | None = None

    def add(line: MountLine) -> Mount:
        if line.number in mounts:
            return mounts[line.number]
        system = systems.setdefault(line.device, FileSystem(line.kind))
        root = grow(system.root, line.root, "directory" if os.path.isdir(line.target) else "file")
        mount = mounts[line.number] = Mount(system, root, frozenset(line.options) & FLAGS.keys())
        above = known.get(line.parent)
        if above is not None and above is not line:
            parent = add(above)
            point = posixpath.relpath(line.target, above.target)
            mount.hang(parent, grow(parent.root, point, root.kind))
        return mount

    for line in known.values():
        mount = add(line)
        namespace = namespace or (Namespace(mount) if mount.parent is None else None)
    assert namespace is not None
    return namespace


def grow(inode: Inode, path: str, kind: str) -> Inode:
    """The inode at a path below, which is made with all on the way to it."""
    names = [name for name in path.split("/") if name not in ("", ".")]
    for depth, name in enumerate(names):
        inode = inode.add(name, kind if depth == len(names) - 1 else "directory")
    return inode


def learn(namespace: Namespace, path: str) -> None:
    """Takes over from the machine what stands at a path, and where links on the way lead."""
    for name in [*reversed([*ancestors(clean(path))]), clean(path)]:
        if name == "/" or not os.path.lexists(name):
            continue
        parent = namespace.resolve(posixpath.dirname(name)).inode
        if posixpath.basename(name) in parent.entries:
            continue
        if os.path.islink(name):
            target = os.readlink(name)
            parent.add(posixpath.basename(name), "link", target)
            learn(namespace, posixpath.join(posixpath.dirname(name), target))
        else:
            parent.add(posixpath.basename(name), "directory" if os.path.isdir(name) else "file")
