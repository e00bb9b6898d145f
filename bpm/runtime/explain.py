"""Why a program could not be executed: which file, and what is wrong with it.

execve(2) answers ENOENT for a script whose interpreter is missing as for a file that is missing itself,
and EACCES for four different reasons. The path is therefore followed here once more, through the plan's
mounts to the files of the host, as the container would have seen it. This only reads, and only after a
start has failed.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import struct

from attrs import frozen

from bpm.config import clean_path, is_below
from bpm.errors import describe_errno
from bpm.layout import INSIDE_ROOT
from bpm.plan import Mount, ProcessPlan
from bpm.runtime.lower import candidates

# path_resolution(7)
MOST_LINKS = 40

# elf(5): e_machine, and how uname(2) calls the machines that run it.
MACHINES = {62: ("x86_64",), 3: ("x86_64", "i386", "i686"), 183: ("aarch64",), 40: ("aarch64", "armv7l", "armv8l")}
MACHINE_NAMES = {62: "x86_64", 3: "i386", 183: "aarch64", 40: "arm", 243: "riscv64", 21: "ppc64", 22: "s390x"}
PT_INTERP = 3

NOT_MOUNTED = "nothing mounts it into the container"

# linux/binfmts.h: as much of a script's first line as the kernel reads.
FIRST_LINE = 256

# execve(2): how often an interpreter may itself be a script.
DEEPEST = 4


@frozen
class Found:
    """What stands at a path inside.

    Args:
        path: Inside, as far as it was followed.
        outside: The host's file; None for what is the container's own.
        mount: The mount that holds it; None for the container's root.
        problem: Why it cannot be reached; empty when it can.
    """

    path: str
    outside: str | None
    mount: Mount | None
    problem: str = ""


def explain(plan: ProcessPlan, number: int) -> str:
    """One sentence, without its full stop, on why the plan's program was refused with this errno."""
    try:
        problem = examine_program(plan)
    except OSError:  # What was there a moment ago has gone.
        problem = ""
    return problem or f"{plan.argv[0]}: {describe_errno(number)}"


def examine_program(plan: ProcessPlan) -> str:
    """What is wrong with executing the plan's program; empty when nothing is seen to be.

    Raises:
        OSError: We cannot look.
    """
    program = plan.argv[0]
    tried = [posixpath.join(plan.workdir.path, os.fsdecode(path)) for path in candidates(plan)]
    if "/" in program:
        return examine(plan, tried[0])
    for path in tried:
        if not find(plan, path).problem:
            return examine(plan, path)
    path = next((variable.value for variable in plan.env if variable.name == "PATH"), "")
    return f"there is no {program} in any directory of PATH ({path})"


def examine(plan: ProcessPlan, path: str, depth: int = 0) -> str:
    """What is wrong with executing ``path`` inside; empty when nothing is seen to be."""
    found = find(plan, path)
    if found.problem:
        would = (
            f"`bpm explain {plan.job} {path}` tells which key" if plan.embedded is None else "a Bind among its mounts"
        )
        return found.problem + (f"; {would} would" if found.problem.endswith(NOT_MOUNTED) else "")
    if found.outside is None:
        return f"{path} is no program"
    status = os.stat(found.outside, follow_symlinks=False)
    if stat.S_ISDIR(status.st_mode):
        return f"{path} is a directory"
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is no regular file"
    if found.mount is not None and "noexec" in found.mount.options:
        hint = "; allow_executions: true would change that" if "volumes[" in found.mount.because else ""
        return f"{path} lies on {found.mount.target}, which is mounted noexec (because {found.mount.because}){hint}"
    if not permits(plan, status, 1):
        owner = f"owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
        return f"{path} is not executable by {plan.identity.uid}:{plan.identity.gid} ({owner})"
    return _examine_contents(plan, path, found.outside, depth)


def find(plan: ProcessPlan, path: str) -> Found:
    """Follows an absolute path through the container, links and all.

    Raises:
        PermissionError: We may not look where it leads, which root may.
    """
    return _follow(plan, _place(plan), path)


def _place(plan: ProcessPlan) -> dict[str, Mount]:
    """The mounts by where they are, each below what those before it show: the last at each place."""
    mounts: dict[str, Mount] = {}
    for mount in sorted(plan.mounts, key=lambda mount: clean_path(mount.target) != "/"):
        at = clean_path(mount.target)
        try:
            found = _follow(plan, mounts, at, as_init=True)
        except PermissionError:
            pass  # The best that one can say who may not look.
        else:
            at = at if found.problem else found.path
        mounts = {path: other for path, other in mounts.items() if not is_below(path, at)}
        mounts[at] = mount
    return mounts


