"""Finding the hierarchies: from texts as hosts have them, and on this host."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from bpm.cgroup import find_hierarchies, observe_hierarchies, swap_accounting
from bpm.cgroup.hierarchy import find_mountable, find_systemd
from bpm.plan import LEAF, Controller

SYSTEMD_V2 = (
    """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
24 22 0:22 / /proc rw,nosuid,nodev,noexec,relatime shared:12 - proc proc rw
28 23 0:25 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate
""",
    "0::/system.slice/monit.service\n",
)

SYSTEMD_HYBRID = (
    """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /sys rw,nosuid,nodev,noexec,relatime shared:7 - sysfs sysfs rw
28 23 0:25 / /sys/fs/cgroup ro,nosuid,nodev,noexec shared:9 - tmpfs tmpfs ro,mode=755
29 28 0:26 / /sys/fs/cgroup/unified rw,nosuid,nodev,noexec,relatime shared:10 - cgroup2 cgroup2 rw,nsdelegate
30 28 0:27 / /sys/fs/cgroup/systemd rw,nosuid,nodev,noexec,relatime shared:11 - cgroup cgroup rw,xattr,name=systemd
33 28 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid,nodev,noexec,relatime shared:15 - cgroup cgroup rw,cpu,cpuacct
34 28 0:31 / /sys/fs/cgroup/net_cls,net_prio rw,relatime shared:16 - cgroup cgroup rw,net_cls,net_prio
35 28 0:32 / /sys/fs/cgroup/memory rw,nosuid,nodev,noexec,relatime shared:17 - cgroup cgroup rw,memory
36 28 0:33 / /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime shared:18 - cgroup cgroup rw,pids
""",
    """\
6:cpu,cpuacct:/system.slice/monit.service
5:net_cls,net_prio:/
4:memory:/system.slice/monit.service
3:pids:/system.slice/monit.service
1:name=systemd:/system.slice/monit.service
0::/system.slice/monit.service
""",
)

DOCKER_V1 = (
    """\
560 480 0:55 / / rw,relatime master:200 - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/c
563 560 0:60 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
564 563 0:61 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime - tmpfs tmpfs rw,mode=755
565 564 0:27 /docker/c0ffee /sys/fs/cgroup/systemd ro,nosuid master:11 - cgroup cgroup rw,xattr,name=systemd
568 564 0:30 /docker/c0ffee /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:15 - cgroup cgroup rw,cpu,cpuacct
570 564 0:32 /docker/c0ffee /sys/fs/cgroup/memory ro,nosuid,nodev,noexec,relatime master:17 - cgroup cgroup rw,memory
571 564 0:33 /docker/c0ffee /sys/fs/cgroup/pids rw,nosuid,nodev,noexec,relatime master:18 - cgroup cgroup rw,pids
""",
    """\
6:cpu,cpuacct:/docker/c0ffee
4:memory:/docker/c0ffee
3:pids:/docker/c0ffee/inner
1:name=systemd:/docker/c0ffee
""",
)

THIS_MACHINE = (
    """\
23 27 0:22 / /sys rw,relatime - sysfs sysfs rw
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
""",
    "9:name=systemd:/\n8:pids:/\n4:memory:/api/0937d3\n2:cpuacct:/\n1:cpu:/\n0::/\n",
)


def find(host: tuple[str, str], available: str = "") -> tuple[list[Controller], Controller | None]:
    controllers, unified = find_hierarchies(*host, lambda mount_point: available)
    return list(controllers), unified


def mount_line(number: int, parent: int, root: str, path: str, kind: str = "cgroup", options: str = "rw,memory") -> str:
    return f"{number} {parent} 0:{number} {root} {path} rw,relatime - {kind} {kind} {options}\n"


ROOT = mount_line(1, 0, "/", "/", "ext4", "rw")


def test_pure_v2_under_systemd() -> None:
    """Every controller that the mount offers is v2, below the service's own cgroup."""
    place = "/sys/fs/cgroup", "/system.slice/monit.service"
    expected = [Controller(name, 2, *place) for name in ("cpu", "io", "memory", "pids")]

    assert (expected, Controller("unified", 2, *place)) == find(SYSTEMD_V2, "cpu io memory pids\n")


