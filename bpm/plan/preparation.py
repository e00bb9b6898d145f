"""What the host must have before the process starts: directories, log files, shared volumes, the hook."""

from __future__ import annotations

from collections.abc import Iterator

from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.model import (
    Directory,
    Hook,
    LogFile,
    Mount,
    MountPoint,
    Preparation,
    Requirement,
    SharedVolume,
)
from bpm.plan.mounts import clean, depth, is_within


def plan_preparation(asked: Asked, mounts: tuple[Mount, ...]) -> Preparation:
    """All of it, in the order in which it is done. What is made belongs to vcap, also for a privileged process."""
    hook = asked.process.hooks.pre_start
    return Preparation(
        requirements=tuple(requirements(asked)),
        directories=tuple(directories(asked)),
        log_files=tuple(log_files(asked)),
        shared_volumes=tuple(SharedVolume(v.path, because) for v, because in asked.volumes if v.shared),
        pre_start=Hook(hook, asked.key("hooks.pre_start")) if hook else None,
        mount_points=tuple(mount_points(asked, mounts)),
    )


def requirements(asked: Asked) -> Iterator[Requirement]:
    """The disk that BOSH attaches is not bpm's to make: without it, the data would land on the root disk."""
    if asked.process.persistent_disk:
        reason = "requested persistent disk does not exist"
        yield Requirement(asked.paths.layout.store.outside, reason, asked.key("persistent_disk"))


def directories(asked: Asked) -> Iterator[Directory]:
    """bpm's own directory for the pidfile, the job's directories, then the volumes that bpm looks after."""
    paths = asked.paths
    yield Directory(paths.pid_directory.outside, 0o700, 0, 0, reasons.PIDFILE)
    yield _vcap(asked, paths.log.outside, 0o750, reasons.LOGS)
    yield _vcap(asked, paths.run.outside, 0o700, reasons.SOCKETS)
    yield _vcap(asked, paths.temp.outside, 0o700, reasons.TEMPORARY)
    if asked.process.ephemeral_disk:
        yield _vcap(asked, paths.data.outside, 0o700, asked.key("ephemeral_disk"))
    if asked.process.persistent_disk:
        yield _vcap(asked, paths.store.outside, 0o700, asked.key("persistent_disk"))
    for volume, because in asked.volumes:
        if not volume.mount_only:
            yield _vcap(asked, volume.path, 0o700, because, chmod=True, any_kind=True)


def _vcap(
    asked: Asked, path: str, mode: int, because: str, *, chmod: bool = False, any_kind: bool = False
) -> Directory:
    user = asked.facts.user
    return Directory(path, mode, user.uid, user.gid, because, chmod, any_kind)


def log_files(asked: Asked) -> Iterator[LogFile]:
    """Where the program's two output streams go."""
    user, name = asked.facts.user, asked.process.name
    for stream, place in (("stdout", asked.paths.stdout(name)), ("stderr", asked.paths.stderr(name))):
        yield LogFile(stream, place.outside, 0o600, user.uid, user.gid, reasons.LOGS)


def mount_points(asked: Asked, mounts: tuple[Mount, ...]) -> Iterator[MountPoint]:
    """Where a mount hangs in what another one shows, and that is the job's own to write: there bpm makes the place.

    As with a BOSH root below /tmp, which inside is the job's temporary directory. Below anything else of the
    host's nothing is ever made.
    """
    paths, user = asked.paths, asked.facts.user
    own = {paths.temp.outside, paths.data.outside, paths.store.outside, paths.log.outside}
    there = {directory.path for directory in directories(asked)}
    for mount in mounts:
        holder = max((other for other in mounts if _holds(other, mount)), key=lambda m: depth(m.target), default=None)
        if holder is None or holder.source not in own:
            continue
        path = holder.source + clean(mount.target)[len(clean(holder.target).rstrip("/")) :]
        if path not in there and path != clean(mount.source):
            yield MountPoint(path, mount.source, user.uid, user.gid, mount.because)


def _holds(holder: Mount, mount: Mount) -> bool:
    return clean(holder.target) != clean(mount.target) and is_within(mount.target, holder.target)
