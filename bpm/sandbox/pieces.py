"""What a sandbox's root is built of. Each piece starts strict; what loosens it is named."""

from __future__ import annotations

from attrs import frozen


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

    source: str
    target: str | None = None
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

    target: str
    size: str | int | None = None
    mode: int = 0o1777
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

    path: str
    to: str


Piece = Bind | Tmpfs | Proc | Dev | Sys | Symlink


@frozen
class Join:
    """Namespaces that exist, to be joined.

    Args:
        where: A path such as ``/run/netns/blue`` or ``/proc/123/ns/net``, or the pidfd of a process that is in them.
        kinds: Which: ``network``, ``ipc``, ``uts``, ``cgroup``, ``pid``. A path leads to one.
    """

    where: str | int
    kinds: tuple[str, ...] = ("network",)
