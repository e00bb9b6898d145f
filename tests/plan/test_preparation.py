"""What the host must have before a start."""

from __future__ import annotations

from bpm.config import Hooks, Unsafe, Volume
from bpm.plan import Directory, Hook, HostFacts, LogFile, MountPoint, Requirement, SharedVolume, User
from tests.plan.making import plan_of

FACTS = HostFacts(root="/srv/bosh", user=User("vcap", 2000, 3000))


def made(**keys: object) -> list[tuple[str, int, int, bool]]:
    """Each directory's path, mode, owner, and whether it is made so where it exists."""
    directories = plan_of(FACTS, **keys).preparation.directories
    return [(d.path.removeprefix("/srv/bosh/"), d.mode, d.uid, d.chmod) for d in directories]


ALWAYS = [
    ("sys/run/bpm/web", 0o700, 0, True),
    ("sys/log/web", 0o750, 2000, False),
    ("sys/run/web", 0o700, 2000, False),
    ("data/web/tmp", 0o700, 2000, False),
]


def test_directories() -> None:
    """Every process has four directories, on the outside, all but bpm's own vcap's."""
    assert made() == ALWAYS


def test_privileged() -> None:
    """What bpm makes for a privileged process is vcap's too."""
    assert made(unsafe=Unsafe(privileged=True)) == ALWAYS


def test_disks() -> None:
    """The data and store directories are made where asked for, the store's only on a disk that is there."""
    disks = {"ephemeral_disk": True, "persistent_disk": True}

    assert [*ALWAYS, ("data/web", 0o700, 2000, False), ("store/web", 0o700, 2000, False)] == made(**disks)
    assert (
        Requirement("/srv/bosh/store", "requested persistent disk does not exist", "processes[0].persistent_disk"),
    ) == plan_of(FACTS, **disks).preparation.requirements


def test_volumes() -> None:
    """A volume that is not mount_only is made or taken over, whatever it is, also one that is not mounted."""
    volumes = (
        Volume("/srv/bosh/data/a", shared=True),
        Volume("/srv/bosh/data/b", mount_only=True, shared=True),
        Volume("/srv/bosh/data/a"),
    )
    preparation = plan_of(FACTS, additional_volumes=volumes).preparation

    assert [
        Directory("/srv/bosh/data/a", 0o700, 2000, 3000, f"processes[0].additional_volumes[{i}]", any_kind=True)
        for i in (0, 2)
    ] == list(preparation.directories[4:])
    assert (
        SharedVolume("/srv/bosh/data/a", "processes[0].additional_volumes[0]"),
        SharedVolume("/srv/bosh/data/b", "processes[0].additional_volumes[1]"),
    ) == preparation.shared_volumes


def test_unrestricted_volumes() -> None:
    """Unrestricted volumes are left as they are."""
    unsafe = Unsafe(unrestricted_volumes=(Volume("/mnt", shared=True),))

    assert made(unsafe=unsafe) == ALWAYS
    assert plan_of(FACTS, unsafe=unsafe).preparation.shared_volumes == ()


def test_log_files() -> None:
    """The two output streams go to two files of vcap's, named after the process."""
    because = "default: log files"

    assert (
        LogFile("stdout", "/srv/bosh/sys/log/web/web.stdout.log", 0o600, 2000, 3000, because),
        LogFile("stderr", "/srv/bosh/sys/log/web/web.stderr.log", 0o600, 2000, 3000, because),
    ) == plan_of(FACTS).preparation.log_files


def test_hook() -> None:
    """The hook is planned where there is one."""
    assert plan_of().preparation.pre_start is None
    assert Hook("/x", "processes[0].hooks.pre_start") == plan_of(hooks=Hooks("/x")).preparation.pre_start


def test_mount_points() -> None:
    """A volume that lies in the job's own /tmp is given a place to hang there, for its key; elsewhere none is."""
    facts = HostFacts(root="/tmp/bosh", user=User("vcap", 2000, 3000))
    volumes = (Volume("/tmp/bosh/data/a"), Volume("/tmp/bosh/data/a/inner"))

    assert (
        MountPoint(
            "/tmp/bosh/data/web/tmp/bosh/data/a", "/tmp/bosh/data/a", 2000, 3000, "processes[0].additional_volumes[0]"
        ),
    ) == plan_of(facts, additional_volumes=volumes).preparation.mount_points
    for root in ("/var/vcap", "/srv/bosh"):
        facts = HostFacts(root=root)
        volumes = (Volume(f"{root}/data/a"), Volume(f"{root}/data/web/tmp/x"), Volume(f"{root}/sys/log/web/x"))
        made = plan_of(facts, additional_volumes=volumes, ephemeral_disk=True).preparation.mount_points
        assert () == made, root