def _follow(plan: ProcessPlan, mounts: dict[str, Mount], path: str, *, as_init: bool = False) -> Found:
    made = {link.path: link.target for link in plan.links}
    targets = (*mounts, *(clean_path(mount.target) for mount in plan.mounts), plan.workdir.path)
    own = {parent for target in targets for parent in _with_parents(target)}
    points = (os.path.realpath(point.path) for point in plan.preparation.mount_points)
    started = {parent for point in points for parent in _with_parents(point)}
    here = _enter("/", None, None, mounts)
    names = _names(path)
    links = 0
    while names:
        name = names.pop(0)
        if not as_init and (problem := _cannot_search(plan, here)):
            return Found(here.path, None, here.mount, problem)
        if name == ".." and here.outside is not None and _is_no_directory(here.outside):
            return Found(here.path, None, here.mount, f"{path} leads through {here.path}, which is no directory")
        if name == "..":
            here = _follow(plan, mounts, posixpath.dirname(here.path), as_init=as_init)
            continue
        at = posixpath.join(here.path, name)
        leads_to = made.get(at)
        below = _enter(at, here.mount, here.outside and posixpath.join(here.outside, name), mounts)
        if leads_to is None and below.outside is not None:
            try:
                if stat.S_ISLNK(os.lstat(below.outside).st_mode) and at not in mounts:
                    leads_to = os.readlink(below.outside)
            except PermissionError:
                raise  # It is the looker who may not, whatever the program may.
            except OSError as error:
                if error.errno == errno.ENOENT and below.outside in started:
                    here = Found(at, None, below.mount)  # a start makes it, for what is mounted below
                    continue
                return Found(at, None, below.mount, _missing(plan, path, at, below.mount, error))
        if leads_to is not None:
            links += 1
            if links > MOST_LINKS:
                return Found(at, None, below.mount, f"{path} leads through too many symbolic links")
            if leads_to.startswith("/"):
                here = _enter("/", None, None, mounts)
            names = _names(leads_to) + names
            continue
        if below.outside is None and at not in own and at not in mounts and _is_root(below.mount):
            return Found(at, None, None, _missing(plan, path, at, None, None))
        here = below
    return here


def _is_root(mount: Mount | None) -> bool:
    """Whether it is the container's own root, in which nothing is but what its plan puts there."""
    return mount is None or (mount.target == "/" and mount.kind == "tmpfs")


def _is_no_directory(path: str) -> bool:
    return os.path.lexists(path) and not os.path.isdir(path)


def _enter(at: str, mount: Mount | None, outside: str | None, mounts: dict[str, Mount]) -> Found:
    """``at``, or what is mounted over it; a bind shows the host's file that its source leads to."""
    over = mounts.get(at)
    if over is None:
        return Found(at, outside, mount)
    return Found(at, os.path.realpath(over.source) if over.kind == "bind" else None, over)


def _missing(plan: ProcessPlan, path: str, at: str, mount: Mount | None, error: OSError | None) -> str:
    if error is not None and error.errno == errno.ENOTDIR:
        return f"{path} leads through {posixpath.dirname(at)}, which is no directory"
    if error is not None and error.errno != errno.ENOENT:
        return f"{path}: {describe_errno(error.errno or 0)}"
    if mount is None and os.path.lexists(path):
        return f"{path} exists on the host, but {NOT_MOUNTED}"
    outside = plan.root + path[len(INSIDE_ROOT) :] if is_below(path, INSIDE_ROOT) else path
    if mount is None and is_below(path + "/", at) and os.path.lexists(outside):
        return f"{outside} exists on the host, but {NOT_MOUNTED}"
    if mount is not None and mount.source != mount.target and os.path.lexists(path):
        other = f"in the container {mount.target} is {mount.source} (because {mount.because})"
        return f"{path} exists on the host, but {other}"
    if at == path:
        return f"{path} does not exist"
    if path.startswith(at + "/"):
        return f"{path} does not exist: there is no {at}"
    return f"{path} does not exist: it leads to {at}, which does not exist"


def _cannot_search(plan: ProcessPlan, directory: Found) -> str:
    if directory.outside is None:
        return ""
    try:
        status = os.stat(directory.outside, follow_symlinks=False)
    except OSError:
        return ""
    if stat.S_ISDIR(status.st_mode) and not permits(plan, status, 1):
        owner = f"owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
        return f"{directory.path} may not be entered by {plan.identity.uid}:{plan.identity.gid} ({owner})"
    return ""


