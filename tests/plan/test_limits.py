"""Resource limits and the cgroup."""

from __future__ import annotations

import pytest
from attrs import evolve

from bpm.config import Limits
from bpm.errors import PlanError
from bpm.plan import CgroupDirectory, CgroupSetting, Controller, HostFacts, Rlimit
from bpm.plan.cgroup import LONGEST_NAME, cgroup_name
from tests.plan.making import plan_of

UNIFIED = Controller("", 2, "/sys/fs/cgroup/unified")
V1 = HostFacts(controllers=tuple(Controller(name, 1, f"/cg/{name}") for name in ("memory", "pids", "freezer")))
V2 = HostFacts(
    controllers=tuple(Controller(name, 2, "/cg", "/own") for name in ("memory", "pids")),
    unified=Controller("", 2, "/cg", "/own"),
)


def written(facts: HostFacts, **limits: object) -> list[tuple[str, str]]:
    """What the limits write, in order."""
    plan = plan_of(facts, limits=Limits(**limits))  # type: ignore[arg-type]
    return [(setting.file, setting.value) for setting in plan.cgroup.settings]


def test_memory() -> None:
    """Memory and swap share one figure: on v1 by a limit on their sum, set last, on v2 by allowing no swap."""
    assert written(V1, memory="1M") == [
        ("memory.limit_in_bytes", "1048576"),
        ("memory.memsw.limit_in_bytes", "1048576"),
    ]
    assert written(V2, memory="1M") == [("memory.max", "1048576"), ("memory.swap.max", "0")]


def test_without_swap_accounting() -> None:
    """Where the kernel does not account for swap, that limit may be missing, and only that one."""
    plan = plan_of(HostFacts(swap_accounting=False), limits=Limits(memory="1M", processes=1))

    assert [setting.optional for setting in plan.cgroup.settings] == [False, True, False]


@pytest.mark.parametrize(
    ("processes", "value"),
    [(503, "503"), (0, "max"), (-1, "max"), (-7, "max"), (4194304, "4194304"), (4194305, "max"), (2**63 - 1, "max")],
)
def test_processes(processes: int, value: str) -> None:
    """A number of processes is written as it is; none, less, and more than any kernel has, is no limit."""
    assert [("pids.max", value)] == written(V1, processes=processes) == written(V2, processes=processes)


@pytest.mark.parametrize(("memory", "value"), [("4K", "4096"), ("8E", str(2**63 - 1)), ("1P", str(2**50))])
def test_extreme_memory(memory: str, value: str) -> None:
    """More memory than the kernel counts is the most that it counts."""
    assert ("memory.max", value) == written(V2, memory=memory)[0]


@pytest.mark.parametrize("facts", [V1, V2])
def test_less_memory_than_a_page(facts: HostFacts) -> None:
    """A memory limit that the kernel would round down to nothing is refused by its key."""
    with pytest.raises(PlanError, match=r"4095 are less than one \(processes\[0\]\.limits\.memory\)"):
        written(facts, memory="4095B")


def test_no_memory() -> None:
    """A memory limit of nothing is no limit."""
    assert written(V1, memory="0M") == []


def test_no_size() -> None:
    """A memory limit that is no size is refused by its key, with the contract's sentence."""
    with pytest.raises(PlanError) as raised:
        plan_of(limits=Limits(memory="1 Gb"))

    assert raised.value.key == "processes[0].limits.memory"
    assert raised.value.reason.startswith("byte quantity must be a positive integer with a unit")


@pytest.mark.parametrize(("limits", "controller"), [(Limits(memory="1M"), "memory"), (Limits(processes=5), "pids")])
def test_missing_controller(limits: Limits, controller: str) -> None:
    """A limit that this host has no controller for is refused, naming key and controller."""
    with pytest.raises(PlanError) as raised:
        plan_of(HostFacts(controllers=()), limits=limits)

    assert f"processes[0].limits.{'memory' if limits.memory else 'processes'}" == raised.value.key
    assert f"this host has no cgroup controller {controller} to enforce it with" == raised.value.reason


def test_no_limit_needs_no_controller() -> None:
    """No limit on processes can be had without a controller."""
    assert written(HostFacts(controllers=()), processes=-1) == []


