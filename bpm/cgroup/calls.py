"""mount(2) and bpf(2), for which Python has no function."""

from __future__ import annotations

import os
from typing import Any

_BPF = {"x86_64": 321, "aarch64": 280}

_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8

_libc: Any = None


def mount(kind: str, path: str, options: str) -> None:
    """Mount a file system of the kernel's own, with nothing in it that can be executed.

    Raises:
        OSError: The kernel's refusal.
    """
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC
    import ctypes

    source, target, data = kind.encode(), os.fsencode(path), options.encode()
    _check(_load().mount(source, target, source, ctypes.c_ulong(flags), data), path)


def bpf(command: int, attributes: bytes) -> tuple[int, bytes]:
    """bpf(2): its result, and the attributes, into which the kernel may have written.

    Raises:
        OSError: The kernel's refusal.
    """
    import ctypes

    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    number = _BPF[os.uname().machine]
    result = _load().syscall(*map(ctypes.c_long, (number, command)), buffer, ctypes.c_long(len(attributes)))
    return _check(result), buffer.raw


def address_of(data: bytes) -> tuple[int, Any]:
    """Where the kernel finds these bytes, and what must be kept until it has."""
    import ctypes

    buffer = ctypes.create_string_buffer(data, len(data))
    return ctypes.addressof(buffer), buffer


def _load() -> Any:
    # A few milliseconds that only a host which needs one of these pays.
    import ctypes

    global _libc
    if _libc is None:
        _libc = ctypes.CDLL(None, use_errno=True)
        _libc.syscall.restype = ctypes.c_long
    return _libc


def _check(result: int, path: str | None = None) -> int:
    import ctypes

    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return result
