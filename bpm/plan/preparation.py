"""What the host must have before the process starts: directories, log files, shared volumes, the hook."""

from __future__ import annotations

from collections.abc import Iterator

from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.model import Directory, Hook, LogFile, Preparation, Requirement, SharedVolume


def plan_preparation(asked: Asked) -> Preparation:
    """All of it, in the order in which it is done. What is made belongs to vcap, also for a privileged process."""
    hook = asked.process.hooks.pre_start
    return Preparation(
        requirements=tuple(requirements(asked)),
        directories=tuple(directories(asked)),
        log_files=tuple(log_files(asked)),
        shared_volumes=tuple(SharedVolume(v.path, because) for v, because in asked.volumes if v.shared),
        pre_start=Hook(hook, asked.key("hooks.pre_start")) if hook else None,
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
