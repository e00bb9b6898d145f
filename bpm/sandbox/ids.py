"""Which ids an ordinary user's sandbox knows, and whose they are outside. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attrs import frozen

from bpm.errors import PlanError
from bpm.plan import IdMap, Notice

if TYPE_CHECKING:
    from bpm.sandbox.facts import Surroundings

Ranges = tuple[tuple[int, int], ...]
"""Pairs of first id and count, see subuid(5)."""

FILES = {"user": "/etc/subuid", "group": "/etc/subgid"}
ROOTLESS = "default: not root"


@frozen
class Ids:
    """The ids of one sandbox.

    Args:
        users, groups: The maps of its user namespace; empty where it has none of its own.
        by_helper: Whether newuidmap(1) and newgidmap(1) have to write them.
        keeps_groups: Whether the program keeps our supplementary groups, since setgroups(2) is denied.
        notices: What it means for the program.
    """

    users: tuple[IdMap, ...] = ()
    groups: tuple[IdMap, ...] = ()
    by_helper: bool = False
    keeps_groups: bool = False
    notices: tuple[Notice, ...] = ()


def map_ids(around: Surroundings, *, best_effort: bool = False) -> Ids:
    """What an ordinary user's namespace maps: our own ids to themselves; and where others are asked for, our ranges.

    Args:
        best_effort: Whether, without ranges, the ids that were asked for stand for our own.

    Raises:
        PlanError: Our ranges do not hold what was asked for.
    """
    if around.root:
        return Ids()
    if (around.user, around.group, around.groups) == (around.uid, around.gid, ()):
        return _own(around, ())
    if best_effort and not (around.user_ranges and around.group_ranges):
        return _own(around, tuple(_pretence(around)))
    users = _spread("user", around.uid, (around.user,), around.user_ranges)
    groups = _spread("group", around.gid, (around.group, *around.groups), around.group_ranges)
    # newgidmap(1) gives setgroups(2) up where it maps nothing but our own group.
    return Ids(users, groups, by_helper=True, keeps_groups=not around.group_ranges)


def _own(around: Surroundings, notices: tuple[Notice, ...]) -> Ids:
    """The only maps that an ordinary user may write: of one id each, see user_namespaces(7)."""
    if around.held_groups:
        held = ", ".join(map(str, around.held_groups))
        text = f"keeps our supplementary groups ({held}): only newgidmap(1) makes it possible to give them up"
        notices += (Notice(text, ROOTLESS),)
    users, groups = IdMap(around.user, around.uid, 1), IdMap(around.group, around.gid, 1)
    return Ids((users,), (groups,), keeps_groups=True, notices=notices)


def _pretence(around: Surroundings) -> Iterator[Notice]:
    if around.user != around.uid:
        yield Notice(f"{around.user} inside is {around.uid}, ourselves, outside", "user")
    if around.group != around.gid:
        yield Notice(f"{around.group} inside is {around.gid}, our own group, outside", "group")
    if around.groups:
        yield Notice(f"left out: {', '.join(map(str, around.groups))}, which only newgidmap(1) could map", "groups")


def _spread(field: str, own: int, wanted: tuple[int, ...], ranges: Ranges) -> tuple[IdMap, ...]:
    """Our own id as itself, and the ranges as 0, 1, 2 and so on, with a gap where our own is."""
    maps = [IdMap(own, own, 1)]
    inside = 0
    for first, count in ranges:
        before = own - inside
        if 0 <= before < count:
            maps += [IdMap(inside, first, before)] if before else []
            maps += [IdMap(own + 1, first + before, count - before)]
            inside = own + 1 + count - before
        else:
            maps += [IdMap(inside, first, count)] if count else []
            inside += count
    missing = [number for number in wanted if not any(m.inside <= number < m.inside + m.count for m in maps)]
    if missing:
        ids = ", ".join(map(str, missing))
        known = f"those here make 0 to {inside - 1}" if inside else "there are none"
        raise PlanError(
            field,
            f"an ordinary user runs programs as {own} only; for {ids} it takes newuidmap(1) and long enough "
            f"ranges in {FILES[field]}: {known}",
        )
    return tuple(maps)
