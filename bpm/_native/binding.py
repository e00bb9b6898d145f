"""The Python side of the border: a SpawnRequest laid out as C structs, the answer as values.

Nothing here decides anything. ``bpm_spawn`` releases the interpreter lock, so threads spawn side by side.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from typing import Any

from bpm._native._ffi import ffi, lib
from bpm._native.record import COUNTERS, ExitFacts, Reaped
from bpm._native.request import Spawned, SpawnFailure, SpawnRequest, Stage, Step, StepKind

NO_NEW_PRIVS, DIE_WITH_PARENT, SUBREAPER, TERMINAL, KEEP_GROUPS = 1, 2, 4, 8, 16  # enum bpm_flag
CLONE_NEWPID = 0x20000000
FILTER_INSTRUCTION = 8  # bytes of a struct sock_filter

# What every spawn makes, so looked up once; and what it is before anything was.
_REQUEST, _REPORT = ffi.typeof("struct bpm_request *"), ffi.typeof("struct bpm_report *")
_SPAWNED, _ENDED = ffi.typeof("struct bpm_spawned *"), ffi.typeof("struct bpm_ended *")
_PLUMBING = ffi.typeof("struct bpm_plumbing *")
_NOT_SPAWNED = ffi.new(_SPAWNED, {"pidfd": -1})[0]
_NO_PLUMBING = ffi.new(_PLUMBING, {"ours": [-1] * 3, "theirs": [-1] * 3, "exit_fd": -1})[0]


def _exit_facts(record: Any) -> ExitFacts:
    """A struct bpm_exit, without the counters."""
    return ExitFacts(
        record.code,
        record.status,
        record.started,
        record.ended,
        record.user,
        record.system,
        record.max_rss,
        record.timed_out,
    )


class _Arena:
    """The C memory of one request, alive as long as this is."""

    def __init__(self) -> None:
        self._kept: list[Any] = []
        self._texts: dict[bytes, Any] = {}

    def keep(self, value: Any) -> Any:
        self._kept.append(value)
        return value

    def text(self, value: bytes) -> Any:
        text = self._texts.get(value)
        if text is None:
            text = self._texts[value] = ffi.new("char[]", value)
        return text

    def texts(self, values: Iterable[bytes]) -> Any:
        return self.keep(ffi.new("char *[]", [self.text(value) for value in values]))

    def array(self, kind: str, values: Sequence[Any]) -> Any:
        return self.keep(ffi.new(f"{kind}[]", values)) if values else ffi.NULL


def _steps(arena: _Arena, steps: Sequence[Step]) -> Any:
    """The structs of all steps. Set field by field, the others being 0: a dict for each takes twice as long."""
    c_steps = arena.keep(ffi.new("struct bpm_step[]", len(steps)))
    for c_step, step in zip(c_steps, steps, strict=True):
        _fill_step(arena, c_step, step)
    return c_steps


def _fill_step(arena: _Arena, c_step: Any, step: Step) -> None:
    """One struct bpm_step. What is made below a directory is named apart from it, so that C need not split paths."""
    parent, name = step.path.strip(b"/"), b""
    if step.kind in (StepKind.FILESYSTEM, StepKind.BIND, StepKind.SEAL):
        c_step.source_fd = step.source_fd
        c_step.recursive = step.recursive
        c_step.shared = step.shared
        c_step.set_attributes = step.set_attributes
        c_step.clear_attributes = step.clear_attributes
    else:
        parent, _, name = parent.rpartition(b"/")
        c_step.mode = step.mode
        c_step.device = step.device
    c_step.kind = step.kind
    c_step.item = step.item
    c_step.parent = arena.text(parent or b".")
    c_step.name = arena.text(name)
    c_step.source = arena.text(step.source)
    if step.options:
        c_step.options = arena.array("struct bpm_option", [_option(arena, *option) for option in step.options])
        c_step.option_count = len(step.options)


def _option(arena: _Arena, name: bytes, value: bytes | None) -> tuple[Any, Any]:
    return arena.text(name), ffi.NULL if value is None else arena.text(value)


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
            "template_fd": request.template_fd,
            "keep_root": request.join_fd >= 0 or request.template_fd >= 0,
            "join_fd": request.join_fd,
            "join_namespaces": request.join_namespaces,
            "cgroup_tasks": arena.array("int32_t", request.cgroup_tasks),
            "cgroup_task_count": len(request.cgroup_tasks),
            "steps": _steps(arena, request.steps),
            "step_count": len(request.steps),
            "covers": arena.array("struct bpm_cover", covers),
            "cover_count": len(covers),
            "rlimits": arena.array("struct bpm_rlimit", rlimits),
            "rlimit_count": len(rlimits),
            "workdir": arena.text(request.workdir.strip(b"/") or b"."),
            "hostname": ffi.NULL if request.hostname is None else arena.text(request.hostname),
            "stdio": request.stdio,
            "exit_fd": request.exit_fd,
            "counters": [*request.counters, *[-1] * (COUNTERS - len(request.counters))],
            "caller_fd": life_descriptor() if request.die_with_parent else -1,
            "joins": arena.array("struct bpm_join", request.joins),
            "join_count": len(request.joins),
            "pass": arena.array("int32_t", request.passed),
            "pass_count": len(request.passed),
            "map_pipes": request.map_pipes,
            "umask": request.umask,
            "wall_time": request.wall_time,
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


_lock = threading.Lock()
_init: tuple[int, int] | None = None  # descriptor and inode number
_life: tuple[int, int, int] | None = None  # descriptor, inode number, and the process


def init_descriptor() -> int:
    """The sealed memfd that holds init: made once, shared by all spawns of this process.

    It is made again where someone closed it, as programs do that become daemons.

    Raises:
        SpawnFailure: memfd_create(2) or fcntl(2) refused.
    """
    global _init
    # Every spawn comes here, and no lock is to be left behind by one that is interrupted.
    if _init is not None and _is(*_init):
        return _init[0]
    with _lock:
        if _init is None or not _is(*_init):
            fd = lib.bpm_make_init()
            if fd < 0:
                raise SpawnFailure(Stage.CLONE, -1, ffi.errno)
            _init = (fd, os.fstat(fd).st_ino)
    return _init[0]


def life_descriptor() -> int:
    """A file in memory that is locked for as long as this process lives: by that, init knows.

    Forks inherit the descriptor and not the lock (fcntl_locking(2)), so a fork makes its own.

    Raises:
        OSError: memfd_create(2) or fcntl(2) refused.
    """
    global _life
    pid = os.getpid()
    if _life is not None and _life[2] == pid and _is(*_life[:2]):
        return _life[0]
    with _lock:
        if _life is None or _life[2] != pid or not _is(*_life[:2]):
            import fcntl

            fd = os.memfd_create("bpm-caller", os.MFD_CLOEXEC)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _life = (fd, os.fstat(fd).st_ino, pid)
    return _life[0]


def _is(fd: int, inode: int) -> bool:
    """Whether the descriptor still is that file."""
    return lib.bpm_is(fd, inode)


def spawn(request: SpawnRequest) -> Spawned:
    """Make the container and run its program.

    Returns once the program has been executed. The descriptors in the request stay the caller's.

    Raises:
        SpawnFailure: It stopped at a stage; nothing of it is left.
    """
    spawned = Layout(request).spawn()
    return Spawned(spawned.pid, spawned.take_pidfd())


class Layout:
    """A request laid out once in C's memory, to be spawned any number of times, from any thread.

    What differs from spawn to spawn is put into a copy of its fixed part.

    Args:
        request: Its descriptors must stay open as long as this is used.
    """

    def __init__(self, request: SpawnRequest) -> None:
        self._arena = _Arena()
        self._fixed = _lay_out(self._arena, request)
        self._dies_with_parent = request.die_with_parent

    def make_template(self) -> int:
        """Build the root in a mount namespace that nobody is in: a descriptor of it, which the caller closes.

        Raises:
            SpawnFailure: It stopped at a stage; nothing of it is left.
        """
        report = ffi.new(_REPORT)
        fd = lib.bpm_make_template(self._fixed, report)
        if fd < 0:
            raise SpawnFailure(Stage(report.stage), report.item, report.error)
        return fd

    def spawn(
        self,
        *,
        argv: Sequence[bytes] | None = None,
        candidates: Sequence[bytes] = (),
        env: Sequence[bytes] | None = None,
        workdir: bytes | None = None,
        stdio: Sequence[int] | None = None,
        exit_fd: int | None = None,
        cgroup: tuple[int, Sequence[int]] | None = None,
        passed: Sequence[int] | None = None,
        map_pipes: tuple[int, int] | None = None,
        into: Child | None = None,
    ) -> Child:
        """Spawn it, with what is not None in place of the request's own. ``candidates`` go with ``argv``.

        Args:
            into: Where to remember what was spawned, so that it is known even when this call is interrupted.

        Raises:
            SpawnFailure: It stopped at a stage; nothing of it is left.
        """
        arena = _Arena()
        request = ffi.new(_REQUEST, self._fixed[0])
        request.init_fd = init_descriptor()
        if self._dies_with_parent:
            request.caller_fd = life_descriptor()
        if argv is not None:
            request.arguments, request.argument_count = arena.texts(argv), len(argv)
            request.candidates, request.candidate_count = arena.texts(candidates), len(candidates)
        if env is not None:
            request.environment, request.variable_count = arena.texts(env), len(env)
        if workdir is not None:
            request.workdir = arena.text(workdir.strip(b"/") or b".")
        if stdio is not None:
            request.stdio = stdio
        if exit_fd is not None:
            request.exit_fd = exit_fd
        if cgroup is not None:
            request.cgroup_fd = cgroup[0]
            request.cgroup_tasks, request.cgroup_task_count = arena.array("int32_t", cgroup[1]), len(cgroup[1])
        if passed is not None:
            setattr(request, "pass", arena.array("int32_t", passed))
            request.pass_count = len(passed)
        if map_pipes is not None:
            request.map_pipes = map_pipes
        child = into or Child()
        report = ffi.new(_REPORT)
        if lib.bpm_spawn(request, child.spawned, report) == 0:
            return child
        stage = Stage(report.stage)
        raise SpawnFailure(stage, report.item, report.error, None if report.error else child.spawned.status)


class Child:
    """What a spawn has made, in C's memory: filled in by the very call that makes it. Its pidfd is closed with it."""

    def __init__(self) -> None:
        # Destroyed in C: out of a __del__() of Python's, no interruption would ever come to whom it is meant for.
        self.spawned = ffi.gc(ffi.new(_SPAWNED, _NOT_SPAWNED), lib.bpm_close_spawned)
        self._ended = ffi.new(_ENDED)

    @property
    def pid(self) -> int:
        """Init's pid; 0 before there is one. (From the moment of the clone, where its maps are written by others.)"""
        pid: int = self.spawned.pid
        return pid

    @property
    def pidfd(self) -> int:
        """Stands for init, -1 when there is none."""
        pidfd: int = self.spawned.pidfd
        return pidfd

    def take_pidfd(self) -> int:
        """The pidfd, which is the caller's to close from now on."""
        pidfd = self.pidfd
        self.spawned.pidfd = -1
        return pidfd

    def reap(self, plumbing: Plumbing) -> Reaped:
        """What is known of an init that has ended. Once it was asked, it is known for good.

        Args:
            plumbing: Has the exit record, and closes its file then.
        """
        lib.bpm_reap(self.spawned, plumbing.pointer, self._ended)
        ended = self._ended
        return Reaped(
            os.waitstatus_to_exitcode(ended.status) if ended.reaped else None,
            ended.user,
            ended.system,
            _exit_facts(ended.record) if ended.recorded else None,
        )

    def close(self) -> None:
        """Close the pidfd, once."""
        lib.bpm_close_spawned(self.spawned)


