"""The model: how Linux makes one tree of many file systems, as mount_namespaces(7) and path_resolution(7) have it.

An inode has one name and knows its directory. A mount shows an inode and what lies below it at a point of another
mount; a place is an inode as one mount shows it. Nothing here looks at the machine, and nothing of bpm's is used.
"""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Collection, Iterable, Iterator

from attrs import define, field, frozen

MOST_LINKS = 40  # path_resolution(7), since 4.2


def fault(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@define(eq=False)
class Inode:
    """A directory, file, device or link. Names come, and never go."""

    kind: str
    parent: Inode | None = None
    name: str = ""
    target: str = ""
    entries: dict[str, Inode] = field(factory=dict)

    def add(self, name: str, kind: str, target: str = "") -> Inode:
        return self.entries.setdefault(name, Inode(kind, self, name, target))

    def holds(self, other: Inode | None) -> bool:
        """Whether the other is this one, or lies below it."""
        while other is not None and other is not self:
            other = other.parent
        return other is not None

    @property
    def path(self) -> str:
        """From the root of its file system."""
        return "/" if self.parent is None else os.path.join(self.parent.path, self.name)


@define(eq=False)
class FileSystem:
    """An instance of a file system, of a type such as ``tmpfs``."""

    kind: str
    root: Inode = field(factory=lambda: Inode("directory"))

    def mounted(self, flags: Collection[str] = ()) -> Mount:
        """A detached mount of it."""
        return Mount(self, self.root, frozenset(flags))


@define(eq=False)
class Group:
    """Peers: what is mounted on one of them is mounted on all, and on their slaves; not the other way round."""

    peers: list[Mount] = field(factory=list)
    slaves: list[Mount] = field(factory=list)


@define(eq=False)
class Mount:
    """A mount: shared, where it is in a group; a slave, where it has a master; both, or neither, which is private."""

    system: FileSystem
    root: Inode
    flags: frozenset[str] = frozenset()
    parent: Mount | None = None
    point: Inode | None = None
    children: list[Mount] = field(factory=list)
    group: Group | None = None
    master: Group | None = None

    def tree(self) -> Iterator[Mount]:
        """This mount and all that is mounted below it."""
        yield self
        for child in self.children:
            yield from child.tree()

    def over(self, inode: Inode) -> Mount | None:
        """What is mounted at an inode of this mount."""
        return next((child for child in self.children if child.point is inode), None)

    def hang(self, parent: Mount, point: Inode) -> None:
        if self.parent is not None:
            self.parent.children.remove(self)
        self.parent, self.point = parent, point
        parent.children.append(self)

    # Propagation

    def share(self) -> None:
        if self.group is None:
            self.join(Group())

    def join(self, group: Group) -> None:
        self.group = group
        group.peers.append(self)

    def follow(self, master: Group | None) -> None:
        if self.master is not None:
            self.master.slaves.remove(self)
        self.master = master
        if master is not None:
            master.slaves.append(self)

    def enslave(self) -> None:
        """Of a peer, its group becomes the master. One that has no peers is no longer shared, and that is all."""
        group, self.group = self.group, None
        if group is None:
            return
        group.peers.remove(self)
        if group.peers:
            self.follow(group)
        else:  # whoever followed it follows whom it followed
            for slave in tuple(group.slaves):
                slave.follow(self.master)

    def seclude(self) -> None:
        self.enslave()
        self.follow(None)


@frozen
class Place:
    """An inode as a mount shows it: what a path leads to."""

    mount: Mount
    inode: Inode

    def covered(self) -> Place:
        """What is seen here: whatever was mounted here last."""
        place = self
        while (over := place.mount.over(place.inode)) is not None:
            place = Place(over, over.root)
        return place

    @property
    def is_root_of_mount(self) -> bool:
        return self.inode is self.mount.root


@define(eq=False)
class Namespace:
    """A tree of mounts, seen from its root."""

    root: Mount

    def resolve(self, path: str, *, follow: bool = True) -> Place:
        """Where a path leads, from the root, which ``..`` and links cannot leave.

        Args:
            follow: Whether a link at the very end is followed, too.

        Raises:
            OSError: ENOENT, ENOTDIR or ELOOP.
        """
        top = here = Place(self.root, self.root.root).covered()
        names, links = path.split("/")[::-1], 0
        while names:
            name = names.pop()
            if here.inode.kind != "directory":
                raise fault(errno.ENOTDIR)
            if name in ("", "."):
                continue
            if name == "..":
                here = self._up(here, top)
                continue
            inode = here.inode.entries.get(name)
            if inode is None:
                raise fault(errno.ENOENT)
            if inode.kind == "link" and (names or follow):
                links += 1
                if links > MOST_LINKS:
                    raise fault(errno.ELOOP)
                here = top if inode.target.startswith("/") else here
                names += inode.target.split("/")[::-1]
            else:
                here = Place(here.mount, inode).covered()
        return here

    @staticmethod
    def _up(here: Place, top: Place) -> Place:
        while here != top and here.is_root_of_mount and here.mount.parent and here.mount.point:
            here = Place(here.mount.parent, here.mount.point)
        if here != top and here.inode.parent is not None:
            here = Place(here.mount, here.inode.parent)
        return here.covered()

    def walk(self, top: str = "/", skip: Collection[FileSystem] = ()) -> Iterator[tuple[str, Place]]:
        """Every path from one on down, and what it is; no link is followed, and some file systems are not entered."""

        def visit(place: Place, path: str) -> Iterator[tuple[str, Place]]:
            yield path or "/", place
            for name, inode in () if place.mount.system in skip else place.inode.entries.items():
                yield from visit(Place(place.mount, inode).covered(), f"{path}/{name}")

        yield from visit(self.resolve(top, follow=False), top.rstrip("/"))

    def match(self, pattern: str) -> tuple[str, ...]:
        """What a pattern matches, as Go's filepath.Glob has it; for want of any, itself, if there is such a path."""
        names = pattern.split("/")
        first = next((i for i, name in enumerate(names) if {*name} & {*"*?["}), len(names))
        found = ["/".join(names[:first])]
        for name in names[first:]:
            found = [f"{path}/{each}" for path in found for each in fnmatch.filter(self._list(path), name)]
        return tuple(sorted(path for path in found if first < len(names) or self._exists(path)))

    def _list(self, path: str) -> Iterable[str]:
        return self.resolve(path).inode.entries if self._exists(path, follow=True) else ()

    def _exists(self, path: str, *, follow: bool = False) -> bool:
        try:
            self.resolve(path, follow=follow)
        except OSError:
            return False
        return True

    def create(self, path: str, kind: str, target: str = "") -> Inode:
        """A new name.

        Raises:
            OSError: As of resolve(); EEXIST; EROFS.
        """
        directory, _, name = path.rpartition("/")
        place = self.resolve(directory)
        if place.inode.kind != "directory":
            raise fault(errno.ENOTDIR)
        if name in place.inode.entries:
            raise fault(errno.EEXIST)
        if place.mount.system.kind == "proc":
            raise fault(errno.ENOENT)  # whether it is read-only or not
        if "ro" in place.mount.flags:
            raise fault(errno.EROFS)
        return place.inode.add(name, kind, target)

    def copy(self) -> Namespace:
        """unshare(2) with CLONE_NEWNS: every mount of it again, a peer of the shared, a slave of the same master."""
        return Namespace(copy_tree(Place(self.root, self.root.root), recursive=True))


def copy_mount(mount: Mount, root: Inode, *, slave: bool = False, shared: bool = False) -> Mount:
    """One more mount of the same. It is a peer of the other where that is shared, unless it is made a slave of it."""
    copy = Mount(mount.system, root, mount.flags)
    if slave:
        copy.follow(mount.group)
    else:
        copy.follow(mount.master)
        if mount.group is not None:
            copy.join(mount.group)
    if shared:
        copy.share()
    return copy


def copy_tree(place: Place, *, recursive: bool, slave: bool = False, shared: bool = False) -> Mount:
    """A detached mount of what is at a place: what open_tree(2) with OPEN_TREE_CLONE makes, or a bind mount to be."""
    copy = copy_mount(place.mount, place.inode, slave=slave, shared=shared)
    for child in place.mount.children if recursive else ():
        if child.point is not None and place.inode.holds(child.point):
            below = copy_tree(Place(child, child.root), recursive=True, slave=slave, shared=shared)
            below.hang(copy, child.point)
    return copy


def set_attributes(
    place: Place,
    to_set: Collection[str] = (),
    to_clear: Collection[str] = (),
    kind: str = "",
    *,
    recursive: bool = False,
) -> None:
    """mount_setattr(2): flags, and ``shared``, ``slave`` or ``private``.

    Raises:
        OSError: EINVAL, if nothing is mounted at the place.
    """
    if not (to_set or to_clear or kind):
        return
    if not place.is_root_of_mount:
        raise fault(errno.EINVAL)
    for mount in place.mount.tree() if recursive else (place.mount,):
        mount.flags = mount.flags - frozenset(to_clear) | frozenset(to_set)
        if kind:
            {"shared": mount.share, "slave": mount.enslave, "private": mount.seclude}[kind]()


def attach(tree: Mount, place: Place) -> None:
    """move_mount(2) of a detached tree. On a shared mount all of the tree becomes shared, and its peers get copies.

    Raises:
        OSError: EINVAL, if one is a directory and the other is not.
    """
    place = place.covered()
    if (tree.root.kind == "directory") != (place.inode.kind == "directory"):
        raise fault(errno.EINVAL)
    if place.mount.group is not None:
        for mount in tree.tree():
            mount.share()
        propagate(tree, place.mount.group, place)
    tree.hang(place.mount, place.inode)


def set_group(source: Place, place: Place) -> None:
    """move_mount(2) with MOVE_MOUNT_SET_GROUP (since 5.15): a private mount takes over group and master of another.

    Raises:
        OSError: EINVAL, unless both are roots of mounts, the second shows a part of the first, and that has either.
    """
    mount, other = place.mount, source.mount
    if not (source.is_root_of_mount and place.is_root_of_mount and other.root.holds(mount.root)):
        raise fault(errno.EINVAL)
    if mount.group or mount.master or not (other.group or other.master):
        raise fault(errno.EINVAL)
    mount.follow(other.master)
    if other.group is not None:
        mount.join(other.group)


def propagate(tree: Mount, group: Group, place: Place) -> None:
    """Mounts copies on all peers of a group, and slaves of these copies on the group's slaves, and so on.

    Only where the mount point is a part of what they show; what is mounted there already comes to lie on top. What is
    new takes no part, though it may be a peer or a slave itself.
    """
    new = {*tree.tree()}

    def receive(mount: Mount, source: Mount, *, slave: bool, shared: bool) -> Mount:
        """The copy; where there is none, the source that it would have had."""
        if mount is place.mount or not mount.root.holds(place.inode):
            return source
        copy = copy_tree(Place(source, source.root), recursive=True, slave=slave, shared=shared)
        new.update(copy.tree())
        on_top = mount.over(place.inode)
        copy.hang(mount, place.inode)
        if on_top is not None:
            on_top.hang(copy, copy.root)
        return copy

    def spread(group: Group, source: Mount) -> None:
        slaves = [slave for slave in group.slaves if slave not in new]
        for slave in slaves:
            if slave.group is None:
                receive(slave, source, slave=True, shared=False)
        for below in {id(slave.group): slave.group for slave in slaves if slave.group is not None}.values():
            first = source
            for peer in [peer for peer in below.peers if peer not in new]:
                copy = receive(peer, first, slave=first is source, shared=True)
                first = copy if first is source else first
            spread(below, first)

    for peer in [peer for peer in group.peers if peer not in new]:
        receive(peer, tree, slave=False, shared=True)
    spread(group, tree)
