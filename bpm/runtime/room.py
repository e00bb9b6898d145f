"""Room for descriptors: monit and others start bpm with few of them allowed, and a start opens two a bind mount."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from bpm.plan import Rlimit

# What a start holds open beside its mounts: logs, lock, pipes, cgroups, and init's own seven.
OTHERS = 48


@contextmanager
def room_for(mounts: int) -> Iterator[tuple[Rlimit, ...]]:
    """Raises RLIMIT_NOFILE meanwhile where it is too low for a start, as far as the kernel lets us.

    Yields:
        The limit that the program is to be given back; nothing where none was changed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * mounts + OTHERS
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        yield ()
        return
    enough = hard == resource.RLIM_INFINITY or hard >= wanted
    try:
        # The hard limit moves only with CAP_SYS_RESOURCE.
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard if enough else wanted))
    except (OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        yield (Rlimit("RLIMIT_NOFILE", soft, hard, "the caller's own limit"),)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
