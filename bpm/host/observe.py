"""HostFacts, by looking: reads only, and works without root."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

from attrs import evolve

from bpm.cgroup import is_crowded, observe_hierarchies, observe_mountable, observe_systemd, swap_accounting
from bpm.config import JobConfig
from bpm.errors import HostError, PlanError, describe_errno
from bpm.host.patterns import BadPattern, expand, has_pattern
from bpm.layout import DEFAULT_ROOT
from bpm.plan import CAPABILITIES, OPTIONAL_PATHS, HostFacts, User


def observe(job_config: JobConfig, *, root: str | None = None, user: str | User | None = None) -> HostFacts:
    """One look at the host, for what this job's plans depend on.

    Args:
        job_config: Whose ``unrestricted_volumes`` are looked up.
        root: The BOSH root; by default ``$BPM_BOSH_ROOT``, or else ``/var/vcap``.
        user: Who unprivileged processes run as; by default ``$BPM_USER``, or else ``vcap``. A User is taken as it is.

    Raises:
        HostError: The root or the user does not exist, or /proc cannot be read.
        PlanError: An unrestricted volume's pattern is malformed.
    """
    directory = find_root(root)
    account = find_user(user)
    return evolve(observe_machine(), root=directory, user=account, globs=tuple(_look_up_volumes(job_config)))


def observe_machine() -> HostFacts:
    """One look at the host, as far as it is the same for every job: root, user and globs are left as they are.

    Raises:
        HostError: /proc cannot be read.
    """
    existing = [path for path in OPTIONAL_PATHS if os.path.exists(path)]
    try:
        controllers, unified = observe_hierarchies()
        systemd = observe_systemd(unified)
        # There they are systemd's to mount.
        mountable, bare_mount_point = observe_mountable(controllers) if systemd is None else ((), False)
        capabilities = _bounding_set()
    except OSError as error:
        raise HostError(f"cannot read /proc: {describe_errno(error.errno or 0)}") from error
    return HostFacts(
        existing=frozenset(existing),
        controllers=controllers,
        unified=unified,
        swap_accounting=swap_accounting(controllers),
        mountable=mountable,
        bare_mount_point=bare_mount_point,
        crowded=is_crowded(unified),
        systemd=systemd,
        capabilities=capabilities,
        machine=os.uname().machine,
    )


def find_root(root: str | None = None) -> str:
    """The BOSH root as a clean absolute path: the one given, ``$BPM_BOSH_ROOT``, or ``/var/vcap``.

    Raises:
        HostError: It is no directory that can be read.
    """
    path = root or os.environ.get("BPM_BOSH_ROOT") or DEFAULT_ROOT
    advice = "$BPM_BOSH_ROOT names the BOSH root"
    if not path.startswith("/"):
        raise HostError(f"the BOSH root {path!r} is not an absolute path; {advice}")
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except ValueError:
        raise HostError(f"the BOSH root {path!r} is not a path; {advice}") from None
    except OSError as error:
        raise HostError(f"cannot use the BOSH root {path}: {describe_errno(error.errno or 0)}; {advice}") from error
    return _clean(path)


def find_user(user: str | User | None = None) -> User:
    """Who unprivileged processes run as: the user given, ``$BPM_USER``, or ``vcap``.

    Raises:
        HostError: This machine does not know that user.
    """
    if isinstance(user, User):
        return user
    import pwd

    name = user or os.environ.get("BPM_USER") or User().name
    try:
        entry = pwd.getpwnam(name)
    except (KeyError, ValueError):
        advice = "create that user, or name another one in $BPM_USER"
        raise HostError(f"this machine has no user {name!r}, whom processes run as: {advice}") from None
    return User(name, entry.pw_uid, entry.pw_gid)


def _clean(path: str) -> str:
    # POSIX leaves a second leading slash its meaning, path_resolution(7) does not.
    return "/" + posixpath.normpath(path).lstrip("/")


def _look_up_volumes(job_config: JobConfig) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Patterns with their matches, each once; of literal paths, those that do not exist and so match nothing."""
    seen: set[str] = set()
    for i, process in enumerate(job_config.processes):
        for j, volume in enumerate(process.unsafe.unrestricted_volumes):
            if volume.path in seen:
                continue
            seen.add(volume.path)
            try:
                matches = expand(volume.path)
            except BadPattern as error:
                key = f"processes[{i}].unsafe.unrestricted_volumes[{j}].path"
                raise PlanError(key, f"malformed pattern {volume.path!r}: {error}") from None
            if not matches or has_pattern(volume.path):
                yield volume.path, matches


def _bounding_set() -> frozenset[str]:
    with open("/proc/self/status", encoding="utf-8", errors="surrogateescape") as file:
        line = next(line for line in file if line.startswith("CapBnd:"))
    mask = int(line.split()[1], 16)
    return frozenset(name for number, name in enumerate(CAPABILITIES) if mask >> number & 1)