class Plumbing:
    """The descriptors of one spawn that are its own: pipes to some of 0, 1 and 2, and the file for the exit record.

    Every descriptor is made, remembered and forgotten by single calls into C, so that whatever an
    interpreter does in between (KeyboardInterrupt, for one), none is lost and none closed twice.

    Args:
        pipes: For which descriptors of the program.

    Raises:
        OSError: There are too many descriptors.
    """

    def __init__(self, pipes: Iterable[int] = ()) -> None:
        self._c = ffi.gc(ffi.new(_PLUMBING, _NO_PLUMBING), lib.bpm_close_plumbing)
        if lib.bpm_plumb(sum([1 << number for number in pipes]), self._c) < 0:
            raise OSError(ffi.errno, os.strerror(ffi.errno))

    def ours(self, number: int) -> int:
        """The caller's end of the pipe to the program's descriptor, or -1."""
        fd: int = self._c.ours[number]
        return fd

    def theirs(self, number: int) -> int:
        """The program's end."""
        fd: int = self._c.theirs[number]
        return fd

    @property
    def exit_fd(self) -> int:
        """The file that init writes the exit record to, or -1."""
        fd: int = self._c.exit_fd
        return fd

    @property
    def pointer(self) -> Any:
        """The C struct."""
        return self._c

    def close_ours(self, number: int) -> None:
        """Close the caller's end, once."""
        lib.bpm_close(self._c.ours + number)

    def close_theirs(self) -> None:
        """Leave the program's ends to the program."""
        lib.bpm_close_theirs(self._c)

    def close(self) -> None:
        """Close all that is still open."""
        lib.bpm_close_plumbing(self._c)
