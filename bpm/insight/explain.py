"""Why a path is as it is inside a container, and which key of bpm.yml would change that.

Which key helps is not looked up but tried: each change that could help is made to a copy of the configuration, that is
planned, and the path is followed once more.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Iterator

from attrs import evolve, frozen

from bpm.config import JobConfig, ProcessConfig, Volume, clean_path, is_below, validate_volume
from bpm.errors import BpmError
from bpm.insight.hostmount import HostMount, find_host_mount
from bpm.layout import INSIDE_ROOT
from bpm.plan import HostFacts, Mount, ProcessPlan, make_plan
from bpm.runtime import NOT_MOUNTED, Environment, Found, find_inside, permits

WRITABLE, READ_ONLY, HIDDEN, ABSENT, UNKNOWN = "writable", "read-only", "hidden", "absent", "unknown"

READ, WRITE, EXECUTE = 4, 2, 1

HOST_ITSELF = "the host itself has"


@frozen
class Access:
    """Whether the program may do something, and why not.

    Args:
        what: ``read``, ``write`` or ``execute``; of a directory, ``list``, ``create in`` and ``enter``.
        allowed: Whether it may.
        why: What keeps it from that, or lets it.
        mounted: Whether it may as far as the mount is concerned, whatever owner and mode say.
    """

    what: str
    allowed: bool
    why: str
    mounted: bool = True


@frozen
class Remedy:
    """What would change it.

    Args:
        wish: ``see it``, ``read it``, ``write to it`` or ``execute it``.
        key: The key of bpm.yml; empty where no key does it.
        text: What to set there, or what to do on the host instead.
    """

    wish: str
    key: str
    text: str


@frozen
class Explanation:
    """One path inside one container.

    Args:
        path: As it was asked for, absolute.
        verdict: ``writable``, ``read-only``, ``hidden``, ``absent``, or ``unknown`` to who may not look.
        reason: Why, in a sentence without its full stop.
        leads_to: Where links lead it, inside; empty where there are none.
        outside: The host's file; None for what is the container's own, or not there.
        mount: What holds it; None for the container's own root, or what is not there.
        covers: What is mounted above it, and would be seen there otherwise.
        dropped: What was asked for there and is not mounted, in sentences.
        kind: What stands there, in words; empty where nothing does.
        program: Whether that is a file which someone may execute, by its mode.
        access: What the program may do with it.
        remedies: What would change it.
    """

    path: str
    verdict: str
    reason: str
    leads_to: str = ""
    outside: str | None = None
    mount: Mount | None = None
    covers: tuple[Mount, ...] = ()
    dropped: tuple[str, ...] = ()
    kind: str = ""
    program: bool = False
    access: tuple[Access, ...] = ()
    remedies: tuple[Remedy, ...] = ()


def explain_path(environment: Environment, job: str, process: str, path: str) -> Explanation:
    """Follows a path as the process would, on this host, and tells what it comes to.

    Args:
        environment: The BOSH root.
        job, process: Their names.
        path: As the process has it: from the container's root, or from its working directory.

    Returns:
        What the path comes to, and why.

    Raises:
        JobNotFound, ConfigError, ProcessNotFound, PlanError, HostError: As of :meth:`JobProcess.plan`.
    """
    config = environment.config(job)
    facts = environment.facts(config)
    plan = make_plan(config, process, facts)
    path = posixpath.join(plan.workdir.path, path)
    told = tell(plan, path)
    return evolve(told, remedies=tuple(find_remedies(config, process, facts, told)))


# What is there


def tell(plan: ProcessPlan, path: str) -> Explanation:
    """What a path comes to inside; without remedies."""
    try:
        found = find_inside(plan, path)
    except PermissionError as error:
        return Explanation(path, UNKNOWN, f"you may not look at {error.filename}, which root may")
    leads_to = found.path if not found.problem and found.path != clean_path(path) else ""
    told = Explanation(
        path,
        ABSENT,
        found.problem,
        leads_to,
        None if found.problem else found.outside,
        found.mount,
        tuple(_covered(plan, found)),
        tuple(_dropped(plan, clean_path(path))),
    )
    cover = next((each for each in plan.masked if _is_at(each.path, leads_to or clean_path(path))), None)
    if cover is not None and not found.problem:
        return evolve(told, verdict=HIDDEN, reason=f"{cover.path} is masked (because {cover.because})", outside=None)
    if found.mount is not None and found.mount.kind != "bind":
        return _tell_of_kernel(plan, told, leads_to or clean_path(path), found.mount)
    if found.problem:
        return _tell_of_nothing(plan, told, found.mount)
    if found.mount is None or found.outside is None:
        text = "it is a directory that bpm makes in the container's own root, for what is mounted below it"
        access = _own_root(plan)
        verdict = WRITABLE if access[1].allowed else READ_ONLY
        return evolve(told, verdict=verdict, reason=text, kind="directory", access=access)
    return _tell_of_file(plan, told, found.outside, found.mount)


def _tell_of_nothing(plan: ProcessPlan, told: Explanation, mount: Mount | None) -> Explanation:
    """What is not there now: it may be by the time of the start, or something else may be in its place."""
    if mount is None:
        return evolve(told, reason=_made_outside(plan, told) or told.reason)
    if not os.path.lexists(mount.source):
        made = next((each for each in plan.preparation.directories if _is_at(mount.source, each.path)), None)
        at = clean_path(told.path) == clean_path(mount.target)
        if made is not None and at:
            verdict = READ_ONLY if "ro" in mount.options else WRITABLE
            return evolve(told, verdict=verdict, reason=f"a start makes it (because {made.because})", kind="directory")
        if made is not None:
            return evolve(told, reason=f"{mount.source} is made by a start, and begins empty (because {made.because})")
    hidden = "in the container" in told.reason
    return evolve(told, verdict=HIDDEN if hidden else ABSENT)


def _made_outside(plan: ProcessPlan, told: Explanation) -> str:
    """Of a place that nothing shows, whether a start makes it on the host all the same."""
    path = clean_path(told.path)
    outside = plan.root + path[len(INSIDE_ROOT) :] if _is_at(INSIDE_ROOT, path) else path
    made = next((each for each in plan.preparation.directories if each.path == outside), None)
    return f"a start makes {outside} on the host (because {made.because}), but {NOT_MOUNTED}" if made else ""


def _own_root(plan: ProcessPlan) -> tuple[Access, ...]:
    is_root = plan.identity.uid == 0
    why = "it is in memory, and goes with the container" if is_root else "it is root's"
    return (
        Access("list", True, "everyone may"),
        Access("create in", is_root, why, mounted=is_root),
        Access("enter", True, "everyone may"),
    )


def _tell_of_kernel(plan: ProcessPlan, told: Explanation, path: str, mount: Mount) -> Explanation:
    """What the kernel shows in its own file systems, which is known only inside, but for what bpm makes in /dev."""
    told = evolve(told, kind=f"{mount.kind} file", outside=None)
    for covered in plan.read_only:
        if _is_at(covered.path, path):
            reason = f"{covered.path} is made read-only (because {covered.because})"
            return evolve(told, verdict=READ_ONLY, reason=reason)
    node = next((node for node in plan.nodes if node.path == path), None)
    if node is not None:
        reason = f"bpm makes this device (because {node.because})"
        return evolve(told, verdict=WRITABLE, reason=reason, kind=f"character device {node.major}:{node.minor}")
    if mount.kind == "tmpfs" and path not in {clean_path(each.target) for each in plan.mounts}:
        reason = f"{mount.target} is the container's own, and begins empty but for what bpm makes there"
        return evolve(told, verdict=ABSENT, reason=reason, kind="")
    # Processes have numbers of their own inside; all else is as here.
    name = path.removeprefix("/proc/").partition("/")[0]
    if mount.target in ("/proc", "/sys") and not name.isdecimal() and not os.path.lexists(path):
        return evolve(told, verdict=ABSENT, reason=f"this kernel's {mount.kind} has no {path}", kind="")
    verdict = READ_ONLY if "ro" in mount.options else WRITABLE
    return evolve(
        told, verdict=verdict, reason=f"it is in the kernel's own {mount.kind}, where each file has its own rules"
    )


def _tell_of_file(plan: ProcessPlan, told: Explanation, outside: str, mount: Mount) -> Explanation:
    """A file of the host."""
    try:
        status = _started(plan, outside, os.stat(outside, follow_symlinks=False))
    except PermissionError:
        return evolve(told, verdict=UNKNOWN, reason=f"you may not look at {outside}, which root may")
    except OSError:
        return _tell_of_nothing(plan, evolve(told, reason=f"{outside} does not exist", outside=None), mount)
    own = find_host_mount(outside, mount)
    if own is not None and "rbind" not in mount.options:
        reason = f"what the host has mounted at {own.path} does not come along with {mount.target}"
        return evolve(told, verdict=HIDDEN, reason=f"{reason} (because {mount.because})", outside=None)
    directory = stat.S_ISDIR(status.st_mode)
    words = ("list", "create in", "enter") if directory else ("read", "write", "execute")
    owner = f"owner {status.st_uid}:{status.st_gid}, mode {stat.S_IMODE(status.st_mode):04o}"
    bits = zip(words, (READ, WRITE, EXECUTE), strict=True)
    access = tuple(_access(plan, status, mount, own, word, bit) for word, bit in bits)
    program = stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o111)
    told = evolve(told, kind=f"{_kind(status)}, {owner}", program=program, access=access)
    if access[1].allowed:
        return evolve(told, verdict=WRITABLE, reason=f"{mount.target} is mounted writable (because {mount.because})")
    return evolve(told, verdict=READ_ONLY, reason=access[1].why)


def _started(plan: ProcessPlan, outside: str, status: os.stat_result) -> os.stat_result:
    """What a file's status is once a start has given it its owner."""
    for directory in plan.preparation.directories:
        if os.path.realpath(directory.path) == outside:
            mode = stat.S_IFMT(status.st_mode) | (directory.mode if directory.chmod else stat.S_IMODE(status.st_mode))
            status = os.stat_result((mode, *status[1:4], directory.uid, directory.gid, *status[6:10]))
    return status


