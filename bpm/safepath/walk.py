"""The walk from / to a path, one component at a time, and what is refused on the way.

"Us" is root, and the caller where that is not root. The rule, stated once:

1.  **In somebody's directory, everything is that somebody's.** Below a directory that is not ours, whatever
    belongs to another user than the directory's owner (to root too) is refused: that user can rename
    into it, or link into it, what they could not otherwise reach.
2.  **A symbolic link is followed only if it is ours, and all directories on the way to it are ours** and nobody else
    can write them; a sticky one, such as /tmp, will do, since others can neither replace nor rename what is there.
3.  **No second names.** Where others can write, anything but a directory that has more than one name
    is refused: whoever made the other name may not own it (fs.protected_hardlinks may be off).
4.  **What changes hands must be plain.** Where others can write, or could have moved a directory on the way, bpm
    changes only what belongs already to the user it is for, or a directory of ours, or an empty file of ours;
    elsewhere, anything. Our own files are kept nowhere else.
5.  **What we make in somebody's directory becomes that somebody's.** So it is made only for them, and a start
    that was killed between making and giving is healed: an empty directory or file of ours found there is given.
    Giving away what is empty discloses nothing.
6.  **The kernel's own files are nobody's.** Nothing in /proc or /sys is made or changed, not even by way of a link
    of ours: a mode there holds for the whole machine.

"Others can write" is read from the directory's owner and mode. A group counts, except root's own (and, where
the caller is not root, the caller's) without an access control list.

Every component is opened with O_PATH|O_NOFOLLOW relative to the one before and judged by fstat of that descriptor, and
what is done afterwards is done to the descriptor, so nothing can be swapped between the look and the deed.
openat2(2) has no flag for any of these rules, and Python no call for it.
"""

from __future__ import annotations

import errno
import os
import stat
from types import TracebackType

from bpm.errors import UnsafePathError

# As many as the kernel follows itself, path_resolution(7).
LINK_LIMIT = 40
# How often a name may vanish or appear under our hands before it is no accident.
ATTEMPTS = 100

_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a file",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


class Thing:
    """What stands at a path: a descriptor that does no more than hold it (O_PATH), and what fstat says of it.

    Args:
        fd: The descriptor, closed by ``close()`` unless it was taken.
        path: Where it was found, with no link left in it.
    """

    __slots__ = ("fd", "path", "status")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path
        try:
            self.look_again()
        except BaseException:
            self.close()
            raise

    @property
    def owner(self) -> int:
        return self.status.st_uid

    @property
    def is_ours(self) -> bool:
        """Whether it belongs to root, or to the caller."""
        return self.owner in (0, os.geteuid())

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)

    @property
    def is_sticky(self) -> bool:
        return bool(self.status.st_mode & stat.S_ISVTX)

    @property
    def is_the_kernels(self) -> bool:
        """Whether it is in this machine's procfs or sysfs."""
        return any(self.status.st_dev == os.stat(path).st_dev for path in ("/proc", "/sys") if os.path.ismount(path))

    @property
    def is_empty(self) -> bool:
        """Whether it is a directory or file that holds nothing."""
        if not self.is_directory:
            return self.is_file and self.status.st_size == 0
        fd = self.open_directory()
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)

    @property
    def alias(self) -> str:
        """A path that leads to just this, whatever happens to its name: an O_PATH descriptor itself cannot be
        chowned, or opened for writing, but its magic link can (open(2), since 2.6.39)."""
        return f"/proc/self/fd/{self.fd}"

    @property
    def description(self) -> str:
        """What it is and whose: ``a symbolic link owned by uid 1000``."""
        kind = _KINDS.get(stat.S_IFMT(self.status.st_mode), "something unknown")
        return f"{kind} owned by {_name(self.owner)}"

    def others_can_write(self) -> bool:
        """Whether someone who is not us can put names into this directory."""
        if not self.is_ours or self.status.st_mode & stat.S_IWOTH:
            return True
        if not self.status.st_mode & stat.S_IWGRP:
            return False
        # With an access control list, the group's bits are the list's mask, acl(5): anyone may be named in it.
        return not _is_our_group(self.status.st_gid) or self._has_access_list()

    def _has_access_list(self) -> bool:
        try:
            return bool(os.getxattr(self.alias, "system.posix_acl_access"))
        except OSError as error:
            return error.errno not in (errno.ENODATA, errno.ENOTSUP)

    def open_directory(self) -> int:
        """A descriptor that can be read and synchronised, of this directory."""
        return os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)

    def look_again(self) -> None:
        self.status = os.fstat(self.fd)

    def take(self) -> int:
        """The descriptor, which is the caller's from now on."""
        fd, self.fd = self.fd, -1
        return fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.take())


