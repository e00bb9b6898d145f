"""Whether this kernel, and whatever stands around us, has the calls that a spawn is made of."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

from attrs import frozen

from bpm.errors import HostError

# The oldest kernel that bpm is made for: that of BOSH's Jammy stemcell.
MINIMUM = (5, 15)
# Older calls have other numbers on each architecture.
_OLD = ("pivot_root", "umount2", "unshare", "setns", "seccomp", "memfd_create", "execveat", "statx")
NUMBERS = {
    "x86_64": dict(zip(_OLD, (155, 166, 272, 308, 317, 319, 322, 332), strict=True)),
    "aarch64": dict(zip(_OLD, (41, 39, 97, 268, 277, 279, 281, 291), strict=True)),
}

_NULL = 0
_BAD_FD = -1
_BAD_FLAGS = 0x7FFF_FFFF


@frozen
class Call:
    """A system call, and arguments that it refuses before it does anything.

    Args:
        number: The same on every architecture since 5.1 (include/uapi/asm-generic/unistd.h); None where NUMBERS has it.
        since: The kernel that brought it.
        mounts: Whether CAP_SYS_ADMIN is asked for before the arguments are looked at.
    """

    name: str
    number: int | None
    since: tuple[int, int]
    arguments: tuple[int, ...]
    mounts: bool = False


CALLS = (
    Call("clone3", 435, (5, 3), (_NULL, 0)),
    Call("openat2", 437, (5, 6), (_BAD_FD, _NULL, _NULL, 0)),
    Call("open_tree", 428, (5, 2), (_BAD_FD, _NULL, _BAD_FLAGS)),
    Call("move_mount", 429, (5, 2), (_BAD_FD, _NULL, _BAD_FD, _NULL, _BAD_FLAGS), mounts=True),
    Call("fsopen", 430, (5, 2), (_NULL, _BAD_FLAGS), mounts=True),
    Call("fsconfig", 431, (5, 2), (_BAD_FD, _BAD_FLAGS, _NULL, _NULL, 0)),
    Call("fsmount", 432, (5, 2), (_BAD_FD, _BAD_FLAGS, 0), mounts=True),
    Call("mount_setattr", 442, (5, 12), (_BAD_FD, _NULL, _BAD_FLAGS, _NULL, 0)),
    Call("close_range", 436, (5, 9), (2, 1, 0)),
    Call("pidfd_open", 434, (5, 3), (_BAD_FD, _BAD_FLAGS)),
    Call("pidfd_send_signal", 424, (5, 1), (_BAD_FD, 0, _NULL, _BAD_FLAGS)),
    Call("memfd_create", None, (3, 17), (_NULL, _BAD_FLAGS)),
    Call("seccomp", None, (3, 17), (_BAD_FLAGS, 0, _NULL)),
    Call("statx", None, (4, 11), (_BAD_FD, _NULL, _BAD_FLAGS, 0, _NULL)),
    Call("execveat", None, (3, 19), (_BAD_FD, _NULL, _NULL, _NULL, _BAD_FLAGS)),
    Call("setns", None, (3, 0), (_BAD_FD, 0)),
    Call("unshare", None, (2, 6), (_BAD_FLAGS,)),
    Call("pivot_root", None, (2, 3), (_NULL, _NULL), mounts=True),
    Call("umount2", None, (2, 1), (_NULL, _BAD_FLAGS), mounts=True),
)


def check_kernel() -> None:
    """Makes sure that every call is there, by making each with arguments that cannot do anything.

    Raises:
        HostError: Names the first that is missing or refused, and who is to blame.
    """
    machine = os.uname().machine
    if machine not in NUMBERS:
        raise HostError(f"bpm runs on {' and '.join(NUMBERS)}, and this machine is {machine}")
    for _, problem in try_calls():
        raise HostError(problem)


def try_calls() -> tuple[tuple[str, str], ...]:
    """The calls that are missing or refused here, each with who is to blame; on a machine of another kind, none."""
    numbers = NUMBERS.get(os.uname().machine)
    if numbers is None:
        return ()
    try_call = _load_syscall()
    release = os.uname().release
    capable = os.geteuid() == 0
    found = []
    for call in CALLS:
        number = numbers[call.name] if call.number is None else call.number
        problem = explain_answer(call, try_call(number, call.arguments), release, capable)
        if problem:
            found.append((call.name, problem))
    return tuple(found)


def explain_answer(call: Call, number: int, release: str, capable: bool) -> str | None:
    """What a call's answer to its impossible arguments means; None where it is there.

    Args:
        number: The errno.
        release: The kernel's version, as uname(2) has it.
        capable: Whether we may be expected to have CAP_SYS_ADMIN.
    """
    if number == errno.ENOSYS:
        if parse_release(release) >= call.since:
            return f"{call.name}(2) is refused here (ENOSYS), though Linux {release} has it: {_AROUND}"
        return (
            f"Linux {release} lacks {call.name}(2), which came with {_dotted(call.since)}; "
            f"bpm needs {_dotted(MINIMUM)} or newer"
        )
    if number == errno.EPERM and not call.mounts:
        return f"{call.name}(2) is refused here (EPERM): {_AROUND}"
    if number == errno.EPERM and capable:
        return f"{call.name}(2) is refused here (EPERM): CAP_SYS_ADMIN is missing, or {_AROUND}"
    return None


_AROUND = "a container that we run in, or a service manager, filters system calls"


def parse_release(release: str) -> tuple[int, int]:
    """The first two numbers of a kernel's version: ``5.15.0-91-generic`` is 5 and 15."""
    major, _, rest = release.partition(".")
    minor = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
    return (int(major), int(minor)) if major.isdigit() and minor else (0, 0)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _load_syscall() -> Callable[[int, tuple[int, ...]], int]:
    """A function that makes a call and answers with its errno, 0 for success."""
    import ctypes

    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long

    def try_call(number: int, arguments: tuple[int, ...]) -> int:
        ctypes.set_errno(0)
        result = syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments))
        return ctypes.get_errno() if result == -1 else 0

    return try_call