def _access(
    plan: ProcessPlan, status: os.stat_result, mount: Mount, own: HostMount | None, word: str, bit: int
) -> Access:
    if bit == WRITE and "ro" in mount.options:
        return Access(word, False, f"{mount.target} is mounted read-only (because {mount.because})", mounted=False)
    if bit == EXECUTE and "noexec" in mount.options and stat.S_ISREG(status.st_mode):
        return Access(word, False, f"{mount.target} is mounted noexec (because {mount.because})", mounted=False)
    if own is not None and bit == WRITE and own.flags & os.ST_RDONLY:
        return Access(word, False, f"{HOST_ITSELF} {own.path} mounted read-only", mounted=False)
    if own is not None and bit == EXECUTE and own.flags & os.ST_NOEXEC and stat.S_ISREG(status.st_mode):
        return Access(word, False, f"{HOST_ITSELF} {own.path} mounted noexec", mounted=False)
    who = f"{plan.identity.uid}:{plan.identity.gid}"
    if permits(plan, status, bit):
        return Access(word, True, f"owner and mode let {who}")
    return Access(word, False, f"owner and mode do not let {who}")


def _kind(status: os.stat_result) -> str:
    words = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFSOCK: "socket", stat.S_IFIFO: "FIFO"}
    return words.get(stat.S_IFMT(status.st_mode), "device")


