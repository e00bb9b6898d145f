"""Making a container's cgroup: its directories, the controllers they need, and the values of the plan."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack

from bpm.cgroup.devices import attach_program
from bpm.cgroup.directory import (
    check_is_cgroup,
    check_ours,
    list_processes,
    name_processes,
    opened,
    pauses,
    read_text,
    write_text,
)
from bpm.cgroup.ground import evacuate, mount_hierarchies
from bpm.cgroup.group import Group
from bpm.cgroup.systemd import Placeholder, start_scope
from bpm.errors import CgroupError
from bpm.plan import Cgroup, CgroupDirectory, CgroupSetting, Scope

# A file that a new cgroup of this version has from its first moment. No other file system fills a new directory, so
# this is the evidence that it is a cgroup.
_EVIDENCE = {1: "tasks", 2: "cgroup.events"}

# What a user namespace, or a read-only mount around us, makes of a write.
_NOT_OURS = (errno.EPERM, errno.EACCES, errno.EROFS)

_STALE_TIMEOUT = 1.0  # seconds


def create(cgroup: Cgroup) -> Group:
    """Make the directories of a plan's cgroup, empty and fresh, and write its settings.

    What a crash left under the same name is removed first, so that no value of it lives on.
    Nothing is left behind where this fails; what was mounted, moved or enabled on the way stays so.

    Returns:
        The group. In a scope, it is to be joined at once, or let go: see :meth:`Group.open_for_join`.

    Raises:
        CgroupError: A directory cannot be made, processes are left in one of the same name, a controller
            cannot be enabled, or a value is refused; systemd refuses a scope, or does not answer.
        HostError: systemd is pid 1, and the extra to speak with it is not installed.
    """
    mount_hierarchies(cgroup.mounts)
    if cgroup.evacuation:
        evacuate(cgroup.evacuation)
    made: list[str] = []
    placeholder = _start_scope(cgroup)
    with ExitStack() as stack:
        directories: dict[str, int] = {}
        try:
            for wanted in cgroup.directories:
                if wanted.path not in made:
                    _make_or_wait(wanted, cgroup.scope)
                    made.append(wanted.path)
                directories[wanted.path] = stack.enter_context(opened(wanted.path))
                _make_usable(wanted, directories[wanted.path])
            skipped = _write_all(cgroup, directories)
        except BaseException as error:
            try:
                if placeholder:
                    placeholder.blame(error)
                raise
            finally:
                if placeholder:
                    placeholder.end()
                _remove_quietly(made)
    return Group(tuple(made), skipped, placeholder)


def change(cgroup: Cgroup) -> tuple[CgroupSetting, ...]:
    """Write the settings of a cgroup that is in use, in whatever order the kernel takes them.

    Returns:
        The optional settings that this host does not have, or refuses.

    Raises:
        CgroupError: A directory is gone, or a value is refused.
    """
    with ExitStack() as stack:
        directories: dict[str, int] = {}
        for wanted in cgroup.directories:
            check_ours(wanted.path)
            try:
                directories[wanted.path] = stack.enter_context(opened(wanted.path))
            except OSError as error:
                raise _refused(wanted.path, "", wanted.because, error) from error
        return _write_all(cgroup, directories)


def _write_all(cgroup: Cgroup, directories: Mapping[str, int]) -> tuple[CgroupSetting, ...]:
    """The settings and the device program; returns those skipped."""
    by_controller = {
        controller: (wanted.path, directories[wanted.path])
        for wanted in cgroup.directories
        for controller in wanted.controllers
    }
    return (*_write_settings(cgroup.settings, by_controller), *_write_program(cgroup, directories))


def _write_program(cgroup: Cgroup, directories: Mapping[str, int]) -> Iterator[CgroupSetting]:
    program = cgroup.device_program
    if program is None:
        return
    path = next((wanted.path for wanted in cgroup.directories if wanted.version == 2), "")
    try:
        attach_program(directories[path], program.rules)
    except OSError as error:
        if not program.optional:
            hint = "the kernel or a container around us refuses bpf(2), which keeps devices shut on cgroup v2"
            raise CgroupError(path, "", program.because, error.errno or 0, hint) from error
        yield CgroupSetting("devices", "bpf(2)", ", ".join(map(str, program.rules)), program.because, True)


def _start_scope(cgroup: Cgroup) -> Placeholder | None:
    """The scope, where the plan has one, in place of a stale one."""
    if cgroup.scope is None:
        return None
    for wanted in cgroup.directories:
        if wanted.in_scope:
            check_ours(wanted.path)
            try:
                _remove_stale(wanted)
            except FileNotFoundError:
                pass
    return start_scope(cgroup.scope)


def _make_or_wait(wanted: CgroupDirectory, scope: Scope | None) -> None:
    """Make a directory that is ours to make; wait for one that is systemd's, which has one in each v1 hierarchy."""
    above = os.path.dirname(wanted.path)
    if scope is not None and scope.unit in (os.path.basename(wanted.path), os.path.basename(above)):
        systemds = wanted.path if wanted.in_scope else above
        if not any(os.path.isdir(systemds) for _ in pauses(time.monotonic() + _STALE_TIMEOUT)):
            raise CgroupError(systemds, "", wanted.because, errno.ENOENT, "systemd has made a scope, but not there")
    if not wanted.in_scope:
        _make(wanted)


