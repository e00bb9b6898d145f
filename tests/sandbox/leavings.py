"""What programs in sandboxes could leave behind: descriptors, children, mounts, cgroups."""

from __future__ import annotations

import os
from pathlib import Path

from tests.native.callers import leavings as native_leavings

HIERARCHIES = Path("/sys/fs/cgroup")


def cgroups() -> list[str]:
    """The cgroups of this process's sandboxes, wherever they are."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, own = line.split(":", 2)
        place = HIERARCHIES / (names.removeprefix("name=") or "unified")
        for directory in (place / own.lstrip("/"), place):
            if directory.is_dir():
                found += [str(entry) for entry in directory.iterdir() if entry.name.startswith(prefix())]
                break
    return sorted(found)


def prefix() -> str:
    return f"bpm-sandbox-{os.getpid()}-"


def leavings() -> tuple[list[int], list[int], list[str]]:
    """Descriptors, children, cgroups."""
    descriptors, children, _ = native_leavings()
    return descriptors, children, cgroups()
