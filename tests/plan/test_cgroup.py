"""Where the container's cgroup is, and what is made there, on each kind of host."""

from __future__ import annotations

import pytest
from attrs import evolve

from bpm.config import Limits, Unsafe
from bpm.errors import PlanError
from bpm.layout import container_id
from bpm.plan import LEAF, Cgroup, CgroupMount, Controller, Evacuation, HostFacts, from_json, to_json
from bpm.plan.cgroup import LONGEST_UNIT, cgroup_name, slice_path, unit_name
from bpm.plan.devices import DEVICE_RULES
from tests.plan.making import plan_of

SERVICE = "/system.slice/monit.service"
ALL = ("memory", "pids", "cpu", "devices", "freezer")
V1 = HostFacts(controllers=tuple(Controller(name, 1, f"/cg/{name}") for name in ALL))
V2 = HostFacts(
    controllers=tuple(Controller(name, 2, "/cg", "/own") for name in ("cpu", "memory", "pids")),
    unified=Controller("unified", 2, "/cg", "/own"),
)
SYSTEMD_V2 = HostFacts(
    controllers=tuple(Controller(name, 2, "/cg", SERVICE) for name in ("cpu", "memory", "pids")),
    unified=Controller("unified", 2, "/cg", SERVICE),
    systemd=Controller("unified", 2, "/cg", SERVICE),
    crowded=True,
)
SYSTEMD_V1 = evolve(
    V1,
    controllers=tuple(Controller(name, 1, f"/cg/{name}", "/" if name == "freezer" else SERVICE) for name in ALL),
    systemd=Controller("name=systemd", 1, "/cg/systemd", SERVICE),
)
HYBRID = evolve(
    SYSTEMD_V1, unified=Controller("unified", 2, "/cg/u", SERVICE), systemd=Controller("u", 2, "/cg/u", SERVICE)
)


def cgroup_of(facts: HostFacts, privileged: bool = False, **limits: object) -> Cgroup:
    return plan_of(facts, limits=Limits(**limits), unsafe=Unsafe(privileged=privileged)).cgroup  # type: ignore[arg-type]


def written(facts: HostFacts, **limits: object) -> list[tuple[str, str]]:
    """What the limits write, in order, devices left out."""
    settings = cgroup_of(facts, **limits).settings
    return [(setting.file, setting.value) for setting in settings if setting.controller != "devices"]


@pytest.mark.parametrize(
    ("limits", "v1", "v2"),
    [
        ({"cpu": "1.5"}, [("cpu.cfs_quota_us", "150000")], [("cpu.max", "150000 100000")]),
        ({"cpu": "0.01"}, [("cpu.cfs_quota_us", "1000")], [("cpu.max", "1000 100000")]),
        ({"cpu": "100000"}, [("cpu.cfs_quota_us", "819200000")], [("cpu.max", "819200000 100000")]),
        ({"cpu_weight": 1}, [("cpu.shares", "10")], [("cpu.weight", "1")]),
        ({"cpu_weight": 100}, [("cpu.shares", "1024")], [("cpu.weight", "100")]),
        ({"cpu_weight": 10000}, [("cpu.shares", "102400")], [("cpu.weight", "10000")]),
        (
            {"memory": "2M", "swap": "1M"},
            [("memory.limit_in_bytes", "2097152"), ("memory.memsw.limit_in_bytes", "3145728")],
            [("memory.max", "2097152"), ("memory.swap.max", "1048576")],
        ),
    ],
)
def test_limits_in_both_versions(
    limits: dict[str, object], v1: list[tuple[str, str]], v2: list[tuple[str, str]]
) -> None:
    """Each limit is written in both versions, more than the machine has included."""
    assert (v1, v2) == (written(V1, **limits), written(V2, **limits))


def test_memory_high() -> None:
    """memory_high is v2's alone; on v1 it fails the start, with the reason."""
    assert [("memory.high", "1048576")] == written(V2, memory_high="1M")
    with pytest.raises(PlanError) as raised:
        written(V1, memory_high="1M")

    assert "cgroup v1, which has memory here, knows no such limit (processes[0].limits.memory_high)" == str(
        raised.value
    )


def test_swap_alone() -> None:
    """Swap alone can be limited on v2; v1 counts it only together with memory, and says so."""
    assert [("memory.swap.max", "1048576")] == written(V2, swap="1M")
    with pytest.raises(PlanError, match=r"limits\.memory is missing"):
        written(V1, swap="1M")


