"""What the job's user plants at a path that bpm makes: refused, with path and owner named, and its target untouched."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm.cli import main
from tests.acceptance.jobs import Jobs

pytestmark = pytest.mark.needs_root

SECRET = "of root's alone\n"


class Victim:
    """A directory of root's that nobody else may enter, and a file in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(mode=0o700)
        self.file = path / "secret"
        self.file.write_text(SECRET)
        self.file.chmod(0o600)
        self.before = self.look()

    def look(self) -> list[object]:
        """Everything that could have been done to it."""
        found: list[object] = [self.file.read_text()]
        for path in (self.path, *sorted(self.path.rglob("*"))):
            status = path.lstat()
            found.append((str(path), status.st_mode, status.st_uid, status.st_gid, status.st_ino, status.st_mtime_ns))
        return found


@pytest.fixture
def victim(jobs: Jobs) -> Victim:
    """On the same file system, so that it can be hard-linked."""
    return Victim(jobs.path / "victim")


def plant_link_to_file(place: Path, victim: Victim, uid: int) -> None:
    place.symlink_to(victim.file)
    os.lchown(place, uid, uid)


def plant_link_to_directory(place: Path, victim: Victim, uid: int) -> None:
    place.symlink_to(victim.path)
    os.lchown(place, uid, uid)


def plant_dangling_link(place: Path, victim: Victim, uid: int) -> None:
    place.symlink_to(victim.path / "new")
    os.lchown(place, uid, uid)


def plant_hard_link(place: Path, victim: Victim, uid: int) -> None:
    # As anyone can where fs.protected_hardlinks is 0.
    os.link(victim.file, place)
    victim.before = victim.look()


def plant_fifo(place: Path, victim: Victim, uid: int) -> None:
    os.mkfifo(place)
    os.chown(place, uid, uid)


def plant_socket(place: Path, victim: Victim, uid: int) -> None:
    descriptor = os.open(place.parent, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{descriptor}/{place.name}")
    finally:
        os.close(descriptor)
    os.chown(place, uid, uid)


def plant_device(place: Path, victim: Victim, uid: int) -> None:
    # Not that the user could make one; a disk's number, with which nothing good could happen.
    os.mknod(place, stat.S_IFBLK | 0o600, os.makedev(7, 255))
    os.chown(place, uid, uid)


Plant = Callable[[Path, Victim, int], None]

LINKS: dict[str, Plant] = {
    "link to a directory": plant_link_to_directory,
    "link to a file": plant_link_to_file,
    "dangling link": plant_dangling_link,
}
OTHERS: dict[str, Plant] = {
    "hard link": plant_hard_link,
    "FIFO": plant_fifo,
    "socket": plant_socket,
    "device": plant_device,
}
PLANTS = LINKS | OTHERS

# What bpm makes, and below which directory of the user's: (directory, name, keys of bpm.yml).
FILES = {
    "stdout's log": ("data/sys/log/web", "web.stdout.log"),
    "stderr's log": ("data/sys/log/web", "web.stderr.log"),
    "bpm.log": ("data/sys/log/web", "bpm.log"),
}
DIRECTORIES = {
    "tmp": ("data/web", "tmp"),
    "logs": ("data/sys/log", "web"),
    "sockets": ("data/sys/run", "web"),
    "data": ("data", "web"),
    "store": ("store", "web"),
    "a volume": ("data/own", "volume"),
    "a volume's parent": ("data/own", "parent"),
}
PLACES = FILES | DIRECTORIES


class Scene:
    """Jobs, root's victim among them, and the whole command line in this process."""

    def __init__(self, jobs: Jobs, victim: Victim, capfd: pytest.CaptureFixture[str]) -> None:
        self.jobs = jobs
        self.victim = victim
        self._capfd = capfd

    def plant(self, plant: Plant, place: Path) -> None:
        plant(place, self.victim, self.jobs.uid)

    def run(self, *words: str) -> int:
        return main([*words])

    def output(self) -> tuple[str, str]:
        """What was written to stdout and stderr since the last time."""
        return self._capfd.readouterr()

    def nothing_was_touched(self) -> bool:
        return self.victim.before == self.victim.look()


@pytest.fixture
def scene(jobs: Jobs, victim: Victim, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Scene:
    for name, value in jobs.bpm.environment.items():
        if name.startswith("BPM_"):
            monkeypatch.setenv(name, value)
    return Scene(jobs, victim, capfd)


def define(jobs: Jobs) -> None:
    """A job that has everything made for it that bpm makes."""
    jobs.define(
        "/bin/sleep",
        "1000",
        ephemeral_disk=True,
        persistent_disk=True,
        additional_volumes=[
            {"path": f"{jobs.path}/data/own/volume"},
            {"path": f"{jobs.path}/data/own/parent/x/volume"},
        ],
    )


def give_away(jobs: Jobs, directory: str) -> Path:
    """A directory that the job's user may write: theirs, or, where jobs share it, as BOSH has it, their group's."""
    path = jobs.path / directory
    path.mkdir(parents=True, exist_ok=True)
    shared = directory in ("data", "store", "data/sys/log", "data/sys/run")
    os.chown(path, 0 if shared else jobs.uid, os.stat(path).st_gid if not shared else _gid(jobs))
    path.chmod(0o770 if shared else 0o700)
    return path


def _gid(jobs: Jobs) -> int:
    import pwd

    return pwd.getpwuid(jobs.uid).pw_gid


whatever = pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS)


@whatever
@pytest.mark.parametrize(("directory", "name"), PLACES.values(), ids=PLACES)
def test_what_is_planted_is_refused(scene: Scene, directory: str, name: str, plant: Plant) -> None:
    """Whatever is planted, wherever: start says what stands where and whose it is, and nothing of root's is changed."""
    jobs = scene.jobs
    define(jobs)
    (jobs.path / "store").mkdir()
    place = give_away(jobs, directory) / name
    scene.plant(plant, place)

    status = scene.run("start", "web")
    out, err = scene.output()

    if plant in (plant_fifo, plant_socket, plant_device) and name == "volume":
        # It is the user's own: a volume may be anything, and is given to whom it belongs to already.
        assert (0, "") == (status, err)
    else:
        assert (1, "", 1) == (status, out, err.count("\n"))
        # Our own locks and records are below data: that is refused before anything in it is looked at.
        parent = os.path.realpath(place.parent)
        named = f"others can write {parent}\n" if directory == "data" else f"{parent}/{name}"
        assert named in err or str(place) in err
        assert f"uid {jobs.uid}" in err or "owned by root" in err
    assert scene.nothing_was_touched()
    assert "running" not in err
    scene.run("stop", "web")
    assert scene.nothing_was_touched()


@whatever
@pytest.mark.parametrize(("directory", "name"), FILES.values(), ids=FILES)
def test_what_is_planted_while_it_runs_is_refused(scene: Scene, directory: str, name: str, plant: Plant) -> None:
    """In a log's place while the process runs, it keeps nothing from being stopped, and no command touches it."""
    scene.jobs.define("/bin/sleep", "1000")
    assert 0 == scene.run("start", "web")
    place = scene.jobs.path / directory / name
    place.unlink()
    scene.plant(plant, place)

    for words in (["start", "web"], ["run", "web"], ["logs", "web", "-a"], ["stop", "web"], ["list"]):
        scene.run(*words)

    out, _ = scene.output()
    assert SECRET not in out or plant is plant_hard_link
    assert ["web", "-", "stopped"] == out.splitlines()[-1].split()
    assert scene.nothing_was_touched()