def _covered(plan: ProcessPlan, found: Found) -> Iterator[Mount]:
    """Mounts at or above the one that counts, which show something else there, or nothing."""
    if found.mount is None:
        return
    target = clean_path(found.mount.target)
    for mount in plan.mounts:
        if mount is not found.mount and _is_at(clean_path(mount.target), target):
            yield mount


def _dropped(plan: ProcessPlan, path: str) -> Iterator[str]:
    """Mounts that were asked for and would hold it."""
    for dropped in plan.dropped:
        if _is_at(clean_path(dropped.mount.target), path):
            yield f"{dropped.mount.because} asks for {dropped.mount.target}, and is not mounted: {dropped.reason}"


def _is_at(directory: str, path: str) -> bool:
    return path == directory or is_below(path, directory)


# What would change it


def find_remedies(config: JobConfig, process: str, facts: HostFacts, told: Explanation) -> Iterator[Remedy]:
    """For each wish that is not fulfilled, the first change of bpm.yml that fulfils it."""
    if told.verdict == UNKNOWN:
        return
    index = next(i for i, each in enumerate(config.processes) if each.name == process)
    for wish, fulfilled in _wishes(told):
        if not fulfilled(told):
            yield _find_remedy(config, index, facts, told, wish, fulfilled)
    modes = [each.what for each in told.access if each.mounted and not each.allowed and each.what != "execute"]
    if modes and told.outside is not None:
        yield Remedy(
            " or ".join(f"{what} it" for what in modes), "", f"change owner or mode of {told.outside} on the host"
        )


