"""What the host has mounted below what a bind mount shows: the plan does not say, and its words open only the top."""

from __future__ import annotations

import os
import posixpath

from attrs import frozen

from bpm.plan import Mount


@frozen
class HostMount:
    """A mount of the host's own below what a bind shows: what it forbids stays forbidden.

    Args:
        path: Where it is mounted, outside.
        flags: Of statvfs(3).
    """

    path: str
    flags: int


def find_host_mount(outside: str, mount: Mount) -> HostMount | None:
    """The one that a file is on; None where it is on what is bound itself."""
    try:
        number, source = _mount_number(outside), os.path.realpath(mount.source)
        if number == _mount_number(source):
            return None
        flags = os.statvfs(outside).f_flag
        while outside != source and _mount_number(posixpath.dirname(outside)) == number:
            outside = posixpath.dirname(outside)
    except OSError:
        return None
    return HostMount(outside, flags)


def _mount_number(path: str) -> str:
    """Which mount shows a path: proc_pid_fdinfo(5)."""
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
            return next(line.split()[1] for line in file if line.startswith("mnt_id:"))
    finally:
        os.close(fd)