def test_available_is_asked_of_the_mount() -> None:
    """Which controllers v2 has is asked of its mount point, since what our own cgroup lacks can be enabled."""
    asked: list[str] = []

    find_hierarchies(*SYSTEMD_V2, lambda mount_point: asked.append(mount_point) or "")

    assert asked == ["/sys/fs/cgroup"]


def test_hybrid_under_systemd() -> None:
    """v1 controllers live where they are mounted, pairs together, each at our own path; v2 only keeps track."""
    own = "/system.slice/monit.service"
    expected = [
        Controller("cpu", 1, "/sys/fs/cgroup/cpu,cpuacct", own),
        Controller("cpuacct", 1, "/sys/fs/cgroup/cpu,cpuacct", own),
        Controller("memory", 1, "/sys/fs/cgroup/memory", own),
        Controller("net_cls", 1, "/sys/fs/cgroup/net_cls,net_prio", "/"),
        Controller("net_prio", 1, "/sys/fs/cgroup/net_cls,net_prio", "/"),
        Controller("pids", 1, "/sys/fs/cgroup/pids", own),
    ]

    assert (expected, Controller("unified", 2, "/sys/fs/cgroup/unified", own)) == find(SYSTEMD_HYBRID)


def test_docker_on_v1() -> None:
    """In a container on v1 the mounts show only its own cgroup, and our path is what comes below that."""
    expected = [
        Controller("cpu", 1, "/sys/fs/cgroup/cpu,cpuacct", "/"),
        Controller("cpuacct", 1, "/sys/fs/cgroup/cpu,cpuacct", "/"),
        Controller("memory", 1, "/sys/fs/cgroup/memory", "/"),
        Controller("pids", 1, "/sys/fs/cgroup/pids", "/inner"),
    ]

    assert (expected, None) == find(DOCKER_V1)


def test_v1_controllers_beside_an_almost_empty_v2() -> None:
    """Each controller is found where it lives: v1 ones in theirs, what is left over in v2."""
    expected = [
        Controller("cpu", 1, "/sys/fs/cgroup/cpu"),
        Controller("cpuacct", 1, "/sys/fs/cgroup/cpuacct"),
        Controller("hugetlb", 2, "/sys/fs/cgroup/unified"),
        Controller("memory", 1, "/sys/fs/cgroup/memory", "/api/0937d3"),
        Controller("pids", 1, "/sys/fs/cgroup/pids"),
    ]

    assert (expected, Controller("unified", 2, "/sys/fs/cgroup/unified")) == find(THIS_MACHINE, "hugetlb\n")


def test_no_cgroups() -> None:
    """A host without cgroups, or with none mounted, has no controllers and no v2 hierarchy."""
    assert find(("", "")) == ([], None)
    assert find((ROOT, "4:memory:/\n0::/\n")) == ([], None)


