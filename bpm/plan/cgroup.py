"""The container's cgroup: where its directories are in each kind of host, and what is made there."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from hashlib import sha256

from bpm.layout import DEFAULT_ROOT
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.devices import DEVICE_RULES
from bpm.plan.facts import CGROUP_ROOT, LEAF, Controller, HostFacts
from bpm.plan.limits import PlannedLimit, plan_limits
from bpm.plan.model import (
    Cgroup,
    CgroupDirectory,
    CgroupMount,
    CgroupSetting,
    DeviceProgram,
    Evacuation,
    Notice,
    Scope,
)

LONGEST_NAME = 200

LONGEST_UNIT = 255  # UNIT_NAME_MAX

# Those that systemd manages on v1, so that a scope has a directory in their hierarchies.
SYSTEMD_CONTROLLERS = frozenset({"cpu", "cpuacct", "blkio", "memory", "devices", "pids"})

# A directory that is needed: where its controller lives, the controller or "", and why.
_Need = tuple[Controller, str, str]


def plan_cgroup(asked: Asked, container_id: str) -> tuple[Cgroup, tuple[Notice, ...]]:
    """The cgroup: its name, its directory in each hierarchy that is needed, and what is written there, in order.

    Returns:
        It, and what the operator is told about it.

    Raises:
        PlanError: A limit is no limit, or this host cannot enforce it.
    """
    facts = asked.facts
    name = cgroup_name(container_id, asked.paths.layout.root)
    limits = plan_limits(asked)
    device_settings, program, notices = plan_device_access(asked)
    settings = (*(limit.setting for limit in limits), *device_settings)
    scope = plan_scope(facts.systemd, name, limits) if facts.systemd else None
    needs = list(_needs(facts, settings, program))
    directories = tuple(_directories(facts, needs, name, scope))
    cgroup = Cgroup(
        name,
        directories,
        settings,
        program,
        tuple(_mounts(facts, needs)),
        None if scope else plan_evacuation(facts, directories),
        scope,
    )
    return cgroup, notices


def plan_device_access(asked: Asked) -> tuple[tuple[CgroupSetting, ...], DeviceProgram | None, tuple[Notice, ...]]:
    """What keeps all but the standard devices shut: settings on v1, a program on v2.

    Without privileges it is a second wall, since no mount then has a device but our own /dev; so a host that cannot
    have it is good enough.
    """
    facts, optional = asked.facts, not asked.privileged
    home = facts.controller("devices")
    if home is None and facts.unified is None:
        home = facts.home("devices")
    if home is not None:
        lines = [("devices.deny", "a"), *(("devices.allow", str(rule)) for rule in DEVICE_RULES)]
        return tuple(CgroupSetting("devices", *line, reasons.DEVICES, optional) for line in lines), None, ()
    if facts.unified is not None:
        return (), DeviceProgram(DEVICE_RULES, reasons.DEVICES, optional), ()
    if optional:
        return (), None, ()
    text = "this host has no cgroup to keep devices shut with: what this process makes with mknod, it can open"
    return (), None, (Notice(text, asked.key("unsafe.privileged")),)


def _needs(facts: HostFacts, settings: Iterable[CgroupSetting], program: DeviceProgram | None) -> Iterator[_Need]:
    """Each hierarchy that a setting needs; those to count processor time, to keep track of the processes and to kill
    them; and systemd's."""
    for setting in settings:
        home = facts.home(setting.controller)
        if home is not None:
            yield home, setting.controller, setting.because
    if program is not None and facts.unified is not None:
        yield facts.unified, "", program.because
    # v2 counts processor time in every cgroup, v1 in the hierarchy of a controller that no limit needs.
    accounting = facts.controller("cpuacct") if facts.unified is None else None
    if accounting is not None:
        yield accounting, accounting.name, reasons.CGROUP
    # cgroup.kill is v2's (since 5.14); v1 has the freezer, which holds the processes still while they are signalled.
    tracking = facts.unified or facts.home("freezer") or facts.home("pids")
    if tracking is not None:
        yield tracking, "", reasons.CGROUP
    if facts.systemd is not None:
        yield facts.systemd, "", reasons.CGROUP
        # DefaultTasksMax= is any unit's limit, and holds for who is in the unit: on v1, in this hierarchy too.
        counting = facts.controller("pids")
        if counting is not None and counting.version == 1:
            yield counting, counting.name, reasons.CGROUP