def _make(wanted: CgroupDirectory) -> None:
    """Make one directory, in place of a stale one."""
    check_ours(wanted.path)
    try:
        try:
            os.mkdir(wanted.path, 0o755)
        except FileExistsError:
            _remove_stale(wanted)
            os.mkdir(wanted.path, 0o755)
    except CgroupError:
        raise
    except OSError as error:
        raise _refused(wanted.path, "", wanted.because, error) from error


def _remove_stale(wanted: CgroupDirectory) -> None:
    with opened(wanted.path) as directory:
        check_is_cgroup(directory, wanted.path)
        members = list_processes(directory)
    if members:
        hint = f"there is a cgroup of this name already, and {name_processes(members)}"
        raise CgroupError(wanted.path, "", wanted.because, errno.EBUSY, hint)
    Group((wanted.path,)).remove(_STALE_TIMEOUT)


def _make_usable(wanted: CgroupDirectory, directory: int) -> None:
    """Check that a new directory became a cgroup of its version, with the controllers it is for."""
    try:
        os.stat(_EVIDENCE[wanted.version], dir_fd=directory)
    except FileNotFoundError as error:
        hint = f"not in a cgroup v{wanted.version} hierarchy"
        raise CgroupError(wanted.path, "", wanted.because, errno.EINVAL, hint) from error
    if wanted.version == 2 and wanted.controllers:
        available = (read_text(directory, "cgroup.controllers") or "").split()
        missing = [name for name in wanted.controllers if name not in available]
        if missing:
            enable_controllers(os.path.dirname(wanted.path), missing, wanted.because)
    elif "cpuset" in wanted.controllers:
        _copy_cpuset(wanted, directory)


def enable_controllers(path: str, names: Sequence[str], because: str) -> None:
    """Let the children of a v2 cgroup have these controllers, enabling them from the top down where needed.

    Raises:
        CgroupError: The hierarchy has no such controller, or a cgroup on the way may not pass it on.
    """
    with opened(path) as directory:
        available, enabled = (read_text(directory, "cgroup." + name) for name in ("controllers", "subtree_control"))
        if available is None or enabled is None:
            hint = f"this hierarchy has no controller {' '.join(names)}: it is off, or of cgroup v1 here"
            raise CgroupError(path, "", because, errno.ENOENT, hint)
        absent = [name for name in names if name not in available.split()]
        if absent:
            enable_controllers(os.path.dirname(path), absent, because)
        wanted = " ".join(f"+{name}" for name in names if name not in enabled.split())
        if wanted:
            _write(path, directory, "cgroup.subtree_control", wanted, because)


def _copy_cpuset(wanted: CgroupDirectory, directory: int) -> None:
    """v1 gives a new cpuset no CPU and no memory node, and nobody may join one that is empty (ENOSPC)."""
    parent = os.path.dirname(wanted.path)
    with opened(parent) as above:
        for name in ("cpuset.cpus", "cpuset.mems"):
            value = (read_text(above, name) or "").strip()
            _write(wanted.path, directory, name, value, wanted.because)


