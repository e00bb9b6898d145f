"""The mounts of a container: SOURCES say which are asked for, PASSES which of them are made and in what order.

A mount starts with its strictest options; ``.executable()`` and ``.writable()`` loosen it by name.
"""

from __future__ import annotations

from collections.abc import Iterator

from bpm.config import Volume, clean_path, is_below
from bpm.errors import PlanError
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.facts import OPTIONAL_PATHS
from bpm.plan.model import Dropped, Mount


def bind(source: str, target: str, because: str, *, recursive: bool = False) -> Mount:
    """A bind mount in its strictest form. A recursive one brings along what is mounted below its source."""
    return Mount(target, source, "bind", ("rbind" if recursive else "bind", "noexec", "nosuid", "nodev", "ro"), because)


def _system(path: str) -> Mount:
    return bind(path, path, reasons.SYSTEM_MOUNTS).executable()


def _resolver(path: str) -> Mount:
    return bind(path, path, reasons.NAME_RESOLUTION)


def _kernel(target: str, source: str, kind: str, *options: str) -> Mount:
    return Mount(target, source, kind, options, reasons.KERNEL_MOUNTS)


SYSTEM_MOUNTS = (
    _system("/bin"),
    _system("/etc"),
    _system("/lib"),
    _system("/lib64"),
    _system("/sbin"),
    _system("/usr"),
    # /etc/resolv.conf is a link into one of these where resolvconf or systemd-resolved writes it.
    _resolver("/run/resolvconf"),
    _resolver("/run/systemd/resolve"),
)

