"""What bpm does at a path, each by a walk (``walk.py``) and then by descriptor.

Every function takes an absolute path. It raises UnsafePathError where something was refused, and then nothing
was touched; any other OSError, with the path in it, is the kernel's own answer. The caller closes what it is given.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from bpm.safepath.walk import ATTEMPTS, Thing, Walk, expect_directory, refuse


def open_source(path: str | bytes) -> int:
    """An O_PATH descriptor of whatever stands at the path: a directory, file, socket or device to be mounted."""
    with Walk(path) as walk:
        return walk.existing().take()


def open_directory(path: str | bytes) -> int:
    """A descriptor of an existing directory, for reading, syncing, and as a ``dir_fd``."""
    with Walk(path) as walk:
        return expect_directory(walk.existing()).open_directory()


def make_directory(
    path: str | bytes,
    mode: int,
    uid: int,
    gid: int,
    *,
    chmod: bool = True,
    any_kind: bool = False,
    parent_mode: int = 0o700,
) -> None:
    """Sees to it that a directory exists and belongs to a user.

    Args:
        mode: Its permission bits.
        uid, gid: Its owner, also where it exists already.
        chmod: Whether one that exists already is given ``mode`` too.
        any_kind: Whether something else that stands there already, such as a file or a socket, is given as it is.
        parent_mode: The permission bits of parents that are missing. They become ours; below a directory of
            ``uid``'s, that user's.

    Raises:
        UnsafePathError: With the errno ENOTDIR where something else stands there, and ``any_kind`` is not set.
    """
    with Walk(path, uid=uid, parent_mode=parent_mode) as walk:
        missing = walk.found is None
        if missing:
            walk.make(0o700)
        thing = walk.existing()
        if missing or not any_kind:
            expect_directory(thing)
        walk.check_change(thing, uid)
        _give(thing, uid, gid, mode if thing.is_directory and (missing or chmod) else None)


def open_log(path: str | bytes, mode: int, uid: int, gid: int) -> int:
    """A descriptor to append to a log file, which is made, or made the user's, first. No link is followed to it."""
    for _ in range(ATTEMPTS):
        with Walk(path, follow=False, uid=uid) as walk:
            if walk.found is None:
                walk.check_making()
                try:
                    fd = _create(walk.name, walk.directory.fd)
                except FileExistsError:
                    continue
            else:
                fd = _open_existing_log(walk, walk.found, uid)
            try:
                os.fchown(fd, uid, gid)
                os.fchmod(fd, mode)
            except BaseException:
                os.close(fd)
                raise
            return fd
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN), os.fsdecode(path))


def _create(name: bytes, directory: int) -> int:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=directory)


def _open_existing_log(walk: Walk, thing: Thing, uid: int) -> int:
    _expect_no_link(walk, thing)
    walk.check_change(_expect_file(thing), uid)
    return os.open(thing.alias, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)


def open_file(path: str | bytes) -> int:
    """A descriptor to read a file with, such as a log of someone else's. No link is followed to it."""
    with Walk(path, follow=False) as walk:
        thing = walk.existing()
        _expect_no_link(walk, thing)
        return os.open(_expect_file(thing).alias, os.O_RDONLY | os.O_CLOEXEC)


def _expect_no_link(walk: Walk, thing: Thing) -> None:
    if thing.is_link:
        raise refuse(thing, f" (refusing to open symlink at {os.fsdecode(walk.path)})")


