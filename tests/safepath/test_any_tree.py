"""A model of a tree with a hostile owner: any tree, any operation, judged by a naive reading of the path."""

from __future__ import annotations

import os
import stat
import tempfile

import pytest
from attrs import frozen
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.effort import times
from tests.safepath.trees import (
    HOSTILE,
    OPERATIONS,
    Operation,
    Snapshot,
    create,
    directory,
    lock,
    log,
    make,
    mkdir,
    plant_secrets,
    read,
    reader,
    remove,
    save,
    snapshot,
    source,
    symlink,
    volume,
    write,
)

# Drawn more often, since the others stand in them.
KINDS = ("directory", "directory", "directory", "link", "link", "file", "empty", "hard link", "FIFO", "device")
MODES = (0o755, 0o755, 0o700, 0o770, 0o777, 0o1777)
SECRETS = ("/outside", "/outside/secret", "/outside/private", "/outside/new")


@frozen
class Entry:
    """Something in the tree; what cannot be made, since its parent is a dangling link, is left out."""

    path: str
    kind: str
    owner: int
    mode: int
    target: str
    relative: bool

    def make(self, top: str) -> None:
        path = top + self.path
        if not os.path.isdir(os.path.dirname(path)) or os.path.lexists(path):
            return
        if self.kind == "directory":
            mkdir(path, self.owner, self.mode, gid=HOSTILE)
        elif self.kind == "link":
            target = top + self.target
            here = os.path.realpath(os.path.dirname(path))
            symlink(os.path.relpath(target, here) if self.relative else target, path, self.owner)
        elif self.kind == "hard link":
            os.link(f"{top}/outside/secret", path)
        elif self.kind in ("file", "empty"):
            write(path, "text" if self.kind == "file" else "", self.owner, 0o600)
        else:
            os.mknod(path, 0o600 | (stat.S_IFIFO if self.kind == "FIFO" else stat.S_IFCHR), os.makedev(1, 3))
            os.chown(path, self.owner, self.owner)


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[Entry], str]:
    """Entries, and a path that has to do with them."""
    parents = [""]
    entries: dict[str, Entry] = {}
    for _ in range(draw(st.integers(1, 9))):
        path = f"{draw(st.sampled_from(parents))}/{draw(st.sampled_from('abc'))}"
        if path in entries:
            continue
        kind = draw(st.sampled_from(KINDS))
        target = draw(st.sampled_from((*SECRETS, *entries, *parents)))
        owner, mode = draw(st.sampled_from((0, HOSTILE))), draw(st.sampled_from(MODES))
        entries[path] = Entry(path, kind, owner, mode, target, draw(st.booleans()))
        if kind in ("directory", "link"):
            parents.append(path)
    tail = draw(st.sampled_from(["", "", "/a", "/new", "/secret", "/new/deep"]))
    return list(entries.values()), draw(st.sampled_from(list(entries))) + tail


@frozen
class Way:
    """A naive reading of a path: the directories looked into, the links followed, and the end.

    There is none where ``..`` follows what does not exist, nor where the path's own last name is a link to nowhere.

    Args:
        is_safe: Whether nobody but root had a hand in it.
        links_are_safe: The same of all its links.
    """

    end: str | None
    is_safe: bool
    links_are_safe: bool


def find_way(top: str, path: str, *, follow: bool) -> Way:
    here, pending = top, path[len(top) + 1 :].split("/")
    links, safe, movable, links_safe = 0, True, False, True
    ends_in_link = False
    while pending:
        if not os.path.isdir(here):
            can_be_made = not os.path.lexists(here) and ".." not in pending and not ends_in_link
            return Way(os.path.join(here, *pending) if can_be_made else None, safe and links_safe, links_safe)
        above, here = here, os.path.normpath(os.path.join(here, pending.pop(0)))
        movable = movable or (others_write(above) and not is_roots_and_sticky(above))
        if os.path.islink(here) and (pending or follow):
            links += 1
            ends_in_link = ends_in_link or not pending
            links_safe = links_safe and not movable and os.lstat(here).st_uid == 0
            if links > 40:
                return Way(None, False, links_safe)
            target = os.path.join(above, os.readlink(here))
            here, pending = top, [*os.path.relpath(target, top).split("/"), *pending]
        else:
            through = is_roots_and_sticky(above) and pending and os.path.isdir(here) and os.lstat(here).st_uid == 0
            safe = safe and bool(through or not others_write(above))
    leads_nowhere = ends_in_link and not os.path.lexists(here)
    return Way(None if leads_nowhere else here, safe and links_safe, links_safe)


