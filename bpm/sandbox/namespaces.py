"""Namespaces of others to join, ids that others must map, and what a host says that allows no user namespaces."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from attrs import frozen

from bpm._native import Child, SpawnFailure, Stage
from bpm.errors import HostError, PrepareError, describe_errno
from bpm.plan import IdMap, Joined, ProcessPlan
from bpm.sandbox.facts import HELPERS


@frozen
class Knob:
    """A setting that may forbid namespaces.

    Args:
        path: Its file.
        forbids: The value that does.
        numbers: The errnos by which that shows.
        advice: What to do about it.
    """

    path: str
    forbids: str
    numbers: tuple[int, ...]
    advice: str


REFUSED = (errno.EPERM, errno.EACCES)

KNOBS = (
    *(
        Knob(
            f"/proc/sys/user/max_{kind}_namespaces",
            "0",
            (errno.ENOSPC,),  # since Linux 4.9
            f"user.max_{kind}_namespaces is 0: set it higher with sysctl",
        )
        for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
    ),
    Knob(
        "/proc/sys/kernel/unprivileged_userns_clone",
        "0",
        REFUSED,
        "kernel.unprivileged_userns_clone is 0: set it to 1 with sysctl",
    ),
    Knob(
        "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        "1",
        REFUSED,
        "kernel.apparmor_restrict_unprivileged_userns is 1: set it to 0 with sysctl, or give this program an AppArmor "
        "profile with the rule `userns,`",
    ),
)

# What is written to say so.
CHILD_IS_THERE, NO_CHILD = b"\0", b"\1"

# What is the matter where no such file says it.
SOMETHING = "something forbids user namespaces: a seccomp filter around us, a chroot, or a security module"
REFUSALS = {
    errno.EPERM: SOMETHING,
    errno.EACCES: SOMETHING,
    errno.ENOSPC: "a limit on namespaces is reached: see user.max_user_namespaces and its like for other kinds in "
    "/proc/sys/user, or these are nested too deeply",
}


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

    Raises:
        HostError: One of them refused, with its own words.
    """
    embedded = plan.embedded
    if embedded is None or not embedded.maps_by_helper:
        yield -1, -1
        return
    maps = tuple(zip(HELPERS, (embedded.user_map, embedded.group_map), strict=True))
    there_ours, there = os.pipe2(os.O_CLOEXEC)
    go_on, go_on_ours = os.pipe2(os.O_CLOEXEC)
    refusals: list[str] = []

    def write_maps() -> None:
        mapped = False
        try:
            if os.read(there_ours, 1) == CHILD_IS_THERE:
                refusals.extend(filter(None, (write_map(helper, child.pid, ids) for helper, ids in maps)))
                mapped = not refusals
        finally:
            # Never by closing this end, of which the child has a copy, and whoever else was forked meanwhile.
            os.write(go_on_ours, b"\1" if mapped else b"\0")

    writer = threading.Thread(target=write_maps, name="bpm id maps")
    try:
        writer.start()
        try:
            yield there, go_on
        finally:
            os.write(there, NO_CHILD)
            writer.join()
    except SpawnFailure:
        if refusals:
            raise HostError(f"cannot map the ids of a sandbox: {refusals[0]}") from None
        raise
    finally:
        for fd in (there, there_ours, go_on, go_on_ours):
            os.close(fd)


def write_map(helper: str, pid: int, maps: Sequence[IdMap]) -> str:
    """Let newuidmap(1) or newgidmap(1) write a map: what it has against it; empty where it wrote it."""
    words = [helper, str(pid), *(str(number) for one in maps for number in (one.inside, one.outside, one.count))]
    said = os.memfd_create("bpm-helper", os.MFD_CLOEXEC)
    try:
        helper_pid = os.posix_spawn(
            helper, words, {"PATH": "/usr/bin:/bin"}, file_actions=[(os.POSIX_SPAWN_DUP2, said, 2)]
        )
        try:
            status = os.waitstatus_to_exitcode(os.waitpid(helper_pid, 0)[1])
        except ChildProcessError:
            # Someone else reaps our children: what counts is whether the map is there.
            with open(f"/proc/{pid}/{'uid_map' if helper == HELPERS[0] else 'gid_map'}", encoding="ascii") as file:
                status = 0 if file.read() else -1
        if status == 0:
            return ""
        words_of_it = os.pread(said, 4096, 0).decode(errors="replace").strip()
        return words_of_it or f"{helper} ended with status {status}"
    except OSError as error:
        return f"{helper}: {describe_errno(error.errno or 0)}"
    finally:
        os.close(said)


def explain_refusal(failure: SpawnFailure, root: bool) -> HostError | None:
    """The error for an ordinary user whom the host gives no namespaces; None where it is not that.

    AppArmor lets the namespace be made and takes all capabilities in it away, so that the first mount is refused.
    """
    number = failure.number
    if root:
        return None
    forbidden = failure.stage in (Stage.SOURCES, Stage.CLONE, Stage.NAMESPACES, Stage.MOUNTS)
    knob = find_knob(number) if forbidden else ""
    if not knob and failure.stage is Stage.CLONE:
        knob = REFUSALS.get(number, "")
    if not knob and failure.stage is Stage.NAMESPACES and number == errno.EPERM and os.geteuid() == 0:
        knob = "root without CAP_SYS_ADMIN needs CAP_SETFCAP to map itself, since Linux 5.12"
    if not knob:
        return None
    return HostError(f"an ordinary user can make no sandbox here: {knob} ({describe_errno(number)})")


def find_knob(number: int, root: str = "") -> str:
    """Which setting of the host makes the kernel answer so, and what to do about it; empty where none does.

    Args:
        number: The kernel's answer, an errno.
        root: Where to look for /proc, for tests.
    """
    for knob in KNOBS:
        try:
            with open(root + knob.path, encoding="ascii") as file:
                if number in knob.numbers and file.read().strip() == knob.forbids:
                    return knob.advice
        except OSError:
            continue
    return ""
