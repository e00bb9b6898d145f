"""HostFacts, by looking: reads only, and works without root."""

from __future__ import annotations

import os
from collections.abc import Iterator

from attrs import evolve

from bpm.cgroup import is_crowded, observe_hierarchies, observe_mountable, observe_systemd, swap_accounting
from bpm.config import JobConfig
from bpm.errors import HostError, PlanError, describe_errno
from bpm.host.chosen import find_root, find_user
from bpm.host.patterns import BadPattern, expand, has_pattern
from bpm.plan import CAPABILITIES, OPTIONAL_PATHS, HostFacts, User


def observe(job_config: JobConfig, *, root: str | None = None, user: str | User | None = None) -> HostFacts:
    """One look at the host, for what this job's plans depend on.

    Args:
        job_config: Whose ``unrestricted_volumes`` are looked up.
        root: The BOSH root; by default ``$BPM_BOSH_ROOT``, or else ``/var/vcap``.
        user: Who unprivileged processes run as; by default ``$BPM_USER``, or else ``vcap``. A User is taken as it is.

    Returns:
        What it found.

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
