"""The kernel: its calls for mounts, by number, in a mount namespace of the test's own."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from attrs import frozen

from tests.inside import MountLine, parse_mounts

# The same numbers on every architecture: all calls since 5.1 have one.
OPEN_TREE, MOVE_MOUNT, FSOPEN, FSCONFIG, FSMOUNT, OPENAT2, MOUNT_SETATTR = 428, 429, 430, 431, 432, 437, 442
CLONE_NEWNS = 0x0002_0000
AT_FDCWD, AT_EMPTY_PATH, AT_RECURSIVE = -100, 0x1000, 0x8000
OPEN_TREE_CLONE = 1
FSCONFIG_SET_STRING, FSCONFIG_CREATE = 1, 6
MOVE_EMPTY_PATHS, MOVE_MOUNT_SET_GROUP = 0x04 | 0x40, 0x100
RESOLVE_NO_MAGICLINKS, RESOLVE_IN_ROOT = 0x02, 0x10
FLAGS = {"ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8}  # MOUNT_ATTR_*, and the same numbers in statvfs(3)
PROPAGATION = {"": 0, "private": 1 << 18, "slave": 1 << 19, "shared": 1 << 20}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def call(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_uint64] | None) -> int:
    """A system call, its errno raised."""
    words = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    return _check(_libc.syscall(ctypes.c_long(number), *words))


def numbers(*values: int) -> ctypes.Array[ctypes.c_uint64]:
    """A structure of 64-bit numbers: struct open_how, struct mount_attr."""
    return (ctypes.c_uint64 * len(values))(*values)


def flags_of(words: Iterable[str]) -> int:
    return sum(FLAGS[word] for word in words)


@contextmanager
def private_namespace() -> Iterator[None]:
    """This thread in a copy of the mounts, of which nothing reaches anyone else, and which goes with the block."""
    home = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    directory = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        _check(_libc.unshare(CLONE_NEWNS))
        set_attributes("/", (), (), "private", recursive=True)
        yield
    finally:
        _check(_libc.setns(home, CLONE_NEWNS))
        os.fchdir(directory)
        os.close(directory)
        os.close(home)


def copy_namespace() -> int:
    """Goes into a copy of the namespace; a descriptor of the one that was left."""
    left = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    _check(_libc.unshare(CLONE_NEWNS))
    return left


def enter_namespace(fd: int) -> None:
    _check(_libc.setns(fd, CLONE_NEWNS))


def read_mounts() -> tuple[MountLine, ...]:
    """All mounts of the namespace that this thread is in."""
    return parse_mounts(Path("/proc/thread-self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))


def set_attributes(
    where: str | int, to_set: tuple[str, ...], to_clear: tuple[str, ...], kind: str, *, recursive: bool
) -> None:
    """mount_setattr(2) of a path or descriptor."""
    fd, path = (AT_FDCWD, os.fsencode(where)) if isinstance(where, str) else (where, b"")
    attributes = numbers(flags_of(to_set), flags_of(to_clear), PROPAGATION[kind], 0)
    call(MOUNT_SETATTR, fd, path, AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), attributes, 32)


@frozen
class Linux:
    """A part of the real tree: paths start at a directory that nothing leads out of."""

    root: str

    @contextmanager
    def opened(self, path: str, flags: int = 0) -> Iterator[int]:
        """An O_PATH descriptor."""
        top = os.open(self.root, os.O_PATH | os.O_CLOEXEC)
        how = numbers(os.O_PATH | os.O_CLOEXEC | flags, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
        try:
            fd = retried(partial(call, OPENAT2, top, os.fsencode(path.lstrip("/") or "."), how, 24))
        finally:
            os.close(top)
        try:
            yield fd
        finally:
            os.close(fd)

    def identity(self, path: str) -> tuple[tuple[int, int], int]:
        """Device and inode that a path leads to, and the flags of the mount that shows it."""
        with self.opened(path) as fd:
            status = os.fstat(fd)
            return (status.st_dev, status.st_ino), os.fstatvfs(fd).f_flag & 0xF


def retried(act: partial[int]) -> int:
    """openat2(2) answers EAGAIN where something was renamed or mounted anywhere while it went through a ``..``."""
    while True:
        try:
            return act()
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise


def new_tmpfs(flags: tuple[str, ...]) -> int:
    """A detached tmpfs."""
    context = call(FSOPEN, b"tmpfs", 1)
    try:
        call(FSCONFIG, context, FSCONFIG_SET_STRING, b"mode", b"0755", 0)
        call(FSCONFIG, context, FSCONFIG_CREATE, None, None, 0)
        return call(FSMOUNT, context, 1, flags_of(flags))
    finally:
        os.close(context)


def clone_tree(fd: int, *, recursive: bool) -> int:
    """A detached copy of what is at a place."""
    return call(OPEN_TREE, fd, b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | os.O_CLOEXEC | (AT_RECURSIVE if recursive else 0))


def attach(tree: int, target: int) -> None:
    """Hangs a detached tree over a place."""
    call(MOVE_MOUNT, tree, b"", target, b"", MOVE_EMPTY_PATHS)


def set_group(source: int, target: int) -> None:
    """Gives a private mount the peers and the master of another (since 5.15)."""
    call(MOVE_MOUNT, source, b"", target, b"", MOVE_EMPTY_PATHS | MOVE_MOUNT_SET_GROUP)
