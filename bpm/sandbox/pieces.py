"""What a sandbox's root is built of. Each piece starts strict; what loosens it is named."""

from __future__ import annotations

import os
from collections.abc import Iterable

from attrs import field, frozen
from attrs.converters import optional
from attrs.validators import instance_of


def as_path(path: str | os.PathLike[str]) -> str:
    """A path as text.

    Raises:
        TypeError: It is none.
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"expected a path as text, got {text!r}")
    return text


def as_names(names: Iterable[str]) -> tuple[str, ...]:
    """Several names.

    Raises:
        TypeError: It is one.
    """
    if isinstance(names, str):
        raise TypeError(f"expected several names, got {names!r}; write ({names!r},)")
    return tuple(names)


def as_place(where: str | os.PathLike[str] | int) -> str | int:
    """A path as text, or a descriptor."""
    return where if isinstance(where, int) else as_path(where)


@frozen
class Bind:
    """A file or directory of the host, seen inside: read-only; no devices, no setuid programs.

    Args:
        source: The path outside.
        target: The path inside; the same one by default.
        writable: Whether it may be written to.
        executable: Whether programs on it may be run; by default those that cannot be written.
        recursive: Whether what is mounted below it comes along.
        optional: Whether it is left out where the source does not exist.
    """

    source: str = field(converter=as_path)
    target: str | None = field(default=None, converter=optional(as_path))
    writable: bool = False
    executable: bool | None = None
    recursive: bool = True
    optional: bool = False


@frozen
class Tmpfs:
    """An empty directory in memory, which everyone inside may write to; no programs are run from it.

    Args:
        target: The path inside.
        size: The most that it holds, as bytes or such as ``"64M"``; half of the machine's memory by default.
        mode: Its permission bits.
        executable: Whether programs on it may be run.
    """

    target: str = field(converter=as_path)
    size: str | int | None = None
    mode: int = field(default=0o1777, validator=instance_of(int))
    executable: bool = False


@frozen
class Proc:
    """The processes inside, at /proc.

    Args:
        masked: Whether what speaks of the machine is masked there, and its controls are read-only.
    """

    masked: bool = True


@frozen
class Dev:
    """A /dev of its own: null, zero, full, random, urandom, tty, the standard streams.

    Args:
        terminals: Whether it can make pseudo-terminals.
        shared_memory: Whether there is a /dev/shm.
    """

    terminals: bool = True
    shared_memory: bool = True


@frozen
class Sys:
    """What the kernel says of its devices and drivers, at /sys: read-only, firmware masked."""


@frozen
class Symlink:
    """A symbolic link in the sandbox's own root.

    Args:
        path: Where it is, inside.
        to: Where it leads, inside.
    """

    path: str = field(converter=as_path)
    to: str = field(converter=as_path)


Piece = Bind | Tmpfs | Proc | Dev | Sys | Symlink


@frozen
class Join:
    """Namespaces that exist, to be joined.

    Args:
        where: A path such as ``/run/netns/blue`` or ``/proc/123/ns/net``, or the pidfd of a process that is in them.
        kinds: Which: ``network``, ``ipc``, ``uts``, ``cgroup``, ``pid``. A path leads to one.
    """

    where: str | int = field(converter=as_place)
    kinds: tuple[str, ...] = field(default=("network",), converter=as_names)