KERNEL_MOUNTS = (
    _kernel("/proc", "proc", "proc"),
    _kernel("/dev", "tmpfs", "tmpfs", "nosuid", "noexec", "mode=755"),
    _kernel("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
    _kernel("/dev/shm", "shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),
    _kernel("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
    _kernel("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
)

# Why a mount that was asked for is not made.
MOUNTED_ALREADY = "an earlier entry mounts the same destination"
INSIDE_OWN_MOUNT = "inside one of the job's own mounts"


# What is asked for


def kernel_mounts(asked: Asked) -> Iterator[Mount]:
    """The file systems that the kernel fills, and the container's own /dev."""
    yield from KERNEL_MOUNTS


def system_mounts(asked: Asked) -> Iterator[Mount]:
    """The host's programs and libraries, and its name resolution."""
    for mount in SYSTEM_MOUNTS:
        if mount.source not in OPTIONAL_PATHS or mount.source in asked.facts.existing:
            yield mount


def job_mounts(asked: Asked) -> Iterator[Mount]:
    """The job's own directories, the packages, and its temporary directory in three places."""
    paths = asked.paths
    for target in ("/tmp", "/var/tmp", paths.temp.inside):
        yield bind(paths.temp.outside, target, reasons.TEMPORARY, recursive=True).writable()
    for place in (paths.layout.data_packages, paths.layout.packages, paths.directory):
        yield bind(place.outside, place.inside, reasons.JOB_MOUNTS).executable()
    yield bind(paths.log.outside, paths.log.inside, reasons.LOGS, recursive=True).writable()


def disk_mounts(asked: Asked) -> Iterator[Mount]:
    """The job's data and store directories, where they were asked for."""
    data, store = asked.paths.data, asked.paths.store
    if asked.process.ephemeral_disk:
        yield bind(data.outside, data.inside, asked.key("ephemeral_disk"), recursive=True).writable()
    if asked.process.persistent_disk:
        yield bind(store.outside, store.inside, asked.key("persistent_disk"), recursive=True).writable()


def volume_mounts(asked: Asked) -> Iterator[Mount]:
    """The additional volumes, of the file and then of the flags."""
    for volume, because in asked.volumes:
        mount = _volume(volume, volume.path, because)
        yield mount.shared() if volume.shared else mount


def unrestricted_mounts(asked: Asked) -> Iterator[Mount]:
    """Each match of each unrestricted volume."""
    for i, volume in enumerate(asked.process.unsafe.unrestricted_volumes):
        for path in asked.facts.matches(volume.path):
            yield _volume(volume, path, asked.key(f"unsafe.unrestricted_volumes[{i}]"))


def _volume(volume: Volume, path: str, because: str) -> Mount:
    mount = bind(path, path, because, recursive=True)
    if volume.allow_executions:
        mount = mount.executable()
    if volume.writable:
        mount = mount.writable()
    return mount


# The order of precedence: of two mounts with one destination, the earlier source's is made.
SOURCES = (kernel_mounts, system_mounts, job_mounts, disk_mounts, volume_mounts, unrestricted_mounts)


# Which of them are made


def plan_mounts(asked: Asked) -> tuple[tuple[Mount, ...], tuple[Dropped, ...]]:
    """The mounts in the order in which they are made, and those that are not made.

    Raises:
        PlanError: A volume is at or below /proc.
    """
    made = [mount for source in SOURCES for mount in source(asked)]
    refuse_proc(asked)
    dropped: list[Dropped] = []
    for choose in PASSES:
        made = choose(asked, made, dropped)
    return tuple(made), tuple(dropped)


def refuse_proc(asked: Asked) -> None:
    """Refuse what would put something else where programs, and bpm itself, take procfs to be (CVE-2019-16884)."""
    for mount in (*volume_mounts(asked), *unrestricted_mounts(asked)):
        if is_within(mount.target, "/proc"):
            raise PlanError(mount.because, f"a volume cannot be mounted at or below /proc: {mount.target}")


def drop_inside_own(asked: Asked, mounts: list[Mount], dropped: list[Dropped]) -> list[Mount]:
    """Leave out what an unrestricted volume would put at or below one of the job's own mounts."""
    own = [mount.target for source in (job_mounts, disk_mounts) for mount in source(asked)]
    intruders = {
        mount
        for mount in unrestricted_mounts(asked)
        if any(is_within(mount.target, destination) for destination in own)
    }
    dropped.extend(Dropped(mount, INSIDE_OWN_MOUNT) for mount in mounts if mount in intruders)
    return [mount for mount in mounts if mount not in intruders]


def drop_duplicates(asked: Asked, mounts: list[Mount], dropped: list[Dropped]) -> list[Mount]:
    """Leave out a mount whose destination an earlier one has.

    The kernel's do not count: what an unrestricted volume puts at /sys or /dev is mounted over them.
    """
    first: dict[str, Mount] = {}
    for mount in mounts:
        if mount not in KERNEL_MOUNTS and first.setdefault(clean(mount.target), mount) is not mount:
            dropped.append(Dropped(mount, MOUNTED_ALREADY))
    return [mount for mount in mounts if mount in KERNEL_MOUNTS or first[clean(mount.target)] is mount]


def sort_by_depth(asked: Asked, mounts: list[Mount], dropped: list[Dropped]) -> list[Mount]:
    """Parents before what lies under them, or they would hide it; ``/``, which becomes the root itself, first."""
    return sorted(mounts, key=lambda mount: depth(mount.target))


def allow_suid_if_privileged(asked: Asked, mounts: list[Mount], dropped: list[Dropped]) -> list[Mount]:
    """A privileged process may run setuid programs from every mount."""
    return [mount.without("nosuid") for mount in mounts] if asked.privileged else mounts


PASSES = (drop_inside_own, drop_duplicates, sort_by_depth, allow_suid_if_privileged)


# Paths, as words


def clean(path: str) -> str:
    """What a destination means inside, where every path starts at the root: ``/a/../b//c/`` is ``/b/c``."""
    return clean_path("/" + path)


def depth(path: str) -> int:
    """How many names a destination has: 0 for the root."""
    return sum(1 for name in clean(path).split("/") if name)


def is_within(path: str, directory: str) -> bool:
    """Whether a destination is that directory or lies below it."""
    return clean(path) == clean(directory) or is_below(clean(path), clean(directory))