def _name(uid: int) -> str:
    return f"uid {uid}" if uid else "root"


def _is_our_group(gid: int) -> bool:
    return gid == 0 or (os.geteuid() != 0 and gid == os.getegid())


def refuse(thing: Thing, reason: str, number: int = errno.ELOOP) -> UnsafePathError:
    """The error that says what stands where."""
    return UnsafePathError(os.fsdecode(thing.path), f"{thing.description}{reason}", number)


def expect_directory(thing: Thing) -> Thing:
    """The same thing, which must be a directory."""
    if not thing.is_directory:
        raise refuse(thing, " where a directory was expected", errno.ENOTDIR)
    return thing


def _split(path: bytes) -> list[bytes]:
    """The components, last one first; a path that has none names the directory it starts from."""
    return [name for name in path.split(b"/") if name][::-1] or [b"."]


class Walk:
    """One walk, as a context that closes whatever it opened.

    Args:
        path: Absolute.
        follow: Whether a last component that is a link of ours is followed.
        look: Whether the last component is opened at all.
        uid: Who it is done for, where something will be made or given away; None where things are only opened.
        parent_mode: The permission bits of missing parents; None where they are not made.

    Attributes:
        directory: The directory that the last component is looked up in.
        name: The last component.
        found: What stands there, or None.
        exposed: The first directory on the way to it in which others can move things; empty if there is none.
    """

    def __init__(
        self,
        path: str | bytes,
        *,
        follow: bool = True,
        look: bool = True,
        uid: int | None = None,
        parent_mode: int | None = None,
    ) -> None:
        self.path = os.fsencode(path)
        if not self.path.startswith(b"/"):
            raise ValueError(f"{os.fsdecode(path)!r} is not absolute")
        self.follow = follow
        self.look = look
        self.uid = uid
        self.parent_mode = parent_mode
        self.name = b""
        self.found: Thing | None = None
        self.exposed = b""
        self._last_link: UnsafePathError | None = None

    def __enter__(self) -> Walk:
        self.directory = _open_root()
        try:
            self._go()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.directory.close()
        if self.found:
            self.found.close()
        if isinstance(error, OSError) and not isinstance(error, UnsafePathError):
            # The kernel was asked about a bare name, or a descriptor; people ask about paths.
            error.filename, error.filename2 = os.fsdecode(self.path), None

    def _go(self) -> None:
        pending = _split(self.path)
        links = 0
        while True:
            self.name = pending.pop()
            if not pending and not self.look:
                return
            self.found = self._open()
            if self.found:
                if self.found.is_link and not pending and not self.follow:
                    return  # The caller's to judge, whoever owns it.
                self._check(self.found)
            elif not pending:
                return
            elif self.parent_mode is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
            else:
                self.make(self.parent_mode)
            thing = self.existing()
            if thing.is_link:
                links += 1
                if links > LINK_LIMIT:
                    raise refuse(thing, f", after {LINK_LIMIT} others")
                self._follow(thing, pending)
            elif not pending:
                return
            else:
                self._descend(thing)

    def existing(self) -> Thing:
        """What stands at the path.

        Raises:
            FileNotFoundError: Nothing does.
        """
        if self.found is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.path)
        return self.found

    def _open(self) -> Thing | None:
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            try:
                # Asked for as a directory, an automount point is mounted first; O_PATH alone would hold its trigger.
                fd = os.open(self.name, flags | os.O_DIRECTORY, dir_fd=self.directory.fd)
            except NotADirectoryError:
                fd = os.open(self.name, flags, dir_fd=self.directory.fd)
        except FileNotFoundError:
            return None
        return Thing(fd, os.path.normpath(os.path.join(self.directory.path, self.name)))

    def _descend(self, thing: Thing) -> None:
        expect_directory(thing)
        if not self.directory.is_ours and thing.owner != self.directory.owner:
            os.chown(thing.alias, self.directory.owner, self.directory.status.st_gid)  # Rule 5: left by a killed start.
            thing.look_again()
        self.directory.close()
        self.directory, self.found = thing, None
        if not self.exposed and thing.others_can_write() and not thing.is_sticky:
            self.exposed = thing.path

    def _follow(self, link: Thing, pending: list[bytes]) -> None:
        """Replaces a link by what it says. The text is read from the descriptor that was judged."""
        if not link.is_ours:
            raise refuse(link, "")
        if self.exposed:
            raise refuse(link, self._setting())
        if not pending:
            self._last_link = refuse(link, " that leads nowhere", errno.ENOENT)
        target = os.readlink(b"", dir_fd=link.fd)
        pending.extend(_split(target))
        link.close()
        self.found = None
        if target.startswith(b"/"):
            self.directory.close()
            self.directory = _open_root()

    def _check(self, thing: Thing) -> None:
        """Rules 1 and 3, and the healing half of 5."""
        if not self.directory.is_ours and thing.owner != self.directory.owner and not self._was_left(thing):
            raise refuse(thing, self._setting())
        if not thing.is_directory and thing.status.st_nlink > 1 and self.directory.others_can_write():
            raise refuse(thing, f" that has {thing.status.st_nlink} names (a hard link){self._setting()}", errno.EMLINK)

    def _setting(self) -> str:
        if self.directory.is_ours:
            return f", {'below' if self.exposed else 'in'} a directory that others can write"
        return f", in {self.directory.description}"

    def _was_left(self, thing: Thing) -> bool:
        """Whether a thing is one that a killed start left, made but not yet given to the directory's owner."""
        if self.uid != self.directory.owner or not thing.is_ours:
            return False
        empty = thing.is_empty
        thing.look_again()  # Two starts at once: the other may have given it, and filled it, meanwhile.
        return empty or thing.owner == self.directory.owner

    def check_change(self, thing: Thing, uid: int) -> None:
        """Rules 4 and 6: whether a thing that exists may be given to a user, or opened for writing on their behalf."""
        if thing.is_the_kernels:
            raise refuse(thing, ", in a file system of the kernel's, where nothing is changed for a job")
        if not self.is_within_reach or thing.owner == uid:
            return
        if not (thing.is_ours and (thing.is_directory or thing.is_empty)):
            raise refuse(thing, self._setting())

    @property
    def is_within_reach(self) -> bool:
        """Whether others can write the last directory, or put another one into its place."""
        return bool(self.exposed) or self.directory.others_can_write()

    def check_making(self) -> None:
        """The other half of rule 5: whether something may be made here for a user."""
        if not self.directory.is_ours and self.uid != self.directory.owner:
            raise refuse(self.directory, f", where something of {_name(self.uid or 0)}'s was to be made")

    def make(self, mode: int) -> None:
        """Makes the directory that was not found, ours until it is given away, and opens it.

        Not where a link leads nowhere: what it led to, such as a disk that is not attached, must not be made up for.
        """
        if self._last_link:
            raise self._last_link
        self.check_making()
        made = False
        for _ in range(ATTEMPTS):
            try:
                os.mkdir(self.name, 0o700, dir_fd=self.directory.fd)
                made = True
            except FileExistsError:
                pass  # Two starts at once, or someone who wants us to follow something: judged like any other.
            self.found = self._open()
            if self.found:
                break
        thing = self.existing()
        if made and thing.is_ours and thing.is_directory and thing.is_empty:
            # The mode is set here, since the umask had its say; the owner, since a set-group-id parent had.
            os.chown(thing.alias, os.geteuid(), os.getegid())
            os.chmod(thing.alias, mode)
        self._check(thing)


def _open_root() -> Thing:
    return Thing(os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC), b"/")
