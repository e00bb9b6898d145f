"""Locks: one holder at a time, and none that outlives its process."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from bpm.errors import Locked
from bpm.runtime.lock import locked


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "locks" / "job-bpm-web.lock")


def hold_in_child(path: str) -> int:
    """A process that holds the lock until it is killed; returns once it does."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        with locked(path):
            os.write(writer, b"!")
            signal.pause()
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    return pid


def test_one_holds_it_at_a_time(path: str):
    """Who will not wait for a lock that another process holds is told so."""
    pid = hold_in_child(path)
    try:
        with pytest.raises(Locked), locked(path, wait=False):
            pass
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_killed_holder_holds_nothing(path: str):
    """A lock whose holder was killed can be taken at once."""
    pid = hold_in_child(path)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    with locked(path, wait=False):
        pass


def test_a_thread_may_take_what_it_holds(path: str):
    """A thread that holds a lock goes on when it asks again, and lets go only at the end."""
    with locked(path):
        with locked(path, wait=False):
            pass
        seen: list[str] = []
        other = threading.Thread(target=lambda: seen.append(try_to_lock(path)))
        other.start()
        other.join()
    assert ["held"] == seen
    assert "free" == try_to_lock(path)


def try_to_lock(path: str) -> str:
    try:
        with locked(path, wait=False):
            return "free"
    except Locked:
        return "held"


def test_locks_are_for_root_alone(path: str):
    """The lock file has mode 0600, in a directory of mode 0700."""
    with locked(path):
        modes = [os.stat(p).st_mode & 0o777 for p in (path, os.path.dirname(path))]
    assert [0o600, 0o700] == modes


def test_a_link_is_not_followed(path: str, tmp_path: Path):
    """A link in the lock file's place is refused, and its target untouched."""
    target = tmp_path / "target"
    os.mkdir(os.path.dirname(path), 0o700)
    os.symlink(target, path)
    with pytest.raises(OSError), locked(path):
        pass
    assert not target.exists()