def _find_remedy(
    config: JobConfig, index: int, facts: HostFacts, told: Explanation, wish: str, fulfilled: Wish
) -> Remedy:
    elsewhere = _place_inside(config, index, facts, told, fulfilled)
    if elsewhere:
        return Remedy(wish, "", f"use {elsewhere}: inside, the BOSH root is {INSIDE_ROOT}")
    for key, text, changed in changes(config.processes[index], f"processes[{index}]", config.job, facts, told, wish):
        processes = (*config.processes[:index], changed, *config.processes[index + 1 :])
        try:
            there = tell(make_plan(evolve(config, processes=processes), changed, facts), told.path)
        except BpmError:
            continue
        if fulfilled(there):
            if wish == "write to it" and len(there.access) == 3 and not there.access[1].allowed:
                text += f", and change owner or mode of {there.outside} on the host"
            return Remedy(wish, key, text)
    return Remedy(wish, "", _advise(told, facts))


def _place_inside(config: JobConfig, index: int, facts: HostFacts, told: Explanation, fulfilled: Wish) -> str:
    """Where the container has what the host has at this path, below another root, if that fulfils the wish."""
    path = clean_path(told.path)
    if facts.root == INSIDE_ROOT or not _is_at(facts.root, path):
        return ""
    inside = INSIDE_ROOT + path[len(facts.root) :]
    return inside if fulfilled(tell(make_plan(config, config.processes[index], facts), inside)) else ""


Wish = Callable[[Explanation], bool]
"""Whether it is fulfilled, as far as mounts are concerned."""


def _wishes(told: Explanation) -> Iterator[tuple[str, Wish]]:
    """What one may want of a path."""
    yield "see it", lambda there: there.verdict in (WRITABLE, READ_ONLY)
    if told.verdict == READ_ONLY:
        yield "write to it", _may_write
    if told.program:
        yield "execute it", lambda there: len(there.access) == 3 and there.access[2].mounted


def _may_write(there: Explanation) -> bool:
    return there.access[1].mounted if len(there.access) == 3 else there.verdict == WRITABLE


Change = tuple[str, str, ProcessConfig]
"""A key, what to set there, and the process with that."""