def read_file(path: str | bytes, limit: int, *, trusted: bool = False) -> bytes:
    """The contents of a file.

    Args:
        limit: The most bytes it may hold; EFBIG beyond.
        trusted: Whether it must be ours, in a directory that only we can write, as our own records are.
    """
    with Walk(path) as walk:
        thing = _expect_file(walk.existing())
        if trusted and (not thing.is_ours or thing.status.st_mode & 0o022 or walk.is_within_reach):
            raise refuse(thing, ", which others could have written")
        fd = os.open(thing.alias, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read_all(fd, limit)
        finally:
            os.close(fd)


def _read_all(fd: int, limit: int) -> bytes:
    pieces = []
    left = limit + 1
    while left and (piece := os.read(fd, min(left, 1 << 20))):
        pieces.append(piece)
        left -= len(piece)
    if not left:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return b"".join(pieces)


def write_file(path: str | bytes, data: bytes, mode: int, *, sync: bool = False) -> None:
    """Replaces a file, or makes it, in one step: who reads sees the old contents or the new ones.

    The file is ours, and so must be its directory, which nobody else may write. Two writers at once take turns;
    one that is killed leaves a hidden file that the next one uses up.

    Args:
        mode: Its permission bits.
        sync: Whether it must outlive a power cut that follows at once.
    """
    with Walk(path, look=False) as walk:
        _expect_ours(walk)
        draft = b"." + walk.name[:200] + b".new"
        fd = _lock_draft(draft, walk.directory.fd)
        try:
            os.ftruncate(fd, 0)
            _write_all(fd, data)
            os.fchown(fd, os.geteuid(), os.getegid())
            os.fchmod(fd, mode)
            if sync:
                os.fsync(fd)
            os.rename(draft, walk.name, src_dir_fd=walk.directory.fd, dst_dir_fd=walk.directory.fd)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=walk.directory.fd)
            raise
        finally:
            os.close(fd)
        if sync:
            _sync_directory(walk.directory)


def create_file(path: str | bytes) -> int:
    """A descriptor to write to a new, empty file with, ours alone, in the place of whatever has this name.

    Its directory must be ours, too, as with ``write_file()``.
    """
    with Walk(path, look=False) as walk:
        _expect_ours(walk)
        with suppress(FileNotFoundError):
            os.unlink(walk.name, dir_fd=walk.directory.fd)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(walk.name, flags, 0o600, dir_fd=walk.directory.fd)


def open_lock(path: str | bytes) -> int:
    """A descriptor of an empty file of ours to hold a lock on, which is made where it is missing. No link is followed.

    Its directory must be ours, too: who can write there could take the file away, and two would hold the lock.
    """
    with Walk(path, follow=False) as walk:
        _expect_ours(walk)
        if walk.found is not None:
            if not _expect_file(walk.found).is_ours:
                raise refuse(walk.found, ", where a lock of ours was expected")
            # For a lock it need not be written to, so what runs can be stopped also on a disk that became read-only.
            return os.open(walk.found.alias, os.O_RDONLY | os.O_CLOEXEC)
        return os.open(
            walk.name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=walk.directory.fd
        )


def _expect_ours(walk: Walk) -> None:
    if walk.is_within_reach:
        writable = os.fsdecode(walk.exposed or walk.directory.path)
        raise refuse(walk.directory, f" is no place for a file of ours, since others can write {writable}")


def _lock_draft(draft: bytes, directory: int) -> int:
    """Opens the draft, alone: whoever had it before us has renamed it away, died, or failed, when the lock is ours."""
    import fcntl

    while True:
        fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(fd), os.stat(draft, dir_fd=directory, follow_symlinks=False)):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def _sync_directory(directory: Thing) -> None:
    fd = directory.open_directory()
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def remove_file(path: str | bytes) -> None:
    """Removes whatever has this name, but a directory. A link is removed, not followed; what is missing is fine."""
    with suppress(FileNotFoundError), Walk(path, look=False) as walk:
        os.unlink(walk.name, dir_fd=walk.directory.fd)


def _expect_file(thing: Thing) -> Thing:
    if not thing.is_file:
        raise refuse(thing, " where a file was expected", errno.EISDIR if thing.is_directory else errno.EINVAL)
    return thing


def _give(thing: Thing, uid: int, gid: int, mode: int | None) -> None:
    """Gives a thing away; what is right already is left alone, also because its file system may be read-only."""
    if (thing.owner, thing.status.st_gid) != (uid, gid):
        os.chown(thing.alias, uid, gid)
    if mode is not None and stat.S_IMODE(thing.status.st_mode) != mode:
        os.chmod(thing.alias, mode)