def _write_settings(
    settings: tuple[CgroupSetting, ...], by_controller: Mapping[str, tuple[str, int]]
) -> tuple[CgroupSetting, ...]:
    """Write these in order; what is refused as invalid gets a second try after the others. Returns those skipped.

    The second try: v1 wants memory.limit_in_bytes never above memory.memsw.limit_in_bytes, so one
    order is right for lowering both and the other for raising them.
    """
    skipped, again = [], []
    for setting in settings:
        try:
            if not _write_setting(setting, by_controller):
                skipped.append(setting)
        except CgroupError as error:
            if setting.optional and error.errno in _NOT_OURS:
                skipped.append(setting)
            elif error.errno == errno.EINVAL:
                again.append(setting)
            else:
                raise
    for setting in again:
        _write_setting(setting, by_controller)
    return tuple(skipped)


def _write_setting(setting: CgroupSetting, by_controller: Mapping[str, tuple[str, int]]) -> bool:
    """Write one setting; False where it is optional and has no file here."""
    place = by_controller.get(setting.controller)
    if place is None:
        if setting.optional:
            return False
        hint = f"this host has no {setting.controller} controller"
        raise CgroupError(setting.file, setting.value, setting.because, errno.ENOENT, hint)
    try:
        _write(*place, setting.file, setting.value, setting.because)
    except CgroupError as error:
        if setting.optional and error.errno == errno.ENOENT:
            return False
        raise
    return True


def _write(path: str, directory: int, name: str, value: str, because: str) -> None:
    try:
        write_text(directory, name, value)
    except OSError as error:
        raise _refused(f"{path}/{name}", value, because, error) from error


def _refused(file: str, value: str, because: str, error: OSError) -> CgroupError:
    number = error.errno or 0
    return CgroupError(file, value, because, number, _hint(os.path.basename(file) if value else "", number))


def _hint(name: str, number: int) -> str:
    """What the kernel means by this answer, for a file of this name; ``""`` is a directory."""
    if number == errno.EROFS:
        return "the cgroup file system is read-only here"
    if number in (errno.EACCES, errno.EPERM):
        return "only root, or the owner of a delegated cgroup, may do this"
    return _HINTS.get((name, number)) or _HINTS.get((name.partition(".")[0], number)) or ""


# What an answer means depends on the file, or, where that is not listed, on the controller before its first dot.
_HINTS = {
    ("", errno.ENOENT): "the cgroup above it is gone",
    ("", errno.ENOSPC): "the kernel has no more memory cgroups: too many are left over",
    ("", errno.EAGAIN): "the limit on cgroups here is reached: see cgroup.max.depth and cgroup.max.descendants above",
    ("cgroup.subtree_control", errno.EBUSY): (
        "that cgroup holds processes itself, and v2 gives controllers only to children of one that holds none; "
        "start bpm in a cgroup of its own, or move those processes into a child of it"
    ),
    ("cgroup.subtree_control", errno.ENOENT): "a controller is not enabled in the cgroups above",
    ("cgroup.subtree_control", errno.EOPNOTSUPP): "that cgroup is threaded, and such a controller cannot be",
    ("memory.memsw.limit_in_bytes", errno.ENOENT): "swap accounting is off; boot with swapaccount=1",
    ("memory.memsw.limit_in_bytes", errno.EINVAL): "not a number of bytes, or below memory.limit_in_bytes",
    ("memory.limit_in_bytes", errno.EINVAL): "not a number of bytes, or above memory.memsw.limit_in_bytes",
    ("memory.swap.max", errno.ENOENT): "swap accounting is off; boot with swapaccount=1",
    ("memory", errno.EBUSY): "more memory than that is in use already, and cannot be reclaimed",
    ("memory", errno.EINVAL): "not a number of bytes",
    ("memory", errno.ENOENT): "the memory controller of this kernel has no such file",
    ("pids", errno.EINVAL): "not a number of processes that the kernel can have",
    ("pids", errno.ENOENT): "the pids controller is not enabled here",
    ("cpu", errno.EINVAL): "the kernel does not take this value, or the cgroup above has less",
    ("cpu", errno.ERANGE): "outside of the range that the kernel takes",
    ("cpu", errno.ENOENT): "the cpu controller is not enabled here, or the kernel lacks CONFIG_CFS_BANDWIDTH",
    ("cpuset", errno.EACCES): "the cgroup above has not these CPUs or nodes",
}


def _remove_quietly(made: list[str]) -> None:
    """Remove what was made, on the way out with an error that says more than one from here would."""
    try:
        Group(tuple(made)).remove(_STALE_TIMEOUT)
    except CgroupError:
        pass
