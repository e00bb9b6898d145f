"""Cgroups of single spawns: each has a name of its own below ours, and goes when its program has ended."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from attrs import evolve

from bpm import cgroup
from bpm.errors import CgroupError
from bpm.plan import Cgroup
from bpm.sandbox.planning import CGROUP_NAME

_numbers = itertools.count()
_lock = threading.Lock()
_swept: set[str] = set()


def make_group(plan: Cgroup) -> cgroup.Group:
    """Make the plan's cgroup under a name that no other spawn has.

    Raises:
        CgroupError: It cannot be made, or a limit was refused.
    """
    name = f"{CGROUP_NAME}-{os.getpid()}-{next(_numbers)}"
    directories = tuple(evolve(d, path=f"{os.path.dirname(d.path)}/{name}") for d in plan.directories)
    for directory in directories:
        sweep(os.path.dirname(directory.path))
    return cgroup.create(evolve(plan, name=name, directories=directories))


def sweep(path: str) -> None:
    """Remove what processes left here that were killed before they could; once for each process of ours."""
    with _lock:
        if path in _swept:
            return
        _swept.add(path)
    try:
        names = os.listdir(path)
    except OSError:
        return
    for name in names:
        if name.startswith(CGROUP_NAME + "-") and not _alive(name.split("-")[2]):
            try:
                cgroup.Group((f"{path}/{name}",)).remove(0)
            except CgroupError:
                pass  # Something is in it, or it is another user's.


@contextmanager
def joined(group: cgroup.Group | None) -> Iterator[cgroup.Join | None]:
    """The descriptors by which a child gets into the group, for as long as the block lasts."""
    if group is None:
        yield None
        return
    with group.open_for_join() as join:
        yield join


def _alive(pid: str) -> bool:
    return os.path.exists(f"/proc/{pid}")
