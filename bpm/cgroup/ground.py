"""What has to be so before a cgroup can be made: hierarchies mounted, and bpm's own cgroup v2 empty of processes."""

from __future__ import annotations

import errno
import os
import time

from bpm.cgroup.calls import mount
from bpm.cgroup.directory import name_processes, opened, pauses, read_text, write_text
from bpm.cgroup.hierarchy import parse_mounts, read_proc
from bpm.errors import CgroupError
from bpm.plan import CgroupMount, Evacuation

_TIMEOUT = 2.0  # seconds


def mount_hierarchies(mounts: tuple[CgroupMount, ...]) -> None:
    """Mount these, in order, save what another bpm has mounted meanwhile. They stay.

    Raises:
        CgroupError: A mount point cannot be made, or the kernel refuses.
    """
    for wanted in mounts:
        if any(there.path == wanted.path for there in parse_mounts(read_proc("self/mountinfo"))):
            continue
        try:
            os.makedirs(wanted.path, 0o755, exist_ok=True)
            mount(wanted.kind, wanted.path, ",".join(wanted.options))
        except OSError as error:
            hint = f"mounting {wanted.kind} ({','.join(wanted.options)}) there was refused"
            if error.errno == errno.EBUSY:
                hint += ": its controllers are in use in another hierarchy"
            raise CgroupError(wanted.path, "", wanted.because, error.errno or 0, hint) from error


def evacuate(evacuation: Evacuation, timeout: float = _TIMEOUT) -> None:
    """Move every process of a cgroup v2 into a child of it.

    Raises:
        CgroupError: The child cannot be made, a process cannot be moved or seen, or there are always new ones.
    """
    try:
        try:
            os.mkdir(evacuation.leaf, 0o755)
        except FileExistsError:
            pass
        with opened(evacuation.path) as directory, opened(evacuation.leaf) as leaf:
            left = _move(directory, leaf, time.monotonic() + timeout)
    except OSError as error:
        raise _refused(evacuation, error.errno or 0, "its processes cannot be moved out of the way") from error
    if left:
        hint = f"it cannot give controllers to a child while {name_processes(left)}"
        if 0 in left:
            hint += "; they belong to an outer pid namespace: start bpm in a cgroup without them"
        raise _refused(evacuation, errno.EBUSY, hint)


def _move(directory: int, leaf: int, deadline: float) -> set[int]:
    """Who is left when it is over: who cannot be seen from here, or came in the last moment."""
    left: set[int] = set()
    for _ in pauses(deadline):
        left = {int(line) for line in (read_text(directory, "cgroup.procs") or "").split()}
        for pid in left - {0}:
            try:
                write_text(leaf, "cgroup.procs", str(pid))
            except ProcessLookupError:
                pass  # It has ended.
        if not left or left == {0}:
            break
    return left


def _refused(evacuation: Evacuation, number: int, hint: str) -> CgroupError:
    return CgroupError(evacuation.path, "", evacuation.because, number, hint)
