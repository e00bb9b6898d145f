"""The seccomp filters that a running process has, fetched from the kernel."""

from __future__ import annotations

import ctypes
import os

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
PTRACE_SECCOMP_GET_FILTER = 0x420C  # since 4.4; needs CAP_SYS_ADMIN and CONFIG_CHECKPOINT_RESTORE
INSTRUCTION = 8
ALL_THREADS = 0x4000_0000  # __WALL

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p]


def _ptrace(request: int, pid: int, address: int = 0, data: object = None) -> int:
    answer: int = _libc.ptrace(request, pid, address, data)
    if answer < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def filters_of(pid: int, count: int) -> list[bytes]:
    """So many filters of a process, the newest first, each as an array of struct sock_filter."""
    _ptrace(PTRACE_SEIZE, pid)
    try:
        _ptrace(PTRACE_INTERRUPT, pid)
        os.waitpid(pid, ALL_THREADS)
        return [_filter(pid, index) for index in range(count)]
    finally:
        _ptrace(PTRACE_DETACH, pid)


def _filter(pid: int, index: int) -> bytes:
    size = _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index)
    program = ctypes.create_string_buffer(size * INSTRUCTION)
    _ptrace(PTRACE_SECCOMP_GET_FILTER, pid, index, program)
    return program.raw