@pytest.mark.parametrize(("limit", "planned"), [(2444, 2444), (0, 0), (2**64 - 1, -1), (-1, -1), (2**63, 2**63)])
def test_rlimits(limit: int, planned: int) -> None:
    """A resource limit is soft and hard alike; all 64 bits set is no limit."""
    plan = plan_of(limits=Limits(open_files=limit))

    assert (Rlimit("RLIMIT_NOFILE", planned, planned, "processes[0].limits.open_files"),) == plan.rlimits


@pytest.mark.parametrize("limit", [-2, 2**64])
def test_impossible_rlimits(limit: int) -> None:
    """A resource limit that is no number of 64 bits is refused by its key."""
    with pytest.raises(PlanError) as raised:
        plan_of(limits=Limits(core_file_size=limit))

    assert raised.value.key == "processes[0].limits.core_file_size"


def test_directories_v1() -> None:
    """On v1 there is a directory for each limit's hierarchy, and one of the freezer's to keep track."""
    plan = plan_of(V1, limits=Limits(memory="1M", processes=5))

    assert (
        CgroupDirectory(("memory",), 1, "/cg/memory/bpm-web", "processes[0].limits.memory"),
        CgroupDirectory(("pids",), 1, "/cg/pids/bpm-web", "processes[0].limits.processes"),
        CgroupDirectory((), 1, "/cg/freezer/bpm-web", "default: cgroup"),
    ) == plan.cgroup.directories


def test_directories_v2() -> None:
    """On v2 one directory below bpm's own cgroup serves all limits and keeps track."""
    plan = plan_of(V2, limits=Limits(memory="1M", processes=5))

    assert (
        CgroupDirectory(("memory", "pids"), 2, "/cg/own/bpm-web", "processes[0].limits.memory"),
    ) == plan.cgroup.directories


def test_directories_shared() -> None:
    """Controllers that share a v1 mount share a directory."""
    facts = HostFacts(controllers=tuple(Controller(name, 1, "/cg/both", "/x") for name in ("memory", "pids")))
    plan = plan_of(facts, limits=Limits(memory="1M", processes=5))

    assert (
        CgroupDirectory(("memory", "pids"), 1, "/cg/both/x/bpm-web", "processes[0].limits.memory"),
    ) == plan.cgroup.directories


@pytest.mark.parametrize(
    ("facts", "path"),
    [
        (HostFacts(unified=UNIFIED), "/sys/fs/cgroup/unified/bpm-web"),
        (evolve(V1, unified=UNIFIED), "/sys/fs/cgroup/unified/bpm-web"),
        (V1, "/cg/freezer/bpm-web"),
        (HostFacts(), "/sys/fs/cgroup/pids/bpm-web"),
    ],
)
def test_tracking(facts: HostFacts, path: str) -> None:
    """A container without limits is kept track of in v2, else by the freezer, else by pids."""
    (directory,) = plan_of(facts).cgroup.directories

    assert ((), path.count("unified") + 1, path) == (directory.controllers, directory.version, directory.path)


def test_no_cgroups() -> None:
    """A host without cgroups can still run what has no limits."""
    assert plan_of(HostFacts(controllers=())).cgroup.directories == ()


def test_settings_say_why() -> None:
    """A setting names its controller and its key."""
    plan = plan_of(limits=Limits(processes=5))

    assert (CgroupSetting("pids", "pids.max", "5", "processes[0].limits.processes"),) == plan.cgroup.settings


def test_names_differ_by_root() -> None:
    """The same container has another cgroup in each root, and its plain name in the usual one."""
    names = {cgroup_name("bpm-web", root) for root in ("/var/vcap", "/srv/a", "/srv/b")}

    assert len(names) == 3
    assert "bpm-web" in names


def test_names_are_no_container_ids() -> None:
    """What is added to a name cannot come from the name of a job: there a dot precedes two hexadecimal digits."""
    added = cgroup_name("bpm-web", "/srv/a").removeprefix("bpm-web")

    assert added.startswith(".root-")
    assert not set("ro") <= set("0123456789abcdef")


def test_long_names() -> None:
    """A name of 200 bytes is kept, a longer one is cut, and two that differ only at the end stay different."""
    kept, cut = "bpm-" + "a" * 196, ["bpm-" + "a" * 196 + last for last in "bc"]

    assert kept == cgroup_name(kept, "/var/vcap")
    assert [len(cgroup_name(name, "/var/vcap")) for name in cut] == [LONGEST_NAME] * 2
    assert len({cgroup_name(name, "/var/vcap") for name in (kept, *cut)}) == 3
