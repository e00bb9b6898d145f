"""What can be done to a tree of mounts: to the model, to the kernel, and as a line for a shell."""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Protocol

from attrs import define, field, frozen

from tests.model import linux, mounts
from tests.model.linux import Linux
from tests.model.mounts import FileSystem, Inode, Namespace, Place

NULL = os.makedev(1, 3)


class Operation(Protocol):
    """One step. Either of both raises OSError where it cannot be done; then nothing was done."""

    @property
    def path(self) -> str: ...

    def in_model(self, namespace: Namespace) -> None: ...

    def in_kernel(self, system: Linux) -> None: ...


@frozen
class Make:
    """A new name for a ``directory``, ``file`` or ``device``, which is another /dev/null; or for a ``link``."""

    kind: str
    path: str
    target: str = ""

    def in_model(self, namespace: Namespace) -> None:
        namespace.create(self.path, self.kind, self.target)

    def in_kernel(self, system: Linux) -> None:
        parent, _, name = self.path.rpartition("/")
        with system.opened(parent, os.O_DIRECTORY) as directory:
            if self.kind == "directory":
                os.mkdir(name, 0o755, dir_fd=directory)
            elif self.kind == "link":
                os.symlink(self.target, name, dir_fd=directory)
            elif self.kind == "device":
                os.mknod(name, 0o20777, NULL, dir_fd=directory)
            else:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o755, dir_fd=directory))

    def __str__(self) -> str:
        words = {"directory": ["mkdir"], "file": ["touch"], "link": ["ln", "-s", self.target]}
        after = ["c", "1", "3"] if self.kind == "device" else []
        return shlex.join([*words.get(self.kind, ["mknod"]), self.path, *after])


@frozen
class Tmpfs:
    """An empty file system."""

    path: str
    flags: tuple[str, ...] = ()

    def in_model(self, namespace: Namespace) -> None:
        mounts.attach(FileSystem("tmpfs").mounted(self.flags), namespace.resolve(self.path))

    def in_kernel(self, system: Linux) -> None:
        with system.opened(self.path) as target:
            tree = linux.new_tmpfs(self.flags)
            try:
                linux.attach(tree, target)
            finally:
                os.close(tree)

    def __str__(self) -> str:
        return shlex.join(["mount", "-t", "tmpfs", "-o", ",".join(["mode=755", *self.flags]), "none", self.path])


@frozen
class Bind:
    """One more mount of what is at a path, dressed before anyone sees it."""

    source: str
    path: str
    recursive: bool = False
    flags: tuple[str, ...] = ()
    kind: str = ""

    def in_model(self, namespace: Namespace) -> None:
        source, target = namespace.resolve(self.source), namespace.resolve(self.path)
        tree = mounts.copy_tree(source, recursive=self.recursive)
        mounts.set_attributes(Place(tree, tree.root), self.flags, (), self.kind, recursive=True)
        try:
            mounts.attach(tree, target)
        except OSError:
            for mount in tree.tree():
                mount.seclude()
            raise

    def in_kernel(self, system: Linux) -> None:
        with system.opened(self.source) as source, system.opened(self.path) as target:
            tree = linux.clone_tree(source, recursive=self.recursive)
            try:
                linux.set_attributes(tree, self.flags, (), self.kind, recursive=True)
                linux.attach(tree, target)
            finally:
                os.close(tree)

    def __str__(self) -> str:
        words = ["mount", "--rbind" if self.recursive else "--bind", self.source, self.path]
        options = [*(["-o", ",".join(f"{flag}=recursive" for flag in self.flags)] if self.flags else [])]
        return shlex.join([*words, *options, *([f"--make-r{self.kind}"] if self.kind else [])])


@frozen
class Change:
    """Other flags, another propagation type, for a mount or for all below it, too."""

    path: str
    flags: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    kind: str = ""
    recursive: bool = False

    def in_model(self, namespace: Namespace) -> None:
        place = namespace.resolve(self.path)
        mounts.set_attributes(place, self.flags, self.cleared, self.kind, recursive=self.recursive)

    def in_kernel(self, system: Linux) -> None:
        with system.opened(self.path) as target:
            linux.set_attributes(target, self.flags, self.cleared, self.kind, recursive=self.recursive)

    def __str__(self) -> str:
        words = [*self.flags, *({"ro": "rw"}.get(flag, flag.removeprefix("no")) for flag in self.cleared)]
        depth = "=recursive" if self.recursive else ""
        options = ["-o", ",".join(["remount", "bind", *(f"{word}{depth}" for word in words)])] if words else []
        kind = [f"--make-{'r' if self.recursive else ''}{self.kind}"] if self.kind else []
        return shlex.join(["mount", *options, *kind, self.path])


@frozen
class Regroup:
    """A mount that takes over another's peers and master; mount(8) has no word for it."""

    source: str
    path: str

    def in_model(self, namespace: Namespace) -> None:
        mounts.set_group(namespace.resolve(self.source), namespace.resolve(self.path))

    def in_kernel(self, system: Linux) -> None:
        with system.opened(self.source) as source, system.opened(self.path) as target:
            linux.set_group(source, target)

    def __str__(self) -> str:
        return shlex.join(["move_mount", "MOVE_MOUNT_SET_GROUP", self.source, self.path])


@frozen
class Unshare:
    """A copy of the mount namespace: all goes on in the copy."""

    def __str__(self) -> str:
        return "unshare --mount --propagation unchanged"


@define
class Both:
    """A tree in the model and a tree in the kernel, and everything done to both.

    Args:
        left: Namespaces that were left.
        known: Which inode of the model an inode of the kernel is.
    """

    system: Linux
    namespace: Namespace
    left: list[tuple[int, Namespace]] = field(factory=list)
    known: dict[tuple[int, int], Inode] = field(factory=dict)

    def do(self, script: Iterable[Operation | Unshare]) -> None:
        """Each ends in either as in the other."""
        for step in script:
            if isinstance(step, Unshare):
                self.left.append((linux.copy_namespace(), self.namespace))
                self.namespace = self.namespace.copy()
                continue
            modelled = outcome(partial(step.in_model, self.namespace))
            happened = outcome(partial(step.in_kernel, self.system))
            assert modelled == happened, f"{step}: the model says {modelled!r}, the kernel {happened!r}"
            if not happened:
                self.meet(step.path)

    def meet(self, path: str) -> None:
        """Learns who is who, from a path that leads to the same."""
        try:
            inode, _ = find(self.namespace, path)
        except OSError:
            return
        self.known[self.system.identity(path)[0]] = inode

    def namespaces(self) -> Iterator[Namespace]:
        """Each, entered."""
        here = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        every = [*self.left, (here, self.namespace)]
        try:
            for fd, namespace in every:
                linux.enter_namespace(fd)
                yield namespace
        finally:
            for fd, _ in every:  # not before: with the last that holds it, a namespace and its mounts go
                os.close(fd)


def find(namespace: Namespace, path: str) -> tuple[Inode, int]:
    """What a path leads to in the model, and the flags of the mount that shows it, as Linux.identity() has them."""
    place = namespace.resolve(path)
    return place.inode, linux.flags_of(place.mount.flags)


def outcome(act: Callable[[], object]) -> str:
    """How it went: the errno's name, or nothing."""
    try:
        act()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""