def _directories(facts: HostFacts, needs: Iterable[_Need], name: str, scope: Scope | None) -> Iterator[CgroupDirectory]:
    """One directory in each hierarchy: several controllers can share one v1 mount (cpu,cpuacct), and all of v2's do."""
    hierarchies: dict[tuple[int, str], list[_Need]] = {}
    for need in needs:
        hierarchies.setdefault((need[0].version, need[0].mount_point), []).append(need)
    for (version, mount_point), uses in hierarchies.items():
        controllers = tuple(dict.fromkeys(controller for _, controller, _ in uses if controller))
        home, _, because = uses[0]
        in_scope = False
        path = posixpath.join(mount_point, home.own_path.lstrip("/"), name)
        if scope is not None and facts.systemd is not None and _is_systemds(facts.systemd, home, controllers):
            path = posixpath.join(mount_point, slice_path(facts.systemd).lstrip("/"), scope.unit)
            in_scope = "devices" not in controllers
            if not in_scope:
                # Each daemon-reload opens the scope's own to all devices again; below it, systemd keeps off.
                path = posixpath.join(path, name)
        yield CgroupDirectory(controllers, version, path, because, in_scope)


def _is_systemds(systemd: Controller, home: Controller, controllers: tuple[str, ...]) -> bool:
    """Whether a scope has a directory in this hierarchy. It has none in those of v1 that systemd leaves alone."""
    if home.version == 2 or home.mount_point == systemd.mount_point:
        return True
    return bool(controllers) and SYSTEMD_CONTROLLERS.issuperset(controllers)


def _mounts(facts: HostFacts, needs: Iterable[_Need]) -> Iterator[CgroupMount]:
    """The hierarchies among them that nobody has mounted, each with all the controllers that it has."""
    first = True
    done: set[str] = set()
    for home, controller, because in needs:
        if home not in facts.mountable or home.mount_point in done:
            continue
        if first and facts.bare_mount_point:
            yield CgroupMount("tmpfs", ("mode=755",), CGROUP_ROOT, because)
        first = False
        done.add(home.mount_point)
        together = tuple(c.name for c in facts.mountable if c.mount_point == home.mount_point)
        yield CgroupMount("cgroup", together or (controller,), home.mount_point, because)


def plan_evacuation(facts: HostFacts, directories: Iterable[CgroupDirectory]) -> Evacuation | None:
    """Who has to make room for these directories: our own cgroup's processes, where they stand in the way.

    v2 lets no cgroup but the root hold processes and give controllers to its children: "no internal processes".
    """
    if not facts.crowded:
        return None
    for directory in directories:
        if directory.version == 2 and directory.controllers:
            own = posixpath.dirname(directory.path)
            return Evacuation(own, posixpath.join(own, LEAF), directory.because)
    return None


def plan_scope(systemd: Controller, name: str, limits: Iterable[PlannedLimit]) -> Scope:
    """The scope: in the slice that bpm itself is in, named after what stands below that, as upstream has it."""
    properties = tuple(limit.property for limit in limits)
    slice_name = posixpath.basename(slice_path(systemd))
    return Scope(unit_name(systemd, name), slice_name, properties, reasons.CGROUP)


def slice_path(systemd: Controller) -> str:
    """The cgroup of the first slice on the way to bpm's own, or of ``system.slice`` where there is none."""
    components = systemd.own_path.strip("/").split("/")
    for i, component in enumerate(components):
        if component.endswith(".slice"):
            return "/" + "/".join(components[: i + 1])
    return "/system.slice"


def unit_name(systemd: Controller, name: str) -> str:
    """``monit-service-bpm-bpm-web.scope``, for bpm in ``/system.slice/monit.service``."""
    components = systemd.own_path.strip("/").split("/")
    below = next((i + 1 for i, component in enumerate(components) if component.endswith(".slice")), 0)
    # In a slice itself, or in the root, there is no such component, and upstream has no name for that.
    component = components[below] if below < len(components) else ""
    place = "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "-" for c in component) or "root"
    end = f"-bpm-{name}.scope"
    if len(place) + len(end) > LONGEST_UNIT:
        place = f"{place[: LONGEST_UNIT - len(end) - 9]}-{_digest(place, 8)}"
    return place + end


def cgroup_name(container_id: str, root: str) -> str:
    """The cgroup's name, which no other container of any root of this machine has.

    A container id has ``.`` only before two hexadecimal digits, so what is added here cannot be a part of one.
    """
    name = container_id if root == DEFAULT_ROOT else f"{container_id}.root-{_digest(root, 8)}"
    if len(name) <= LONGEST_NAME:
        return name
    # NAME_MAX is 255, and a systemd unit around the name takes its share.
    return f"{name[: LONGEST_NAME - 21]}.cut-{_digest(name, 16)}"


def _digest(text: str, length: int) -> str:
    return sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:length]
