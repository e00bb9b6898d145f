"""Callers that something is wrong with: forked, so that the test process stays as it is."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pickle
import platform
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from bpm._native import SpawnFailure, SpawnRequest, spawn
from bpm.host import kernel
from bpm.host.kernel import NUMBERS

Answer = TypeVar("Answer")

CLONE_NEWNS = 0x0002_0000
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
CALLS = {
    **{"x86_64": {"prctl": 157, "prlimit64": 302}, "aarch64": {"prctl": 167, "prlimit64": 261}}[platform.machine()],
    **NUMBERS[platform.machine()],
    **{call.name: call.number for call in kernel.CALLS if call.number is not None},
}

libc = ctypes.CDLL(None, use_errno=True)


def check(result: int) -> int:
    """A libc call's result, or its errno raised."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def in_child(function: Callable[[], Answer], above: int = 0) -> Answer:
    """The answer of a function run in a fork of this process; what it raises is raised here.

    Args:
        above: Descriptors below this number are the function's to close and replace.
    """
    ours, low = os.pipe()
    theirs = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, above)
    os.close(low)
    pid = os.fork()
    if pid == 0:
        try:
            try:
                answer: tuple[bool, Any] = True, function()
            except BaseException as error:
                answer = False, error
            with open(theirs, "wb") as pipe:
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    if not data:
        raise ChildProcessError("the fork died without an answer")
    worked, result = pickle.loads(data)
    if not worked:
        raise result
    return result  # type: ignore[no-any-return]


def with_own_mounts() -> None:
    """Give this process (a fork) mounts of its own, of which nothing reaches the host."""
    check(libc.unshare(CLONE_NEWNS))
    check(libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None))


def mount(source: bytes, target: str | Path, kind: bytes | None = None, flags: int = 0) -> None:
    """mount(2)."""
    check(libc.mount(source, os.fsencode(target), kind, flags, None))


def refuse_call(name: str, errno: int, first_argument: int | None = None) -> None:
    """Have the kernel answer a system call of this process (a fork) and its children with an errno.

    As Docker's seccomp profile does with many. No no_new_privs is needed: we are root.
    """
    load, equal, answer = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    program = [(load, 0, 0, 0)]  # seccomp_data.nr
    if first_argument is None:
        program += [(equal, 0, 1, CALLS[name])]
    else:
        program += [(equal, 0, 3, CALLS[name]), (load, 0, 0, 16), (equal, 0, 1, first_argument)]
    program += [(answer, 0, 0, 0x0005_0000 | errno), (answer, 0, 0, 0x7FFF_0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in program))
    fprog = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    check(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0))


def answer_of(request: SpawnRequest) -> tuple[str, int, int, int | None]:
    """How a spawn that must fail does: the stage's word, item, errno and init's status."""
    try:
        spawned = spawn(request)
    except SpawnFailure as failure:
        return failure.stage.word, failure.item, failure.number, failure.status
    os.kill(spawned.pid, 9)
    os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED)
    os.close(spawned.pidfd)
    raise AssertionError("it did not fail")


def children() -> list[int]:
    """Our children, dead ones too."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == os.getpid():
            found.append(int(name))
    return sorted(found)


def leavings() -> tuple[list[int], list[int], int]:
    """What a spawn could leave: open descriptors, children, and how many mounts there are."""
    descriptors = [fd for fd in sorted(map(int, os.listdir("/proc/self/fd"))) if _is_open(fd)]
    return descriptors, children(), Path("/proc/self/mountinfo").read_bytes().count(b"\n")


def _is_open(fd: int) -> bool:
    """Not so for the descriptor of the listing itself."""
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
