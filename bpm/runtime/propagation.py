"""Shared mounts, by descriptor: the part of mount(8)'s `--make-shared` that bpm needs.

Through ctypes, and imported only where a volume asks for it: few do.
"""

from __future__ import annotations

import ctypes
import errno
import os

# The same numbers on every architecture: all calls since 5.1 have one.
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442

AT_EMPTY_PATH = 0x1000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC = 1, os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH = 0x04, 0x40
MS_SHARED = 1 << 20


class _Attributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def make_shared(fd: int) -> None:
    """Makes the directory or file behind a descriptor a shared mount, a mount of its own where it is none.

    Raises:
        OSError: The kernel's refusal.
    """
    if _set_shared(fd):
        return
    tree = _call(OPEN_TREE, fd, b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
    try:
        # Shared before it is visible: nobody sees it half made.
        _set_shared(tree)
        _call(MOVE_MOUNT, tree, b"", fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
    finally:
        os.close(tree)


def _set_shared(fd: int) -> bool:
    """Whether it could be done: EINVAL says that the descriptor is not at the root of a mount."""
    attributes = _Attributes(propagation=MS_SHARED)
    try:
        _call(MOUNT_SETATTR, fd, b"", AT_EMPTY_PATH, ctypes.byref(attributes), ctypes.sizeof(attributes))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def _call(number: int, *arguments: object) -> int:
    # syscall(2) reads whole registers, and an int given without a type would be passed as 32 bits of one.
    result = _libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return int(result)