def is_roots_and_sticky(path: str) -> bool:
    """Whether it is like /tmp, where nobody can rename what is root's."""
    status = os.lstat(path)
    return status.st_uid == 0 and bool(status.st_mode & stat.S_ISVTX)


def is_roots_file(path: str) -> bool:
    return os.path.isfile(path) and os.stat(path).st_uid == 0


def others_write(path: str) -> bool:
    status = os.lstat(path)
    by_group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    return bool(status.st_uid == HOSTILE or status.st_mode & stat.S_IWOTH or by_group)


# Whether an operation can do its work at the end of a safe way.
FITS = {
    make: lambda end: os.path.isdir(end) or not os.path.lexists(end),
    log: lambda end: not os.path.islink(end) and (os.path.isfile(end) or not os.path.lexists(end)),
    volume: lambda end: os.path.exists(end) or not os.path.lexists(end),
    source: os.path.exists,
    directory: os.path.isdir,
    reader: lambda end: os.path.isfile(end) and not os.path.islink(end),
    read: os.path.isfile,
    save: lambda end: not os.path.isdir(end) or os.path.islink(end),
    create: lambda end: not os.path.isdir(end) or os.path.islink(end),
    lock: lambda end: not os.path.islink(end) and (is_roots_file(end) or not os.path.lexists(end)),
    remove: lambda end: not os.path.isdir(end) or os.path.islink(end),
}


def may_be_given(path: str, before: Snapshot) -> bool:
    """Whether a thing of root's may become the hostile user's: it holds nothing, or it is BOSH's 0770 case."""
    mode, contents = before[path].mode, before[path].contents
    if not stat.S_ISDIR(mode):
        return contents == b""
    return before[os.path.dirname(path)].uid == 0 or not any(name.startswith(path + "/") for name in before)


@pytest.mark.needs_root
@pytest.mark.parametrize("operation", OPERATIONS)
@settings(max_examples=times(100), deadline=None)
@given(drawn=trees())
@example(drawn=([Entry("/a", "link", 0, 0o755, "/outside/new", False)], "/a"))
def test_any_tree(operation: Operation, drawn: tuple[list[Entry], str]) -> None:
    """On a safe way it does what it says; on any other that too, or nothing outside the hostile user's own changes."""
    entries, tried = drawn
    with tempfile.TemporaryDirectory() as top:
        plant_secrets(top)
        for entry in entries:
            entry.make(top)
        way = find_way(top, top + tried, follow=operation not in (log, reader, save, create, lock, remove))
        before = snapshot(top)
        realm = tuple(f"{path}/" for path in before if os.path.isdir(path) and others_write(path))
        fits = way.is_safe and way.end is not None and FITS[operation](way.end)
        reached = way.end is not None and os.path.isdir(os.path.dirname(way.end))

        error = attempt(operation, top + tried)

        after = snapshot(top)
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        if fits and (reached or operation in (make, volume)):
            assert error is None
            assert changed <= {*names_of(str(way.end), before), str(way.end), *(after.keys() - before.keys())}
        else:
            assert [path for path in changed if not path.startswith(realm)] == []
        if error is None:
            assert way.links_are_safe
        if error is None and operation in (make, log, volume):
            assert after[str(way.end)].uid == HOSTILE
        if not fits and operation not in (remove, save, create):
            assert [p for p in changed & before.keys() if before[p].uid == 0 and not may_be_given(p, before)] == []


def names_of(path: str, tree: Snapshot) -> set[str]:
    """Every name in the tree of what now has this path."""
    if not os.path.lexists(path):
        return set()
    return {name for name in tree if os.path.lexists(name) and os.path.samestat(os.lstat(name), os.lstat(path))}


def attempt(operation: Operation, path: str) -> OSError | None:
    try:
        operation(path)
    except OSError as error:
        return error
    return None
