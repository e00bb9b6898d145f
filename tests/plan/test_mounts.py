"""Which mounts are asked for, which are made, and in what order."""

from __future__ import annotations

import pytest

from bpm.config import Unsafe, Volume
from bpm.errors import PlanError
from bpm.plan import INSIDE_OWN_MOUNT, MOUNTED_ALREADY, Dropped, HostFacts
from bpm.plan.mounts import bind, clean, depth, is_within
from tests.plan.making import mount_at, plan_of

STRICT = ("rbind", "noexec", "nosuid", "nodev", "ro")


def unrestricted(*paths: str, **options: bool) -> Unsafe:
    return Unsafe(unrestricted_volumes=tuple(Volume(path, **options) for path in paths))


def test_strictest_first() -> None:
    """A bind allows nothing until it is loosened by name."""
    mount = bind("/a", "/b", "a test", recursive=True)

    assert mount.options == STRICT
    assert mount.executable().writable().options == ("rbind", "exec", "nosuid", "nodev", "rw")


@pytest.mark.parametrize("path", ["/lib64", "/run/resolvconf", "/run/systemd/resolve"])
def test_optional_sources(path: str) -> None:
    """What only some hosts have is mounted only there."""
    with_it, without = plan_of(HostFacts(existing=frozenset({path}))), plan_of(HostFacts(existing=frozenset()))

    assert path in [mount.target for mount in with_it.mounts]
    assert path not in [mount.target for mount in without.mounts]


def test_outside_and_inside() -> None:
    """The job's directories come from below the root and appear below /var/vcap, a volume appears where it is."""
    plan = plan_of(
        HostFacts(root="/srv/bosh"), ephemeral_disk=True, additional_volumes=(Volume("/srv/bosh/data/other"),)
    )

    assert mount_at(plan, "/var/vcap/data/web").source == "/srv/bosh/data/web"
    assert mount_at(plan, "/tmp").source == "/srv/bosh/data/web/tmp"
    assert mount_at(plan, "/srv/bosh/data/other").source == "/srv/bosh/data/other"


def test_first_mention_wins() -> None:
    """Of two volumes at one destination the first is mounted, and the second is in the plan as dropped."""
    plan = plan_of(additional_volumes=(Volume("/var/vcap/data/a"), Volume("/var/vcap/data/a", writable=True)))

    later = bind("/var/vcap/data/a", "/var/vcap/data/a", "processes[0].additional_volumes[1]", recursive=True)
    assert mount_at(plan, "/var/vcap/data/a").options == STRICT
    assert (Dropped(later.writable(), MOUNTED_ALREADY),) == plan.dropped


def test_destinations_are_compared_by_meaning() -> None:
    """Another spelling of a destination is the same destination."""
    plan = plan_of(unsafe=unrestricted("/mnt/a", "/mnt//x/../a/"))

    assert [dropped.mount.target for dropped in plan.dropped] == ["/mnt//x/../a/"]


@pytest.mark.parametrize(
    "path", ["/var/vcap/jobs/web", "/var/vcap/jobs/web/config", "/tmp", "/var/tmp/x", "/var/vcap/jobs/../jobs/web/bin"]
)
def test_inside_own_mounts(path: str) -> None:
    """An unrestricted volume at or below one of the job's own mounts is left out."""
    plan = plan_of(unsafe=unrestricted(path, writable=True))

    assert [(path, INSIDE_OWN_MOUNT)] == [(dropped.mount.target, dropped.reason) for dropped in plan.dropped]


def test_disks_are_own_mounts_where_asked_for() -> None:
    """The data directory is the job's own mount with ephemeral_disk only."""
    volumes = unrestricted("/var/vcap/data/web/sub")

    assert plan_of(unsafe=volumes).dropped == ()
    assert len(plan_of(unsafe=volumes, ephemeral_disk=True).dropped) == 1


def test_order() -> None:
    """Mounts are made by depth, those of one depth in the order of precedence."""
    plan = plan_of(additional_volumes=(Volume("/var/vcap/data/a/b"), Volume("/var/vcap/data/a")))
    targets = [mount.target for mount in plan.mounts]

    assert targets[:4] == ["/proc", "/dev", "/sys", "/bin"]
    assert sorted(map(depth, targets)) == list(map(depth, targets))
    assert targets.index("/var/vcap/data/a") < targets.index("/var/vcap/data/a/b")


def test_root() -> None:
    """A volume of ``/`` is the first mount: it becomes the root itself."""
    plan = plan_of(unsafe=unrestricted("/mnt", "//."))

    assert (plan.mounts[0].target, plan.mounts[0].options) == ("//.", STRICT)


def test_over_the_kernels() -> None:
    """A volume at /sys is mounted over the kernel's."""
    plan = plan_of(unsafe=unrestricted("/sys"))

    assert [mount.kind for mount in plan.mounts if mount.target == "/sys"] == ["sysfs", "bind"]


def test_globs() -> None:
    """Each match of a pattern is mounted; a pattern that matches nothing mounts nothing."""
    facts = HostFacts(globs=(("/mnt/*", ("/mnt/a", "/mnt/b")),))
    before = {mount.target for mount in plan_of(facts).mounts}
    after = {mount.target for mount in plan_of(facts, unsafe=unrestricted("/mnt/*", "/srv/?")).mounts}

    assert {"/mnt/a", "/mnt/b"} == after - before


def test_matches_below_proc() -> None:
    """A pattern whose match lies below /proc is refused too."""
    facts = HostFacts(globs=(("/p*", ("/packages", "/proc")),))

    with pytest.raises(PlanError) as raised:
        plan_of(facts, unsafe=unrestricted("/p*"))

    assert raised.value.key == "processes[0].unsafe.unrestricted_volumes[0]"
    assert raised.value.reason == "a volume cannot be mounted at or below /proc: /proc"


def test_beside_proc() -> None:
    """A name that only begins like /proc is not below it."""
    assert mount_at(plan_of(unsafe=unrestricted("/process")), "/process").target == "/process"


def test_privileged() -> None:
    """A privileged process has nosuid nowhere, and all else as before."""
    plain, privileged = plan_of(), plan_of(unsafe=Unsafe(privileged=True))

    assert [mount.without("nosuid") for mount in plain.mounts] == list(privileged.mounts)
    assert any("nosuid" in mount.options for mount in plain.mounts)


@pytest.mark.parametrize(
    ("path", "meaning"), [("/", "/"), ("", "/"), ("//a/./b/", "/a/b"), ("/a/../../b", "/b"), ("rel", "/rel")]
)
def test_clean(path: str, meaning: str) -> None:
    """Inside, every path starts at the root."""
    assert meaning == clean(path)


@pytest.mark.parametrize(
    ("path", "directory", "within"),
    [
        ("/a", "/a", True),
        ("/a/b", "/a", True),
        ("/ab", "/a", False),
        ("/", "/a", False),
        ("/a", "/", True),
        ("/b/../a/c", "/a/", True),
    ],
)
def test_is_within(path: str, directory: str, within: bool) -> None:
    """A path is within a directory that it is, or lies below, by whole names."""
    assert within == is_within(path, directory)
