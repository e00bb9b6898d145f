"""Trees of files with owners, what they look like, and every operation of safepath as a function of a path alone."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable

from attrs import frozen

from bpm import safepath

# Nobody on this machine; volume by number needs no user.
HOSTILE = 54321

Operation = Callable[[str], None]


def write(path: str, text: str = "", uid: int = 0, mode: int = 0o644) -> str:
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)
    if os.geteuid() == 0:
        os.chown(path, uid, uid)
    return path


def mkdir(path: str, uid: int = 0, mode: int = 0o755, gid: int | None = None) -> str:
    os.makedirs(path, exist_ok=True)
    if os.geteuid() == 0:
        os.chown(path, uid, uid if gid is None else gid)
    os.chmod(path, mode)
    return path


def symlink(target: str, path: str, uid: int = 0) -> str:
    os.symlink(target, path)
    if os.geteuid() == 0:
        os.lchown(path, uid, uid)
    return path


def look(path: str) -> tuple[int, int, int]:
    """Owner, group and permission bits."""
    status = os.lstat(path)
    return status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)


@frozen
class State:
    """All of a thing that an attack could change."""

    mode: int
    uid: int
    gid: int
    device: int
    contents: bytes


Snapshot = dict[str, State]


def snapshot(top: str) -> Snapshot:
    """Everything below a directory, and itself."""
    paths = [top]
    for above, names, files in os.walk(top):
        paths.extend(os.path.join(above, name) for name in names + files)
    return {path: _state(path) for path in paths}


def _state(path: str) -> State:
    status = os.lstat(path)
    contents = b""
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as file:
            contents = file.read()
    elif stat.S_ISLNK(status.st_mode):
        contents = os.fsencode(os.readlink(path))
    return State(status.st_mode, status.st_uid, status.st_gid, status.st_rdev, contents)


def plant_secrets(top: str) -> str:
    """What a hostile user is after: root's directory ``outside``, with secrets in it."""
    mkdir(f"{top}/outside")
    write(f"{top}/outside/secret", "secret", mode=0o600)
    mkdir(f"{top}/outside/private", mode=0o700)
    write(f"{top}/outside/private/key", "key", mode=0o600)
    return f"{top}/outside"


def make(path: str) -> None:
    safepath.make_directory(path, 0o700, HOSTILE, HOSTILE)


def log(path: str) -> None:
    os.close(safepath.open_log(path, 0o600, HOSTILE, HOSTILE))


def volume(path: str) -> None:
    safepath.make_directory(path, 0o700, HOSTILE, HOSTILE, any_kind=True)


def source(path: str) -> None:
    os.close(safepath.open_source(path))


def directory(path: str) -> None:
    os.close(safepath.open_directory(path))


def reader(path: str) -> None:
    os.close(safepath.open_file(path))


def read(path: str) -> None:
    safepath.read_file(path, 1000)


def save(path: str) -> None:
    safepath.write_file(path, b"ours", 0o600)


def create(path: str) -> None:
    os.close(safepath.create_file(path))


def lock(path: str) -> None:
    os.close(safepath.open_lock(path))


def remove(path: str) -> None:
    safepath.remove_file(path)


OPERATIONS = (make, log, volume, source, directory, reader, read, save, create, lock, remove)
