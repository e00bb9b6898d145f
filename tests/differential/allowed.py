"""The differences that are meant between a container of bpm's and runc's of its bundle, each with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from attrs import frozen

from tests.differential.facts import Facts, differing, facts_of
from tests.differential.pair import Pair


@frozen
class Allowed:
    """One row: facts of such names may be these two.

    Args:
        name: A pattern that the whole name matches.
        holds: Whether the row is about this: ours, then runc's. A fact that only one of them has is none of any row's.
    """

    name: str
    holds: Callable[[Any, Any], bool]
    reason: str


def are(ours: Any, theirs: Any) -> Callable[[Any, Any], bool]:
    """Exactly these two."""
    return lambda mine, other: (mine, other) == (ours, theirs)


def is_pipe(ours: Any, theirs: Any) -> bool:
    return theirs[0].startswith("pipe:") and ours[0] in ("/dev/null", "output")


def is_below(ours: Any, theirs: Any) -> bool:
    """Ours is what its init has for a child; theirs has no init, or is led by runc's."""
    return isinstance(ours, int) and isinstance(theirs, int)


EPERM = -1

ALLOWED = (
    Allowed("process: pid", is_below, "bpm has an init, which is pid 1; runc leaves that to the program"),
    Allowed("process: parent", is_below, "the same"),
    Allowed("process: process group", is_below, "the program leads a group of its own, init's session"),
    Allowed("process: session", is_below, "the same"),
    Allowed(
        "descriptor: [012]",
        is_pipe,
        "`runc run` in the foreground copies the streams; test_streams.py has it hand them on",
    ),
    Allowed(
        r"mount: / \((of|file system)\)",
        lambda ours, theirs: ours.startswith(("new:", "tmpfs ")),
        "an OCI root is a directory of the bundle's; ours is a file system that goes with the container",
    ),
    Allowed(
        r"mount: .* \(file system\)",
        are("tmpfs tmpfs mode=555 rw size=4k", "tmpfs tmpfs ro"),
        "what masks a directory: both are empty and read-only, ours by its mount, runc's by its file system",
    ),
    Allowed(
        "attempt: mode:.*",
        are(0o40555, 0o41777),
        "the same: nobody may write there, and ours says so",
    ),
    Allowed(
        "attempt: node:.*/node:c:10:200",
        are(EPERM, 0),
        "runc lets /dev/net/tun in unasked (until 1.2); we do not",
    ),
)
"""Anything else is a failure. test_allowed.py holds that no row is left over."""


def unmeant(pair: Pair) -> list[str]:
    """Every difference that no row allows, in words."""
    return [f"{name}: bpm {ours!r}, runc {theirs!r}" for name, ours, theirs, row in judged(pair) if row is None]


def judged(pair: Pair) -> Iterator[tuple[str, Any, Any, Allowed | None]]:
    """Every difference, with the row that allows it."""
    yield from judge(facts_of(pair.ours, pair.host), facts_of(pair.theirs, pair.host))


def judge(ours: Facts, theirs: Facts) -> Iterator[tuple[str, Any, Any, Allowed | None]]:
    """The same for two tables of facts."""
    for name, mine, other in differing(ours, theirs):
        rows = [row for row in ALLOWED if re.fullmatch(row.name, name, re.S)] if None not in (mine, other) else []
        yield name, mine, other, next((row for row in rows if row.holds(mine, other)), None)