def test_swap_that_nobody_counts() -> None:
    """A limit on swap fails the start where the kernel does not account for swap: upstream never had it."""
    with pytest.raises(PlanError, match="swapaccount=1"):
        written(evolve(V2, swap_accounting=False), memory="1M", swap="1M")


@pytest.mark.parametrize("cpu", ["0", "0.001", "-1", "", ".", "1e3", "two", "1.5.1", "٣", "9" * 31])
def test_impossible_cpu(cpu: str) -> None:
    """What is no number of processors, or less than the kernel can give, is refused by its key."""
    with pytest.raises(PlanError) as raised:
        cgroup_of(V2, cpu=cpu)

    assert "processes[0].limits.cpu" == raised.value.key


@pytest.mark.parametrize("key", ["cpu", "memory_high", "swap", "cpu_weight"])
def test_controller_off_on_the_kernel_command_line(key: str) -> None:
    """A controller that was disabled at boot is in neither version, and the limit that needs it is refused by name."""
    limits = {"cpu": "1", "memory_high": "1M", "swap": "1M", "cpu_weight": 7}
    with pytest.raises(PlanError, match="this host has no cgroup controller"):
        cgroup_of(evolve(V2, controllers=()), **{key: limits[key]})


def test_devices_v1() -> None:
    """On v1 everything is denied first, and then the standard devices are allowed."""
    settings = cgroup_of(V1).settings

    assert [("devices.deny", "a"), *(("devices.allow", str(rule)) for rule in DEVICE_RULES)] == [
        (setting.file, setting.value) for setting in settings
    ]
    assert "c 1:3 rwm" in {setting.value for setting in settings}


def test_devices_v2() -> None:
    """On v2 the same rules make one program."""
    program = cgroup_of(V2).device_program

    assert program is not None
    assert DEVICE_RULES == program.rules


@pytest.mark.parametrize("facts", [V1, V2])
def test_privileged_devices(facts: HostFacts) -> None:
    """A privileged process has the same devices, and does not start without them being enforced."""
    cgroup = cgroup_of(facts, privileged=True)
    program, settings = cgroup.device_program, cgroup.settings

    assert (settings, program and program.optional) in ((settings, None), ((), False))
    assert not any(setting.optional for setting in settings)


def test_nothing_to_keep_devices_shut_with() -> None:
    """A host that has no cgroup for devices tells the operator of a privileged process."""
    plan = plan_of(HostFacts(), unsafe=Unsafe(privileged=True))

    assert ["processes[0].unsafe.privileged"] == [notice.because for notice in plan.notices]
    assert plan_of(HostFacts()).notices == ()


def test_processor_time_is_counted_without_a_limit() -> None:
    """On v1 there is a cgroup where processor time is counted, in cpu's own hierarchy or apart; v2 needs none."""
    together = Controller("cpuacct", 1, "/cg/cpu")
    apart = Controller("cpuacct", 1, "/cg/cpuacct")

    def places(host: HostFacts, home: Controller) -> dict[str, tuple[str, ...]]:
        directories = cgroup_of(evolve(host, controllers=(*host.controllers, home)), cpu="1").directories
        return {d.path: d.controllers for d in directories if "cpu" in d.path}

    assert {"/cg/cpu/bpm-web": ("cpu", "cpuacct")} == places(V1, together)
    assert {"/cg/cpu/bpm-web": ("cpu",), "/cg/cpuacct/bpm-web": ("cpuacct",)} == places(V1, apart)
    assert "/cg/cpuacct/bpm-web" not in places(HYBRID, apart)


def test_scope_v2() -> None:
    """Under systemd on v2 the container is in a scope beside bpm's own unit, and that has the limits."""
    cgroup = cgroup_of(SYSTEMD_V2, memory="1M", processes=5, cpu="1.5", cpu_weight=3)

    assert cgroup.scope is not None
    assert ("monit-service-bpm-bpm-web.scope", "system.slice") == (cgroup.scope.unit, cgroup.scope.slice)
    assert [
        ("MemoryMax", 1048576),
        ("MemorySwapMax", 0),
        ("TasksMax", 5),
        ("CPUQuotaPerSecUSec", 1500000),
        ("CPUWeight", 3),
    ] == [(limit.name, limit.value) for limit in cgroup.scope.properties]
    assert [("/cg/system.slice/monit-service-bpm-bpm-web.scope", True)] == [
        (directory.path, directory.in_scope) for directory in cgroup.directories
    ]
    assert cgroup.evacuation is None


