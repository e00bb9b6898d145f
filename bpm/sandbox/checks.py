"""Whether the fields of a sandbox mean something: what is found wrong is found before anything is made. Pure."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bpm.config import Limits
from bpm.errors import PlanError
from bpm.sandbox.pieces import Symlink, Tmpfs

if TYPE_CHECKING:
    from bpm.sandbox.sandbox import Sandbox

LONGEST_HOSTNAME = 64  # HOST_NAME_MAX
MOST_GROUPS = 65536  # NGROUPS_MAX
LARGEST_ID = 2**32 - 2  # setresuid(2) takes one more for "as it is"
SIZE = re.compile(r"[1-9][0-9]*[kKmMgGtT%]?")  # tmpfs(5)

# The least that makes sense, where it is a whole number.
LEAST = {"processes": 1, "open_files": 0, "core_file_size": 0, "cpu_weight": 1, "cpu_time": 1, "file_size": 0}
NO_LIMIT = {"processes": -1, "core_file_size": -1}


def check_fields(sandbox: Sandbox) -> None:
    """Refuse what no kernel could be asked for.

    Raises:
        PlanError: Something is; the error names the field.
    """
    for key, reason in _wrong(sandbox):
        raise PlanError(key, reason)


def check_id(number: int, key: str) -> int:
    """The id of a user or a group.

    Raises:
        PlanError: It is none, under that key.
    """
    if not 0 <= number <= LARGEST_ID:
        raise PlanError(key, f"not an id: {number}")
    return number


def _wrong(sandbox: Sandbox) -> Iterator[tuple[str, str]]:
    yield from _wrong_limits(sandbox.limits)
    if len(os.fsencode(sandbox.hostname)) > LONGEST_HOSTNAME:
        yield "hostname", f"longer than {LONGEST_HOSTNAME} bytes: {sandbox.hostname}"
    if not 0 <= sandbox.umask <= 0o777:
        yield "umask", f"not permission bits: {sandbox.umask:#o}"
    if len(sandbox.groups) > MOST_GROUPS:
        yield "groups", f"more than {MOST_GROUPS}"
    for name in sandbox.env:
        if not name or "=" in name:
            yield f"env.{name}", f"illegal environment variable name: {name!r}"
    taken = {getattr(piece, "target", None) or getattr(piece, "source", "") for piece in sandbox.mounts}
    for i, piece in enumerate(sandbox.mounts):
        if isinstance(piece, Tmpfs):
            if piece.size is not None and not SIZE.fullmatch(str(piece.size)):
                yield f"mounts[{i}]", f"expected a size in bytes or such as 64M, got {piece.size!r}"
            if not 0 <= piece.mode <= 0o7777:
                yield f"mounts[{i}]", f"not permission bits: {piece.mode:#o}"
        elif isinstance(piece, Symlink):
            if not piece.path.startswith("/") or posixpath.normpath(piece.path) != piece.path or piece.path == "/":
                yield f"mounts[{i}]", f"not a clean absolute path: {piece.path!r}"
            if not piece.to:
                yield f"mounts[{i}]", f"{piece.path} leads nowhere"
            if piece.path in taken:
                yield f"mounts[{i}]", f"{piece.path} is there twice"
            taken.add(piece.path)


def _wrong_limits(limits: Limits) -> Iterator[tuple[str, str]]:
    for name, least in LEAST.items():
        value = getattr(limits, name)
        if value is None or value == NO_LIMIT.get(name):
            continue
        if not isinstance(value, int) or value < least:
            yield f"limits.{name}", f"expected a whole number, at least {least}, got {value!r}"
    for name in ("memory", "swap", "memory_high", "cpu"):
        value = getattr(limits, name)
        if value is not None and not isinstance(value, str):
            yield f"limits.{name}", f"expected a number or a text, got {value!r}"
    seconds = limits.wall_time
    if seconds is not None and not (isinstance(seconds, int | float) and 0 < seconds < 1e9):
        yield "limits.wall_time", f"not a number of seconds: {seconds!r}"
