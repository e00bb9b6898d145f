"""What planning a sandbox needs to know: the host, who we are here, and what the sandbox's names stand for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from attrs import frozen

from bpm import host
from bpm.errors import PlanError
from bpm.plan import HostFacts
from bpm.sandbox.checks import check_id

if TYPE_CHECKING:
    from bpm.sandbox.sandbox import Sandbox

NOBODY = 65534
HELPERS = ("/usr/bin/newuidmap", "/usr/bin/newgidmap")


@frozen
class Surroundings:
    """One look around, for one sandbox.

    Args:
        host: The machine.
        uid, gid: Whose process this is.
        root: Whether it may make namespaces without one for users.
        user, group, groups: Who the program runs as.
        existing: Which sources of optional binds exist.
        missing_cgroups: Directories of our own cgroups in which we may make no cgroup.
        held_groups: Our supplementary groups.
        user_ranges, group_ranges: Pairs of first id and count that newuidmap(1) and newgidmap(1) give this user.
    """

    host: HostFacts
    uid: int
    gid: int
    root: bool
    user: int
    group: int
    groups: tuple[int, ...] = ()
    existing: frozenset[str] = frozenset()
    missing_cgroups: frozenset[str] = frozenset()
    held_groups: tuple[int, ...] = ()
    user_ranges: tuple[tuple[int, int], ...] = ()
    group_ranges: tuple[tuple[int, int], ...] = ()


def look_around(sandbox: Sandbox) -> Surroundings:
    """Look at the machine, at ourselves, and at what the sandbox names.

    Raises:
        PlanError: It names a user or group that does not exist.
        HostError: /proc cannot be read.
    """
    facts = host.observe_machine()
    uid, gid, root = os.geteuid(), os.getegid(), may_mount()
    default = (NOBODY, NOBODY) if root else (uid, gid)
    user, primary = find_user(sandbox.user) if sandbox.user is not None else default
    group = find_group(sandbox.group) if sandbox.group is not None else primary
    helpers = not root and all(os.access(path, os.X_OK) for path in HELPERS)
    return Surroundings(
        host=facts,
        uid=uid,
        gid=gid,
        root=root,
        user=user,
        group=group,
        groups=tuple(find_group(name, f"groups[{i}]") for i, name in enumerate(sandbox.groups)),
        existing=frozenset(piece.source for piece in sandbox.optional_binds() if os.path.exists(piece.source)),
        missing_cgroups=frozenset() if root else frozenset(_closed_cgroups(facts)),
        held_groups=tuple(sorted({*os.getgroups()} - {gid})),
        user_ranges=tuple(_ranges("/etc/subuid", uid)) if helpers else (),
        group_ranges=tuple(_ranges("/etc/subgid", uid)) if helpers else (),
    )


def may_mount() -> bool:
    """Whether we have CAP_SYS_ADMIN, and CAP_SETUID to become someone else, and not only in a namespace of users.

    There mknod(2) makes no device, and only mapped ids can be had: it is an ordinary user's world.
    """
    with open("/proc/self/uid_map", encoding="ascii") as file:
        if file.read().split() != ["0", "0", str(2**32 - 1)]:
            return False
    with open("/proc/thread-self/status", encoding="utf-8", errors="surrogateescape") as file:
        line = next(line for line in file if line.startswith("CapEff:"))
    needed = 1 << 21 | 1 << 7
    return int(line.split()[1], 16) & needed == needed


def find_user(user: str | int) -> tuple[int, int]:
    """A user's id and group; of a number without an entry, the same number as its group.

    Raises:
        PlanError: There is no such user.
    """
    import pwd

    if isinstance(user, int):
        check_id(user, "user")
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except (KeyError, ValueError):
        if isinstance(user, int):
            return user, user
        raise PlanError("user", f"this machine has no user {user!r}") from None
    return entry.pw_uid, entry.pw_gid


def find_group(group: str | int, key: str = "group") -> int:
    """A group's id.

    Raises:
        PlanError: There is no such group, under that key.
    """
    import grp

    if isinstance(group, int):
        return check_id(group, key)
    try:
        return grp.getgrnam(group).gr_gid
    except (KeyError, ValueError):
        raise PlanError(key, f"this machine has no group {group!r}") from None


def _closed_cgroups(facts: HostFacts) -> list[str]:
    homes = [*facts.controllers, *([facts.unified] if facts.unified else [])]
    own = {home.mount_point + home.own_path.rstrip("/") for home in homes}
    return [path for path in own if not os.access(path, os.W_OK)]


def _ranges(path: str, uid: int) -> list[tuple[int, int]]:
    """The lines for this user, by name or by number, of /etc/subuid and its like, see subuid(5)."""
    import pwd

    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        names = {str(uid)}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip().split(":") for line in file]
    except OSError:
        return []
    return [
        (int(line[1]), int(line[2]))
        for line in lines
        if len(line) == 3 and line[0] in names and line[1].isdigit() and line[2].isdigit()
    ]
