"""A spawn that stopped, in words: the stage and item that came back, looked up in the plan."""

from __future__ import annotations

import errno
import signal

from bpm import host
from bpm._native import SpawnFailure, Stage
from bpm.cgroup import Group, Usage, read_usage
from bpm.errors import BpmError, SpawnError, describe_errno
from bpm.plan import CAPABILITIES, Mount, ProcessPlan
from bpm.runtime.explain import explain
from bpm.runtime.hit import MEMORY

# What an errno means at a stage, where its own text misleads.
HINTS = {
    (Stage.CLONE, errno.EAGAIN): "a limit on processes was met: the cgroup's, or RLIMIT_NPROC",
    (Stage.CLONE, errno.ENOSPC): "the host has no more namespaces to give: see /proc/sys/user",
    (Stage.CLONE, errno.EPERM): "CAP_SYS_ADMIN is missing, or a container that we run in filters clone3(2)",
    (
        Stage.MOUNTS,
        errno.EPERM,
    ): "in a user namespace of a container whose /proc is masked, no fresh one can be mounted",
    (Stage.MOUNTS, errno.ENOSPC): "the mount namespace is full: see /proc/sys/fs/mount-max",
    (Stage.MOUNTS, errno.ENOENT): "its target does not exist, and lies on the host, where bpm creates nothing",
    (Stage.MOUNTS, errno.ENOTDIR): "its target leads through something that is no directory",
    (Stage.MOUNTS, errno.EINVAL): "source and target are not both a directory, or both a file",
    (Stage.MOUNTS, errno.ELOOP): "its target leads into /proc, or through too many links",
    (Stage.MASKS, errno.ENOSPC): "the mount namespace is full: see /proc/sys/fs/mount-max",
    (Stage.MASKS, errno.ELOOP): "/dev/null inside is not the null device, or a link leads astray",
    (Stage.LIMITS, errno.EPERM): "bpm may not raise it above its own hard limit without CAP_SYS_RESOURCE",
}

# Where a call that was refused memory says something else: a tmpfs that is made or gets a directory, and execve(2) with
# nowhere to put the arguments.
NO_MEMORY = {(Stage.MOUNTS, errno.ENOSPC), (Stage.MASKS, errno.ENOSPC), (Stage.INIT, errno.E2BIG)}

# How many bytes below its limit a cgroup may be, and yet have met it: the kernel asks for several pages at a time.
MARGIN = 1 << 16


def explain_failure(plan: ProcessPlan, group: Group, failure: SpawnFailure, what: str = "start") -> BpmError:
    """The error to raise for a spawn that stopped.

    Args:
        what: What could not be done: ``cannot start JOB``.

    Returns:
        SpawnError; HostError where the kernel turns out to lack a call.
    """
    # A filter answers with either. For EPERM there are other reasons, but then no call is found to be refused.
    if failure.number == errno.ENOSYS or (failure.number == errno.EPERM and failure.stage is not Stage.PROGRAM):
        try:
            host.check_kernel()
        except BpmError as error:
            return error
    who = plan.job if plan.job == plan.process else f"{plan.job}/{plan.process}"
    words = [f"cannot {what} {who}: {place(plan, failure)}"]
    words += [text for text in (describe_item(plan, failure), reason(plan, group, failure)) if text]
    return SpawnError(failure.stage.word, failure.item, failure.number, ": ".join(words))


def place(plan: ProcessPlan, failure: SpawnFailure) -> str:
    """The stage, and which entry of how many: ``mounts, item 12 of 31``, counted from 1."""
    count = {
        Stage.SOURCES: len(plan.mounts),
        Stage.MOUNTS: len(plan.mounts),
        Stage.MASKS: len(plan.masked) + len(plan.read_only),
        Stage.LIMITS: len(plan.rlimits),
        Stage.CGROUP: len(plan.cgroup.directories),
    }.get(failure.stage)
    if count is None or not 0 <= failure.item < count:
        return failure.stage.word
    return f"{failure.stage.word}, item {failure.item + 1} of {count}"


def describe_item(plan: ProcessPlan, failure: SpawnFailure) -> str:
    """What that entry is, and which key or default asked for it."""
    stage, item = failure.stage, failure.item
    if stage in (Stage.SOURCES, Stage.MOUNTS):
        return _mount(plan.mounts[item]) if item >= 0 else "the container's own root"
    if stage is Stage.MASKS and item >= 0:
        covered = (plan.masked + plan.read_only)[item]
        what = "mask" if item < len(plan.masked) else "make read-only"
        return f"{what} {covered.path} (because {covered.because})"
    if stage is Stage.LIMITS and item >= 0:
        limit = plan.rlimits[item]
        return f"{limit.name} {limit.soft} (because {limit.because})"
    if stage is Stage.WORKDIR:
        return f"{plan.workdir.path} (because {plan.workdir.because})"
    if stage is Stage.IDENTITY:
        return f"{plan.identity.uid}:{plan.identity.gid} (because {plan.identity.because})"
    if stage is Stage.CAPABILITIES and 0 <= item < len(CAPABILITIES):
        because = next((c.because for c in plan.capabilities if c.name == CAPABILITIES[item]), "the plan leaves it out")
        return f"{CAPABILITIES[item]} (because {because})"
    return ""


def reason(plan: ProcessPlan, group: Group, failure: SpawnFailure) -> str:
    """The kernel's answer, or what ended init without one."""
    if limit := exceeded_limit(plan, group, failure):
        return limit
    if failure.stage is Stage.PROGRAM and failure.number:
        return explain(plan, failure.number)
    if failure.number:
        hint = HINTS.get((failure.stage, failure.number))
        return describe_errno(failure.number) + (f"; {hint}" if hint else "")
    status = failure.status or 0
    if status < 0:
        return f"it was ended by {signal.Signals(-status).name} before it could run the program"
    return f"it ended with status {status} before it could run the program"


def exceeded_limit(plan: ProcessPlan, group: Group, failure: SpawnFailure) -> str:
    """Which limit of the cgroup a start did not fit into; empty where it was none of them."""
    usage = read_usage(group)
    # A host that is out of memory kills; a call that is refused its few pages has met the container's limit.
    refused = failure.number == errno.ENOMEM or ((failure.stage, failure.number) in NO_MEMORY and met_memory(usage))
    # A scope that held only a placeholder is gone when that has been killed.
    emptied = group.placeholder is not None and group.placeholder.killed
    if refused or emptied or (failure.number == 0 and usage.oom_kills):
        files: tuple[str, ...] = MEMORY
        what = "bytes of memory"
    elif failure.number == errno.EAGAIN and usage.processes_failures:
        files = ("pids.max",)
        what = "processes"
    else:
        return ""
    for setting in plan.cgroup.settings:
        if setting.file in files:
            return f"the limit of {setting.value} {what} (because {setting.because}) is too small to start it"
    return ""


def met_memory(usage: Usage) -> bool:
    """Whether the memory limit was met. Recent kernels count no failures on v1, where swap is limited too."""
    if usage.memory_failures:
        return True
    peak, limit = usage.memory_peak, usage.memory_limit
    return peak is not None and limit is not None and peak > limit - MARGIN


def _mount(mount: Mount) -> str:
    if mount.kind != "bind":
        what = f"{mount.kind} on {mount.target}"
    elif mount.source == mount.target:
        what = f"bind {mount.target}"
    else:
        what = f"bind {mount.source} on {mount.target}"
    return f"{what} (because {mount.because})"
