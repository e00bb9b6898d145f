"""What happens on the host before the clone, and what is opened there for it.

The plan lists it, in order: what must exist, directories, log files, shared volumes, the hook. All of it
is done as root below directories that the job's user may write to, so every path goes through safepath.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from bpm import safepath
from bpm.errors import HookError, PlanError, PrepareError
from bpm.layout import Layout
from bpm.plan import Directory, LogFile, Mount, MountPoint, ProcessPlan, SharedVolume
from bpm.runtime.lock import locked
from bpm.runtime.lower import Source

T = TypeVar("T")

NULL_DEVICE = os.makedev(1, 3)


class Prepared:
    """The descriptors that were opened for one start. A context manager: on leaving, they are closed.

    Args:
        null: /dev/null, for reading and writing.
        logs: The log files, as pairs of stream and descriptor.
        sources: One for each mount of the plan, None for what is no bind.
    """

    def __init__(self) -> None:
        self.null = -1
        self.logs: dict[str, int] = {}
        self.sources: list[Source | None] = []

    @property
    def stdio(self) -> tuple[int, int, int]:
        """Descriptors 0, 1 and 2 of a program that writes into its log files."""
        return self.null, self.logs.get("stdout", self.null), self.logs.get("stderr", self.null)

    def close(self) -> None:
        """Closes them all."""
        for fd in (self.null, *self.logs.values(), *(source.fd for source in self.sources if source)):
            if fd >= 0:
                os.close(fd)
        self.__init__()  # type: ignore[misc]

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def prepare(plan: ProcessPlan) -> Prepared:
    """Carries out the plan's preparation, and opens what the spawn needs.

    Raises:
        PlanError: Something that must exist does not.
        PrepareError: A step failed; what was done before it stays.
        HookError: The hook ended badly.
    """
    preparation = plan.preparation
    for requirement in preparation.requirements:
        if not os.path.lexists(requirement.path):
            raise PlanError(requirement.because, requirement.reason)
    for directory in preparation.directories:
        make_directory(directory)
    prepared = Prepared()
    try:
        prepared.null = open_null()
        for log in preparation.log_files:
            prepared.logs[log.stream] = open_log(log)
        for volume in preparation.shared_volumes:
            share_volume(plan.root, volume)
        if preparation.pre_start is not None:
            run_hook(plan, prepared.stdio)
        for mount in plan.mounts:
            prepared.sources.append(open_source(mount))
        for point in preparation.mount_points:
            make_mount_point(point)
    except BaseException:
        prepared.close()
        raise
    return prepared


def make_directory(directory: Directory) -> None:
    """Makes one directory, or gives an existing one (or whatever may stand there) its owner."""

    def make() -> None:
        safepath.make_directory(
            directory.path,
            directory.mode,
            directory.uid,
            directory.gid,
            chmod=directory.chmod,
            any_kind=directory.any_kind,
        )

    _carry_out(f"create the directory {directory.path}", directory.because, make)


def open_log(log: LogFile) -> int:
    """Opens one log file for appending, creating it."""
    return _carry_out(
        f"open the log file {log.path}",
        log.because,
        lambda: safepath.open_log(log.path, mode=log.mode, uid=log.uid, gid=log.gid),
    )


def make_mount_point(point: MountPoint) -> None:
    """Makes what a mount hangs over: a directory, or an empty file, as what is mounted is."""

    def make() -> None:
        if os.path.isdir(point.source):
            safepath.make_directory(point.path, 0o700, point.uid, point.gid, chmod=False)
            return
        safepath.make_directory(os.path.dirname(point.path), 0o700, point.uid, point.gid, chmod=False)
        os.close(safepath.open_log(point.path, 0o600, point.uid, point.gid))

    _carry_out(f"create the mount point {point.path}", point.because, make)


def open_source(mount: Mount) -> Source | None:
    """Opens what a bind mount shows."""
    if mount.kind != "bind":
        return None
    if not mount.source.startswith("/"):
        raise PlanError(mount.because, f"the path of what is mounted must be absolute: {mount.source!r}")
    fd = _carry_out(f"open {mount.source}", mount.because, lambda: safepath.open_source(mount.source))
    return Source(fd, is_directory=stat.S_ISDIR(os.fstat(fd).st_mode))


def open_null() -> int:
    """Opens /dev/null, and makes sure that it is what it should be."""
    fd = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    if os.fstat(fd).st_rdev != NULL_DEVICE:
        os.close(fd)
        cause = OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        raise PrepareError("open /dev/null, which is another device", "the program's standard input", cause)
    return fd


def share_volume(root: str, volume: SharedVolume) -> None:
    """Makes a volume a shared mount, as `mount --make-shared` does: bound onto itself first, when it is no mount.

    It is never undone: other containers may have come to share it.
    """
    from bpm.runtime.propagation import make_shared

    def share() -> None:
        with locked(Layout(root).volume_lock(volume.path)):
            fd = safepath.open_source(volume.path)
            try:
                make_shared(fd)
            finally:
                os.close(fd)

    _carry_out(f"share the volume {volume.path}", volume.because, share)


def run_hook(plan: ProcessPlan, stdio: tuple[int, int, int]) -> None:
    """Runs the hook on the host: as root, with nothing but the container's environment, and waits for it."""
    hook = plan.preparation.pre_start
    if hook is None:
        return
    environment = {variable.name: variable.value for variable in plan.env}
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(stdio)]
    try:
        # Python ignores SIGPIPE and SIGXFSZ, and what is ignored stays so across exec.
        pid = os.posix_spawn(
            hook.executable,
            [hook.executable],
            environment,
            file_actions=actions,
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    except OSError as error:
        raise HookError(hook.executable, None, error.errno or 0) from error
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status != 0:
        raise HookError(hook.executable, status)


def _carry_out(step: str, because: str, act: Callable[[], T]) -> T:
    try:
        return act()
    except PrepareError:
        raise
    except OSError as error:
        raise PrepareError(step, because, error) from error
