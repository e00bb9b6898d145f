"""Namespaces of others to join, ids that others must map, and what a host says that allows no user namespaces."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bpm._native import Child, SpawnFailure, Stage
from bpm.errors import HostError, PrepareError, SpawnError, describe_errno
from bpm.plan import IdMap, Joined, ProcessPlan
from bpm.sandbox.facts import HELPERS

# Who may forbid user namespaces, in the order in which they are asked: the file, the value that forbids, what to do.
KNOBS = (
    (
        "/proc/sys/user/max_user_namespaces",
        "0",
        "user.max_user_namespaces is 0: set it higher with sysctl",
    ),
    (
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        "kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl",
    ),
    (
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0 with sysctl, or give this program an AppArmor "
        "profile with the rule `userns,`",
    ),
)


def open_join(join: Joined) -> int:
    """A descriptor by which these namespaces are joined, which the caller closes.

    Raises:
        PrepareError: There is none.
    """
    try:
        if join.path:
            return os.open(join.path, os.O_RDONLY | os.O_CLOEXEC)
        return os.dup(join.pidfd)
    except OSError as error:
        what = join.path or f"pidfd {join.pidfd}"
        raise PrepareError(f"open the namespace {what}", join.because, error) from error


@contextmanager
def mapping(plan: ProcessPlan, child: Child) -> Iterator[tuple[int, int]]:
    """Writes the child's id maps by newuidmap(1) and newgidmap(1), if only they may.

    The caller's thread waits in the clone meanwhile, so another one starts them when the child says that it is there.

    Yields:
        The pipes of the request; -1 where there is nothing to map.
    """
    embedded = plan.embedded
    if embedded is None or not embedded.maps_by_helper:
        yield -1, -1
        return
    there_ours, there = os.pipe2(os.O_CLOEXEC)
    go_on, go_on_ours = os.pipe2(os.O_CLOEXEC)
    maps = tuple(zip(HELPERS, (embedded.user_map, embedded.group_map), strict=True))

    def write_maps() -> None:
        if os.read(there_ours, 1) and all(_map(helper, child.pid, ids) for helper, ids in maps):
            os.write(go_on_ours, b"x")
        os.close(go_on_ours)

    writer = threading.Thread(target=write_maps, name="bpm id maps")
    writer.start()
    try:
        yield there, go_on
    finally:
        os.close(there)
        writer.join()
        os.close(there_ours)
        os.close(go_on)


def _map(helper: str, pid: int, ids: Sequence[IdMap]) -> bool:
    words = [helper, str(pid), *(str(number) for one in ids for number in (one.inside, one.outside, one.count))]
    helper_pid = os.posix_spawn(helper, words, {"PATH": "/usr/bin:/bin"})
    return os.waitstatus_to_exitcode(os.waitpid(helper_pid, 0)[1]) == 0


def explain_refusal(failure: SpawnFailure, root: bool) -> HostError | SpawnError | None:
    """The error for an ordinary user whom the host gives no user namespace; None where it is not that.

    AppArmor lets the namespace be made and takes all capabilities in it away, so that the first mount is refused.
    """
    if root:
        return None
    refused = failure.stage in (Stage.CLONE, Stage.NAMESPACES) and failure.number in (errno.EPERM, errno.ENOSPC)
    stripped = failure.stage in (Stage.NAMESPACES, Stage.MOUNTS) and failure.number in (errno.EPERM, errno.EACCES)
    knob = find_knob() if refused or stripped else ""
    if knob:
        return HostError(f"an ordinary user can make no sandbox here: {knob}")
    if failure.stage is Stage.CLONE and refused:
        reason = (
            "the limit on user namespaces is reached: see user.max_user_namespaces"
            if failure.number == errno.ENOSPC
            else "something forbids user namespaces: a seccomp filter around us, a chroot, or a security module"
        )
        return HostError(f"an ordinary user can make no sandbox here: {reason} ({describe_errno(failure.number)})")
    return None


def find_knob(root: str = "") -> str:
    """Which setting of the host forbids user namespaces, and what to do about it; empty where none does.

    Args:
        root: Where to look for /proc, for tests.
    """
    for path, forbids, advice in KNOBS:
        try:
            with open(root + path, encoding="ascii") as file:
                if file.read().strip() == forbids:
                    return advice
        except OSError:
            continue
    return ""