@pytest.mark.parametrize(
    ("root", "own", "expected"),
    [
        pytest.param("/", "/", "/", id="the root, whole"),
        pytest.param("/", "/a/b", "/a/b", id="whole"),
        pytest.param("/a", "/a/b", "/b", id="bind mount of a cgroup above ours"),
        pytest.param("/a/b", "/a/b", "/", id="bind mount of our own"),
        pytest.param("/a", "/ab", None, id="a sibling whose name begins the same"),
        pytest.param("/a/b", "/a", None, id="only a child of ours"),
        pytest.param("/other", "/a", None, id="somebody else's"),
        pytest.param("/..", "/", None, id="the parent of our namespace, in which our name is unknown"),
        pytest.param("/../..", "/../x", None, id="above a place outside of our namespace"),
        pytest.param("/..", "/../x", "/x", id="both outside of our namespace"),
        pytest.param("/../x", "/../x/y", "/y", id="both outside, deeper"),
        pytest.param("/..", "/../../y", None, id="our own cgroup further out than the mount"),
        pytest.param("/", "/../x", "/", id="moved out of our namespace, whose root is mounted"),
        pytest.param("/with\\040space", "/with space/x", "/x", id="a name with a space"),
        pytest.param("/back\\134slash", "/back\\slash", "/", id="a name with a backslash"),
        pytest.param("/a:b", "/a:b/c:d", "/c:d", id="names with colons"),
        pytest.param("/gone//deleted", "/a", None, id="a removed cgroup"),
    ],
)
def test_own_path(root: str, own: str, expected: str | None) -> None:
    """Our own path is what comes below the mounted directory; a mount that does not show it is not used."""
    v1 = ROOT + mount_line(2, 1, root, "/cg")
    v2 = ROOT + mount_line(2, 1, root, "/cg", "cgroup2", "rw")

    found = [find((v1, f"4:memory:{own}\n"))[0], find((v2, f"0::{own}\n"), "memory")[0]]

    wanted = [[Controller("memory", version, "/cg", expected)] for version in (1, 2)] if expected else [[], []]
    assert wanted == found


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        pytest.param([(2, 1, "/cg"), (3, 2, "/cg")], "/cg", id="one on top of the other"),
        pytest.param([(2, 1, "/old"), (3, 1, "/new")], "/old", id="two places: the first"),
        pytest.param(
            [(2, 1, "/mnt/cg"), (9, 1, "/mnt"), (3, 1, "/cg")], "/cg", id="the first is below a covered directory"
        ),
        pytest.param(
            [(9, 1, "/mnt"), (2, 9, "/mnt/cg"), (8, 9, "/mnt"), (3, 8, "/mnt/in/cg")], "/mnt/in/cg", id="stacked"
        ),
        pytest.param([(2, 1, "/cg"), (9, 2, "/cg")], None, id="covered by something else"),
        pytest.param([(2, 1, "/mntx/cg"), (9, 1, "/mnt")], "/mntx/cg", id="a neighbour whose name begins the same"),
        pytest.param([(2, 1, "/mnt\\040x/cg")], "/mnt x/cg", id="a space in the path"),
    ],
)
@pytest.mark.parametrize("newest_first", [False, True])
def test_covered_mounts(mounts: list[tuple[int, int, str]], expected: str | None, newest_first: bool) -> None:
    """A mount that a lookup of its path does not reach is not used. (Numbers 8 and 9 are tmpfs.)"""
    lines = [mount_line(*m[:2], "/", m[2], *(("tmpfs", "rw") if m[0] > 7 else ())) for m in mounts]
    if newest_first and expected != "/old":
        lines.reverse()

    controllers, _ = find((ROOT + "".join(lines), "4:memory:/\n"))

    assert ([expected] if expected else []) == [controller.mount_point for controller in controllers]


def test_chroot_without_a_root_mount() -> None:
    """In a chroot whose root is no mount of its own, mounts stand on something out of sight, and are found."""
    controllers, _ = find((mount_line(70, 22, "/", "/sys/fs/cgroup/memory"), "4:memory:/\n"))

    assert [Controller("memory", 1, "/sys/fs/cgroup/memory")] == controllers


def test_writable_before_read_only() -> None:
    """Of two mounts of one hierarchy, the one that can be written is used."""
    locked = mount_line(2, 1, "/", "/locked").replace(" rw,relatime ", " ro,relatime ")

    controllers, _ = find((ROOT + locked + mount_line(3, 1, "/", "/open"), "4:memory:/\n"))

    assert [controller.mount_point for controller in controllers] == ["/open"]


def test_mount_options_are_no_controllers() -> None:
    """Only names of /proc/self/cgroup count as controllers, whatever else a hierarchy was mounted with."""
    mounts = ROOT + mount_line(2, 1, "/", "/cg", options="rw,noprefix,clone_children,cpuset,memory,name=mine")

    controllers, _ = find((mounts, "4:cpuset,memory,name=mine:/\n2:name=mine:/\n"))

    assert [controller.name for controller in controllers] == ["cpuset", "memory"]


def test_v1_before_v2_of_the_same_name() -> None:
    """A controller that v1 has mounted is used there."""
    mounts = ROOT + mount_line(2, 1, "/", "/v1") + mount_line(3, 1, "/", "/v2", "cgroup2", "rw")

    controllers, _ = find((mounts, "4:memory:/\n0::/\n"), "memory pids")

    assert [(controller.name, controller.version) for controller in controllers] == [("memory", 1), ("pids", 2)]