def permits(plan: ProcessPlan, status: os.stat_result, bit: int) -> bool:
    """Whether the program's user has a permission (4 read, 2 write, 1 execute or search) by the file's mode."""
    who = plan.identity
    overrides = {capability.name for capability in plan.capabilities} & {"DAC_OVERRIDE", "DAC_READ_SEARCH"}
    if "DAC_OVERRIDE" in overrides:
        return stat.S_ISDIR(status.st_mode) or bit != 1 or bool(status.st_mode & 0o111)
    if overrides and (bit == 4 or (bit == 1 and stat.S_ISDIR(status.st_mode))):
        return True
    if status.st_uid == who.uid:
        return bool(status.st_mode & bit << 6)
    if status.st_gid == who.gid or status.st_gid in who.groups:
        return bool(status.st_mode & bit << 3)
    return bool(status.st_mode & bit)


def _examine_contents(plan: ProcessPlan, path: str, outside: str, depth: int) -> str:
    """What the file's first bytes ask for: an interpreter, a machine."""
    try:
        # The file may have been swapped for a FIFO since it was looked at.
        fd = os.open(outside, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return f"{path}: {describe_errno(error.errno or 0)}"
    try:
        start = os.pread(fd, FIRST_LINE, 0)
        if start.startswith(b"#!"):
            return _examine_interpreter(plan, path, _script_interpreter(start), "the script", depth)
        if start.startswith(b"\x7fELF"):
            return _examine_elf(plan, path, fd, start, depth)
    finally:
        os.close(fd)
    if not start:
        return f"{path} is empty"
    return f"{path} is neither an ELF program nor a script that begins with #!"


def _script_interpreter(start: bytes) -> str:
    # Spaces and tabs part words; a carriage return is one more letter, which is how scripts from elsewhere fail.
    line = start[2:].split(b"\n", 1)[0].replace(b"\t", b" ").strip(b" ")
    return os.fsdecode(line.split(b" ", 1)[0])


def _examine_interpreter(plan: ProcessPlan, path: str, interpreter: str, what: str, depth: int) -> str:
    if not interpreter:
        return f"{path} begins with #!, but names no interpreter"
    if depth == DEEPEST:
        return f"the interpreter of {path} is a script whose interpreter is a script, and so on"
    problem = examine(plan, posixpath.join(plan.workdir.path, interpreter), depth + 1)
    if interpreter.endswith("\r"):
        problem = "its first line ends in a carriage return"
    return f"{what} {path} cannot find its interpreter: {problem}" if problem else ""


def _examine_elf(plan: ProcessPlan, path: str, fd: int, start: bytes, depth: int) -> str:
    if len(start) < 52:
        return f"{path} is a truncated ELF program"
    wide, order = start[4] == 2, "<" if start[5] == 1 else ">"
    kind, machine = struct.unpack_from(order + "HH", start, 16)
    if os.uname().machine not in MACHINES.get(machine, ()):
        return f"{path} is for another machine: {MACHINE_NAMES.get(machine, f'ELF number {machine}')}"
    if kind not in (2, 3):  # ET_EXEC, ET_DYN
        return f"{path} is an ELF file, but no program"
    offset = struct.unpack_from(order + ("Q" if wide else "I"), start, 32 if wide else 28)[0]
    size, count = struct.unpack_from(order + "HH", start, 54 if wide else 42)
    for index in range(count):
        header = os.pread(fd, size, offset + index * size)
        if len(header) < (56 if wide else 32):
            return f"{path} is a truncated ELF program"
        if struct.unpack_from(order + "I", header)[0] == PT_INTERP:
            at, length = (
                (struct.unpack_from(order + "Q", header, 8)[0], struct.unpack_from(order + "Q", header, 32)[0])
                if wide
                else (struct.unpack_from(order + "I", header, 4)[0], struct.unpack_from(order + "I", header, 16)[0])
            )
            interpreter = os.fsdecode(os.pread(fd, min(length, os.pathconf("/", "PC_PATH_MAX")), at).split(b"\0", 1)[0])
            return _examine_interpreter(plan, path, interpreter, "the program", depth)
    return ""


def _with_parents(path: str) -> list[str]:
    names = _names(path)
    return ["/" + "/".join(names[:i]) for i in range(len(names) + 1)]


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]
