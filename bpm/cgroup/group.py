"""Group: the cgroup directories of one container, to join, look into, kill and remove."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from attrs import field, frozen

from bpm.cgroup.directory import (
    check_is_cgroup,
    check_ours,
    list_processes,
    name_processes,
    opened,
    pauses,
    read_text,
    remove_children,
    write_text,
)
from bpm.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.cgroup.systemd import Placeholder
    from bpm.plan import CgroupSetting

# How many pidfds are open at once: well below the usual RLIMIT_NOFILE of 1,024.
_BATCH = 128


def _check_all_ours(group: Group, attribute: object, directories: tuple[str, ...]) -> None:
    for path in directories:
        check_ours(path)


@frozen
class Join:
    """What a child needs to get into a group without the caller waiting.

    Close it once the child runs; it is a context manager.

    Args:
        unified_fd: The v2 directory for clone3's CLONE_INTO_CGROUP, or -1 where the group has none.
        tasks: The ``tasks`` files of the v1 directories, open for writing. The child itself, still single-threaded,
            writes ``0`` to each: the same write from outside, to ``cgroup.procs``, waits 15 ms for an RCU grace period.
        placeholder: Who keeps a scope alive until then.
    """

    unified_fd: int = -1
    tasks: tuple[int, ...] = ()
    placeholder: Placeholder | None = None

    def close(self) -> None:
        """Close all of its descriptors, and end the placeholder."""
        for descriptor in (self.unified_fd, *self.tasks):
            if descriptor >= 0:
                os.close(descriptor)
        if self.placeholder is not None:
            self.placeholder.end()

    def __enter__(self) -> Join:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@frozen
class Group:
    """The cgroup directories of one container, one in each hierarchy that is used.

    Args:
        directories: Absolute paths, whose last name begins with ``bpm-``. A record of these is enough to
            kill and remove the group later, by another bpm.
        skipped: Optional settings of the plan that this host does not have, or refuses.
        placeholder: Who keeps a fresh scope alive, until what :meth:`open_for_join` gave is closed.

    Raises:
        CgroupError: A path is not one that bpm would make.
    """

    directories: tuple[str, ...] = field(validator=_check_all_ours)
    skipped: tuple[CgroupSetting, ...] = ()
    placeholder: Placeholder | None = field(default=None, eq=False, repr=False)

    @classmethod
    def from_paths(cls, paths: Iterable[str]) -> Group:
        """The group that a record names by its directories. None of them needs to exist any more.

        Raises:
            CgroupError: A path is not one that bpm would make.
        """
        return cls(tuple(paths))

    def open_for_join(self) -> Join:
        """The descriptors by which a child joins.

        Raises:
            CgroupError: A directory is gone, as a scope is when its limit has killed who held it.
        """
        unified: list[int] = []
        tasks: list[int] = []
        try:
            for path in self.directories:
                with opened(path) as directory:
                    try:
                        # Only v1 has this file.
                        tasks.append(os.open("tasks", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory))
                    except FileNotFoundError:
                        unified.append(os.dup(directory))
        except OSError as error:
            try:
                if self.placeholder is not None:
                    self.placeholder.blame(error)
                raise CgroupError(path, "", "", error.errno or 0, "it cannot be joined") from error
            finally:
                Join(tasks=(*unified, *tasks), placeholder=self.placeholder).close()
        return Join(unified[0] if unified else -1, tuple(tasks), self.placeholder)

    @property
    def populated(self) -> bool:
        """Whether any process is in it or below it."""
        with self._open() as directories:
            return any(_is_populated(directory) for directory in directories.values())

    def processes(self) -> tuple[int, ...]:
        """The processes in it and below it, sorted, by their numbers in our own pid namespace.

        Those that it cannot see are all one 0 in v2, and left out in v1.
        """
        with self._open() as directories:
            return tuple(sorted(_members(directories.values())))

    def kill(self, deadline: float) -> None:
        """Kill everything that is in it or below it, and return once it is empty.

        Args:
            deadline: Until when to try, on the clock of time.monotonic(); one try is always made.

        Raises:
            CgroupError: Processes are left at the deadline, such as those stuck in the kernel; a directory is not a
                cgroup; or we ourselves are in it.
        """
        with self._open() as opened_paths:
            for path, directory in opened_paths.items():
                check_is_cgroup(directory, path)
            directories = list(opened_paths.values())
            members = _members(directories)
            if os.getpid() in members:
                raise CgroupError(self.directories[0], "", "", errno.EDEADLK, "bpm is in it, and will not kill itself")
            if not members:
                return
            # Since 5.14: kills what is in it and below it at one instant, forks and all.
            _try_write(directories, "cgroup.kill", "1")
            for _ in pauses(deadline):
                try:
                    members = _kill_members(directories)
                except OSError as error:
                    hint = "its processes cannot be told to end: pidfd_open(2) or pidfd_send_signal(2) was refused"
                    raise CgroupError(self.directories[0], "", "", error.errno or 0, hint) from error
                if not members:
                    return
            hint = f"after SIGKILL, {name_processes(members)}"
            raise CgroupError(self.directories[0], "", "", errno.EBUSY, hint)

    def remove(self, timeout: float = 5.0) -> None:
        """Remove its directories and those below, once they are empty. What is gone already is fine.

        Args:
            timeout: How many seconds to wait for processes to leave. The kernel may call a cgroup busy for a moment
                after its last process has been waited for.

        Raises:
            CgroupError: Processes are still in it, or the kernel refuses. The other directories are removed all the
                same.
        """
        deadline = time.monotonic() + timeout
        first: CgroupError | None = None
        for path in reversed(self.directories):
            try:
                _remove(path, deadline)
            except CgroupError as error:
                first = first or error
        if first:
            raise first

    @contextmanager
    def _open(self) -> Iterator[dict[str, int]]:
        """Those of its directories that exist, by path, as descriptors."""
        with ExitStack() as stack:
            directories = {}
            for path in self.directories:
                try:
                    directories[path] = stack.enter_context(opened(path))
                except FileNotFoundError:
                    pass
            yield directories


def _members(directories: Iterable[int]) -> set[int]:
    return set().union(*(list_processes(directory) for directory in directories))


def _is_populated(directory: int) -> bool:
    # Only v2 has this file; it speaks for everything below, too.
    events = read_text(directory, "cgroup.events")
    return "populated 1" in events if events is not None else bool(list_processes(directory))


def _try_write(directories: Iterable[int], name: str, value: str) -> None:
    """Write wherever there is such a file and the kernel takes it; what it did is seen in who is left."""
    for directory in directories:
        try:
            write_text(directory, name, value)
        except OSError:
            pass


def _kill_members(directories: list[int]) -> set[int]:
    """SIGKILL for everyone inside; returns who that was."""
    try:
        # Where a v1 freezer is at hand, nobody forks while we go through the list. (v2: cgroup.kill did it all.)
        _try_write(directories, "freezer.state", "FROZEN")
        members = _members(directories)
        _signal_members(directories, members)
        return members
    finally:
        # What it holds dies only when let go.
        _try_write(directories, "freezer.state", "THAWED")


def _signal_members(directories: list[int], members: set[int]) -> None:
    """SIGKILL for these, each by a pidfd that certainly stands for a member."""
    pids = sorted(members - {0})
    for start in range(0, len(pids), _BATCH):
        with ExitStack() as stack:
            handles = {}
            for pid in pids[start : start + _BATCH]:
                try:
                    handles[pid] = os.pidfd_open(pid)
                except ProcessLookupError:
                    continue
                stack.callback(os.close, handles[pid])
            # Looked up again, now that the numbers are pinned: one that was given to a stranger in between is not here.
            for pid in _members(directories) & handles.keys():
                try:
                    signal.pidfd_send_signal(handles[pid], signal.SIGKILL)
                except ProcessLookupError:
                    pass


def _remove(path: str, deadline: float) -> None:
    for _ in pauses(deadline):
        try:
            os.rmdir(path)
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
                raise CgroupError(path, "", "", error.errno or 0, "it cannot be removed") from error
        try:
            with opened(path) as directory:
                check_is_cgroup(directory, path)
                remove_children(directory)
                members = list_processes(directory)
        except FileNotFoundError:
            return
    raise CgroupError(path, "", "", errno.EBUSY, f"it cannot be removed while {name_processes(members)}")
