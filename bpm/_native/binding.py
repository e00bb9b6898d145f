"""The Python side of the border: a SpawnRequest laid out as C structs, the answer as values.

Nothing here decides anything. ``bpm_spawn`` releases the interpreter lock, so threads spawn side by side.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from attrs import frozen

from bpm._native._ffi import ffi, lib
from bpm._native.request import Spawned, SpawnFailure, SpawnRequest, Stage, Step, StepKind

NO_NEW_PRIVS, DIE_WITH_PARENT, SUBREAPER, TERMINAL, KEEP_GROUPS = 1, 2, 4, 8, 16  # enum bpm_flag
CLONE_NEWPID = 0x20000000
FILTER_INSTRUCTION = 8  # bytes of a struct sock_filter

EXIT_FORMAT = "=8siiqqqqqq"
EXIT_SIZE = struct.calcsize(EXIT_FORMAT)


@frozen
class ExitFacts:
    """What init saw of the program's end. Times in ns of CLOCK_REALTIME or of cpu; max_rss in bytes.

    Args:
        code: CLD_EXITED (1), CLD_KILLED (2) or CLD_DUMPED (3), see waitid(2).
        status: The exit status, or the signal's number.
    """

    code: int
    status: int
    started: int
    ended: int
    user: int
    system: int
    max_rss: int


def parse_exit(data: bytes) -> ExitFacts | None:
    """What init wrote to ``exit_fd``; None for anything else, a part of it too."""
    if len(data) != EXIT_SIZE:
        return None
    magic, *fields, _ = struct.unpack(EXIT_FORMAT, data)
    return ExitFacts(*fields) if magic == b"bpmexit1" else None


class _Arena:
    """The C memory of one request, alive as long as this is."""

    def __init__(self) -> None:
        self._kept: list[Any] = []

    def keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def text(self, value: bytes) -> Any:
        return self.keep(ffi.new("char[]", value))

    def texts(self, values: Iterable[bytes]) -> Any:
        return self.keep(ffi.new("char *[]", [self.text(value) for value in values]))

    def array(self, kind: str, values: Sequence[Any]) -> Any:
        return self.keep(ffi.new(f"{kind}[]", values)) if values else ffi.NULL


def _step(arena: _Arena, step: Step) -> dict[str, Any]:
    """One struct bpm_step. What is made below a directory is named apart from it, so that C need not split paths."""
    path = step.path.strip(b"/")
    if step.kind in (StepKind.FILESYSTEM, StepKind.BIND):
        parent, name = path, b""
    else:
        parent, _, name = path.rpartition(b"/")
    options = [
        {"name": arena.text(key), "value": ffi.NULL if value is None else arena.text(value)}
        for key, value in step.options
    ]
    return {
        "kind": int(step.kind),
        "item": step.item,
        "parent": arena.text(parent or b"."),
        "name": arena.text(name),
        "source": arena.text(step.source),
        "options": arena.array("struct bpm_option", options),
        "option_count": len(options),
        "source_fd": step.source_fd,
        "recursive": step.recursive,
        "mode": step.mode,
        "device": step.device,
        "set_attributes": step.set_attributes,
        "clear_attributes": step.clear_attributes,
    }


def _flags(request: SpawnRequest) -> int:
    flags = NO_NEW_PRIVS if request.no_new_privs else 0
    if request.die_with_parent:
        flags |= DIE_WITH_PARENT
    if not request.namespaces & CLONE_NEWPID:
        flags |= SUBREAPER
    if request.terminal:
        flags |= TERMINAL
    if request.keep_groups:
        flags |= KEEP_GROUPS
    return flags


def _lay_out(arena: _Arena, request: SpawnRequest) -> Any:
    covers = [
        {"item": c.item, "read_only": c.read_only, "path": arena.text(c.path.strip(b"/"))} for c in request.covers
    ]
    rlimits = [{"resource": r, "soft": soft, "hard": hard} for r, soft, hard in request.rlimits]
    return ffi.new(
        "struct bpm_request *",
        {
            "namespaces": request.namespaces,
            "init_fd": init_descriptor(),
            "cgroup_fd": request.cgroup_fd,
            "uid_map": ffi.NULL if request.uid_map is None else arena.text(request.uid_map),
            "gid_map": ffi.NULL if request.gid_map is None else arena.text(request.gid_map),
            "join_fd": request.join_fd,
            "join_namespaces": request.join_namespaces,
            "cgroup_tasks": arena.array("int32_t", request.cgroup_tasks),
            "cgroup_task_count": len(request.cgroup_tasks),
            "steps": arena.array("struct bpm_step", [_step(arena, step) for step in request.steps]),
            "step_count": len(request.steps),
            "covers": arena.array("struct bpm_cover", covers),
            "cover_count": len(covers),
            "rlimits": arena.array("struct bpm_rlimit", rlimits),
            "rlimit_count": len(rlimits),
            "workdir": arena.text(request.workdir.strip(b"/") or b"."),
            "hostname": ffi.NULL if request.hostname is None else arena.text(request.hostname),
            "stdio": request.stdio,
            "exit_fd": request.exit_fd,
            "flags": _flags(request),
            "uid": request.uid,
            "gid": request.gid,
            "groups": arena.array("uint32_t", request.groups),
            "group_count": len(request.groups),
            "bounding": request.bounding,
            "permitted": request.permitted,
            "inheritable": request.inheritable,
            "ambient": request.ambient,
            "filter": arena.text(request.filter),
            "filter_length": len(request.filter) // FILTER_INSTRUCTION,
            "arguments": arena.texts(request.argv),
            "argument_count": len(request.argv),
            "environment": arena.texts(request.env),
            "variable_count": len(request.env),
            "candidates": arena.texts(request.candidates),
            "candidate_count": len(request.candidates),
        },
    )


_init_lock = threading.Lock()
_init: tuple[int, int] | None = None  # descriptor and inode number


def init_descriptor() -> int:
    """The sealed memfd that holds init: made once, shared by all spawns of this process.

    It is made again where someone closed it, as programs do that become daemons.

    Raises:
        OSError: memfd_create(2) or fcntl(2) refused.
    """
    global _init
    with _init_lock:
        if _init is not None:
            try:
                if os.fstat(_init[0]).st_ino == _init[1]:
                    return _init[0]
            except OSError:
                pass
        fd = lib.bpm_make_init()
        if fd < 0:
            raise OSError(ffi.errno, "cannot make the memfd of init")
        _init = (fd, os.fstat(fd).st_ino)
        return fd


def spawn(request: SpawnRequest) -> Spawned:
    """Make the container and run its program.

    Returns once the program has been executed. The descriptors in the request stay the caller's.

    Raises:
        SpawnFailure: It stopped at a stage; nothing of it is left.
        OSError: The memfd of init could not be made.
    """
    arena = _Arena()
    spawned = ffi.new("struct bpm_spawned *")
    report = ffi.new("struct bpm_report *")
    if lib.bpm_spawn(_lay_out(arena, request), spawned, report) == 0:
        return Spawned(spawned.pid, spawned.pidfd)
    stage = Stage(report.stage)
    raise SpawnFailure(stage, report.item, report.error, None if report.error else spawned.status)