def test_scope_v1() -> None:
    """On v1 systemd makes it for its own controllers; in the freezer, and below it for devices, it is ours to make.

    It limits the processes of every scope, so we are in that hierarchy too, whatever bpm.yml limits.
    """
    scope = "system.slice/monit-service-bpm-bpm-web.scope"

    assert {
        (f"/cg/memory/{scope}", True),
        (f"/cg/pids/{scope}", True),
        (f"/cg/devices/{scope}/bpm-web", False),
        ("/cg/freezer/bpm-web", False),
        (f"/cg/systemd/{scope}", True),
    } == {(directory.path, directory.in_scope) for directory in cgroup_of(SYSTEMD_V1, memory="1M").directories}


def test_scope_hybrid() -> None:
    """On a hybrid host systemd tracks the scope in v2, and so do we."""
    scope = "system.slice/monit-service-bpm-bpm-web.scope"

    assert [
        (f"/cg/devices/{scope}/bpm-web", False),
        (f"/cg/u/{scope}", True),
        (f"/cg/pids/{scope}", True),
    ] == [(directory.path, directory.in_scope) for directory in cgroup_of(HYBRID).directories]


@pytest.mark.parametrize(
    ("own", "slice_", "unit"),
    [
        ("/system.slice/monit.service", "/system.slice", "monit-service-bpm-bpm-web.scope"),
        ("/user.slice/user-0.slice/session-1.scope", "/user.slice", "user-0-slice-bpm-bpm-web.scope"),
        ("/docker/abc/system.slice/a@b.service", "/docker/abc/system.slice", "a-b-service-bpm-bpm-web.scope"),
        ("/init.scope", "/system.slice", "init-scope-bpm-bpm-web.scope"),
        ("/system.slice", "/system.slice", "root-bpm-bpm-web.scope"),
        ("/", "/system.slice", "root-bpm-bpm-web.scope"),
    ],
)
def test_scope_names(own: str, slice_: str, unit: str) -> None:
    """The scope is in the first slice on the way to bpm, named after what comes next there."""
    systemd = Controller("unified", 2, "/cg", own)

    assert (slice_, unit) == (slice_path(systemd), unit_name(systemd, "bpm-web"))


def test_job_name_of_240_bytes() -> None:
    """A job's name may be 240 bytes, escaped to thrice as many: cgroup and unit stay below 255, and differ."""
    for letter in ("a", "ä"):
        jobs = [letter * (240 // len(letter.encode()) - 1) + last for last in "xy"]
        names = [cgroup_name(container_id(job, job), "/srv/elsewhere") for job in jobs]
        systemd = Controller("unified", 2, "/cg", "/system.slice/" + "m" * 200 + ".service")
        units = {unit_name(systemd, name) for name in names}

        assert len(units) == 2
        assert all(len(unit) <= LONGEST_UNIT and unit.endswith(".scope") for unit in units)


def test_unmounted() -> None:
    """Hierarchies that nobody has mounted are mounted where upstream does, if a setting needs them; and it is shown."""
    places = [("cpu", "cpu,cpuacct"), ("cpuacct", "cpu,cpuacct"), ("memory", "memory"), ("devices", "devices")]
    mountable = tuple(Controller(name, 1, f"/sys/fs/cgroup/{place}") for name, place in places)
    facts = HostFacts(controllers=(), mountable=mountable, bare_mount_point=True)
    because = "processes[0].limits.cpu"

    assert (
        CgroupMount("tmpfs", ("mode=755",), "/sys/fs/cgroup", because),
        CgroupMount("cgroup", ("cpu", "cpuacct"), "/sys/fs/cgroup/cpu,cpuacct", because),
        CgroupMount("cgroup", ("devices",), "/sys/fs/cgroup/devices", "default: devices"),
    ) == cgroup_of(facts, cpu="1").mounts
    assert cgroup_of(V1, memory="1M").mounts == ()


def test_no_internal_processes() -> None:
    """Where bpm's own cgroup v2 holds processes, they go to a leaf first; but only for a limit."""
    crowded = evolve(V2, crowded=True)

    assert (
        Evacuation("/cg/own", f"/cg/own/{LEAF}", "processes[0].limits.memory")
        == cgroup_of(crowded, memory="1M").evacuation
    )
    assert cgroup_of(crowded).evacuation is None
    assert cgroup_of(V2, memory="1M").evacuation is None


@pytest.mark.parametrize("facts", [V1, V2, SYSTEMD_V1, SYSTEMD_V2, HYBRID])
def test_json(facts: HostFacts) -> None:
    """What is planned for a cgroup survives JSON."""
    cgroup = cgroup_of(facts, memory="1M")

    assert from_json(to_json(cgroup), Cgroup) == cgroup