def changes(
    process: ProcessConfig, key: str, job: str, facts: HostFacts, told: Explanation, wish: str
) -> Iterator[Change]:
    """Changes that could help, the mildest first."""
    yield from _loosen_volume(process, key, told, wish)
    if not process.ephemeral_disk:
        yield f"{key}.ephemeral_disk", "true", evolve(process, ephemeral_disk=True)
    if not process.persistent_disk:
        yield f"{key}.persistent_disk", "true", evolve(process, persistent_disk=True)
    yield from _add_volume(process, key, job, facts, told, wish)
    unsafe = evolve(process.unsafe, privileged=True)
    if not process.unsafe.privileged:
        yield f"{key}.unsafe.privileged", "true (it weakens the isolation)", evolve(process, unsafe=unsafe)


def _loosen_volume(process: ProcessConfig, key: str, told: Explanation, wish: str) -> Iterator[Change]:
    """An option of the volume that it lies on."""
    option = {"write to it": "writable", "execute it": "allow_executions"}.get(wish)
    because = told.mount.because if told.mount is not None else ""
    if option is None:
        return
    volumes = process.additional_volumes
    for i, volume in enumerate(volumes):
        if because == f"{key}.additional_volumes[{i}]":
            more = (*volumes[:i], _loosen(volume, wish), *volumes[i + 1 :])
            yield f"{because}.{option}", "true", evolve(process, additional_volumes=more)
    volumes = process.unsafe.unrestricted_volumes
    for i, volume in enumerate(volumes):
        if because == f"{key}.unsafe.unrestricted_volumes[{i}]":
            more = (*volumes[:i], _loosen(volume, wish), *volumes[i + 1 :])
            unsafe = evolve(process.unsafe, unrestricted_volumes=more)
            yield f"{because}.{option}", "true", evolve(process, unsafe=unsafe)


def _loosen(volume: Volume, wish: str) -> Volume:
    return evolve(volume, writable=True) if wish == "write to it" else evolve(volume, allow_executions=True)


def _add_volume(
    process: ProcessConfig, key: str, job: str, facts: HostFacts, told: Explanation, wish: str
) -> Iterator[Change]:
    """A volume of its own, below the BOSH root or elsewhere."""
    path = clean_path(told.path)
    writable, executable = wish == "write to it", wish == "execute it"
    volume = Volume(path, writable=writable, allow_executions=executable, mount_only=True)
    words = ["mount_only: true"] + ["writable: true"] * writable + ["allow_executions: true"] * executable
    if not os.path.exists(path) or any(letter in path for letter in "*?[\\"):
        return
    try:
        validate_volume(volume, job, facts.root)
    except BpmError:
        pass
    else:
        added = (*process.additional_volumes, volume)
        where = f"{key}.additional_volumes[{len(process.additional_volumes)}]"
        yield where, f"{{path: {path}, {', '.join(words)}}}", evolve(process, additional_volumes=added)
    unsafe = evolve(process.unsafe, unrestricted_volumes=(*process.unsafe.unrestricted_volumes, volume))
    where = f"{key}.unsafe.unrestricted_volumes[{len(process.unsafe.unrestricted_volumes)}]"
    yield where, f"{{path: {path}, {', '.join(words)}}}", evolve(process, unsafe=unsafe)


def _advise(told: Explanation, facts: HostFacts) -> str:
    """What helps where no key does."""
    path = clean_path(told.path)
    if any(each.why.startswith(HOST_ITSELF) for each in told.access):
        return "mount it otherwise on the host"
    if told.verdict == ABSENT and told.mount is not None and told.mount.kind == "bind":
        return f"create {clean_path(told.mount.source + '/' + path[len(clean_path(told.mount.target)) :])} on the host"
    outside = facts.root + path[len(INSIDE_ROOT) :] if _is_at(INSIDE_ROOT, path) else path
    if told.verdict == ABSENT and not os.path.lexists(outside):
        return f"there is no {outside} on the host either"
    return "no key of bpm.yml does that"
