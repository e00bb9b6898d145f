"""Locks: one for each process, so that start, stop and run follow one another; one for each shared volume.

flock(2) belongs to the open file: it ends with its holder, however that dies, so the files stay and are
never removed (to remove one would let two holders lock two files of the same name).
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bpm import safepath
from bpm.errors import Locked

_mine = threading.local()


@contextmanager
def locked(path: str, *, wait: bool = True) -> Iterator[None]:
    """Holds the lock file ``path``. A thread that holds it already just goes on.

    Its directory is made when missing, root's alone.

    Raises:
        Locked: Someone else holds it, and ``wait`` is false.
        UnsafePathError: The way there leads through what someone other than root could have planted.
    """
    held: set[str] = _mine.__dict__.setdefault("held", set())
    if path in held:
        yield
        return
    safepath.make_directory(os.path.dirname(path), mode=0o700, uid=0, gid=0)
    fd = safepath.open_lock(path)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise Locked(f"{path} is held by another bpm") from None
        held.add(path)
        yield
    finally:
        held.discard(path)
        os.close(fd)