def test_optional_fields() -> None:
    """Any number of optional fields may stand before the separator of a mountinfo line."""
    line = "2 1 0:2 / /cg rw shared:1 master:2 propagate_from:3 unbindable - cgroup cgroup rw,memory\n"

    controllers, _ = find((ROOT + line + "not a line\n", "4:memory:/\n"))

    assert [controller.mount_point for controller in controllers] == ["/cg"]


def test_this_host() -> None:
    """What is found on this host exists, and lists this very process as a member, or its leaf does."""
    controllers, unified = observe_hierarchies()
    places = {*controllers, *filter(None, [unified])}
    owns = [f"{place.mount_point}{place.own_path}" for place in places]

    with ExitStack() as stack:
        found = [f"{own}/{LEAF}" if os.path.exists(f"{own}/{LEAF}") else own for own in owns]
        files = [stack.enter_context(open(f"{own}/cgroup.procs")) for own in found]
        members = [file.read().split() for file in files]

    assert places
    assert [pids for pids in members if str(os.getpid()) not in pids] == []


def test_swap_accounting_of_v1(tmp_path: Path) -> None:
    """v1 counts swap where our own cgroup has a memory.memsw.limit_in_bytes."""
    os.mkdir(f"{tmp_path}/own")
    memory = [Controller("memory", 1, str(tmp_path), "/own")]
    before = swap_accounting(memory)
    open(f"{tmp_path}/own/memory.memsw.limit_in_bytes", "w").close()

    assert (before, swap_accounting(memory)) == (False, True)


@pytest.mark.parametrize("own", ["/own", "/"])
def test_swap_accounting_of_v2(tmp_path: Path, own: str) -> None:
    """v2 counts swap where our own cgroup, or, for its root, any child, has a memory.swap.max beside memory.current."""
    os.mkdir(f"{tmp_path}/own")
    open(f"{tmp_path}/own/memory.current", "w").close()
    memory = [Controller("memory", 2, str(tmp_path), own)]
    before = swap_accounting(memory)
    open(f"{tmp_path}/own/memory.swap.max", "w").close()

    assert (before, swap_accounting(memory)) == (False, True)


def test_swap_accounting_needs_a_memory_controller() -> None:
    """A host without a memory controller counts no swap."""
    assert swap_accounting([Controller("pids", 1, "/sys/fs/cgroup/pids")]) is False


V2_MOUNT = "25 1 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
SYSTEMD_MOUNT = "27 1 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd"
PROC_CGROUPS = (
    "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\ncpuacct\t3\t1\t1\nmemory\t0\t1\t{}\npids\t0\t1\t1\n"
)


def test_unmounted_controllers() -> None:
    """What the kernel has and nobody mounts could be, those of one hierarchy together; what is off could not."""
    found, bare = find_mountable("", "3:cpu,cpuacct:/a\n", PROC_CGROUPS.format(0), [Controller("pids", 1, "/x")])

    assert bare
    assert (
        Controller("cpu", 1, "/sys/fs/cgroup/cpu,cpuacct", "/a"),
        Controller("cpuacct", 1, "/sys/fs/cgroup/cpu,cpuacct", "/a"),
    ) == found


def test_nothing_is_mounted_within_v2() -> None:
    """Where v2 itself is at the usual place, no v1 hierarchy is to be mounted in it."""
    assert ((), False) == find_mountable(V2_MOUNT, "0::/\n", PROC_CGROUPS.format(1), [])


def test_systemd_without_v2() -> None:
    """On pure v1 systemd keeps its units in a named hierarchy; beside a v2, in that."""
    own = "1:name=systemd:/system.slice/monit.service\n0::/system.slice/monit.service\n"
    unified = Controller("unified", 2, "/sys/fs/cgroup", "/system.slice/monit.service")

    assert Controller("name=systemd", 1, "/sys/fs/cgroup/systemd", "/system.slice/monit.service") == find_systemd(
        SYSTEMD_MOUNT, own, None
    )
    assert unified == find_systemd(V2_MOUNT, own, unified)
    assert find_systemd("", own, None) is None


def test_the_leaf_is_not_a_home() -> None:
    """A bpm that an earlier one has moved into the leaf finds the cgroup above it, which is nobody's own now."""
    _, unified = find_hierarchies(V2_MOUNT, "0::/outer/bpm.leaf\n")

    assert Controller("unified", 2, "/sys/fs/cgroup", "/outer") == unified
