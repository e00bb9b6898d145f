"""One cgroup directory, held open: its files are read and written by descriptor, never by a second walk of the path."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bpm.cgroup.hierarchy import parse_mounts, read_proc
from bpm.errors import CgroupError

OURS = "bpm-"
"""What the name of every cgroup that bpm makes, kills or removes begins with, but for systemd's scopes."""

SCOPE = ("-bpm-bpm-", ".scope")
"""What the name of a scope around a container has within it, and at its end."""

# A cgroup, or one of its files, that is gone (ENODEV: removed while open), or has no processes of its own to name
# (EOPNOTSUPP: a threaded v2 cgroup, whose processes are listed in its parent).
_NOTHING_THERE = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)


def check_ours(path: str) -> None:
    """Refuse a path that bpm does not name like this: whatever else it is, it is not ours to end or remove.

    Raises:
        CgroupError: The path is not absolute and clean, or its last name neither begins with ``bpm-`` nor is that of
            a scope of ours.
    """
    name = os.path.basename(path)
    ours = name.startswith(OURS) or (SCOPE[0] in name and name.endswith(SCOPE[1]))
    if not path.startswith("/") or os.path.normpath(path) != path or not ours:
        raise CgroupError(path, "", "", errno.EINVAL, f"not a cgroup of bpm's: the name must begin with {OURS}")


@contextmanager
def opened(path: str, above: int | None = None) -> Iterator[int]:
    """The directory, as a descriptor that lasts as long as the ``with`` block; a link is not followed."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    directory = os.open(path, flags, dir_fd=above)
    try:
        yield directory
    finally:
        os.close(directory)


def check_is_cgroup(directory: int, path: str) -> None:
    """Refuse a directory that is not a cgroup, or is the top of a mounted hierarchy.

    The evidence is the kernel's own: fdinfo names the mount that the descriptor is on, mountinfo
    its type. (statvfs(3) does not tell the type, and files called ``cgroup.procs`` anyone can write.)

    Raises:
        CgroupError: It is not a cgroup below a mount point.
    """
    try:
        fdinfo, mountinfo = read_proc(f"self/fdinfo/{directory}"), read_proc("self/mountinfo")
    except OSError as error:
        raise CgroupError(path, "", "", error.errno or 0, "/proc does not tell what file system it is on") from error
    number = next(line.split()[1] for line in fdinfo.split("\n") if line.startswith("mnt_id:"))
    line = next((line for line in mountinfo.split("\n") if line.startswith(number + " ")), "")
    for mount in parse_mounts(line):
        if mount.kind in ("cgroup", "cgroup2") and mount.path != path:
            return
    raise CgroupError(path, "", "", errno.EINVAL, "not a cgroup below a mounted hierarchy")


def read_text(directory: int, name: str) -> str | None:
    """The whole text of one file, or None where there is no such file, or no longer."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except OSError as error:
        if error.errno in _NOTHING_THERE:
            return None
        raise
    parts = []
    try:
        # The kernel gives a long list a page at a time.
        while part := os.read(file, 65536):
            parts.append(part)
    except OSError as error:
        if error.errno not in _NOTHING_THERE:
            raise
        return None
    finally:
        os.close(file)
    return b"".join(parts).decode("ascii")


def write_text(directory: int, name: str, value: str) -> None:
    """Write one value in one write(2): the kernel takes each write as a whole.

    Raises:
        OSError: The kernel's refusal.
    """
    file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(file, value.encode("ascii"))
    finally:
        os.close(file)


def list_children(directory: int) -> list[str]:
    """The names of the cgroups right below, sorted."""
    # A cgroup directory counts its children in its links, so the usual case costs one fstat(2).
    if os.fstat(directory).st_nlink == 2:
        return []
    with os.scandir(directory) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def list_processes(directory: int) -> set[int]:
    """The processes in it and below it, by their numbers here.

    Those that our pid namespace cannot see are all one 0 in v2, and left out in v1.
    """
    found = {int(line) for line in (read_text(directory, "cgroup.procs") or "").split()}
    for name in list_children(directory):
        try:
            with opened(name, directory) as child:
                found |= list_processes(child)
        except FileNotFoundError:
            pass
    return found


def remove_children(directory: int) -> None:
    """Remove the cgroups below, from the deepest up, as far as they are empty."""
    for name in list_children(directory):
        try:
            with opened(name, directory) as child:
                remove_children(child)
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT):
                raise


def name_processes(pids: set[int]) -> str:
    """Some processes in words: ``2 processes are in it: 12, 13``."""
    seen = sorted(pids - {0})
    if not seen:
        return "processes that cannot be seen from here are in it"
    verb = "process is" if len(seen) == 1 else "processes are"
    return f"{len(seen)} {verb} in it: {', '.join(map(str, seen[:8]))}{', ...' if len(seen) > 8 else ''}"


def pauses(deadline: float) -> Iterator[None]:
    """Try now, and again after each of ever longer pauses (0.2 to 20 ms), until ``deadline`` on time.monotonic()."""
    pause = 0.0002
    while True:
        yield
        left = deadline - time.monotonic()
        if left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 2, 0.02)
