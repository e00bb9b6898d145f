"""Making a cgroup: fresh, with what the plan says in it, or not at all."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from bpm.cgroup import Group, change, create
from bpm.cgroup.apply import _write_settings, enable_controllers
from bpm.cgroup.directory import opened, write_text
from bpm.errors import CgroupError
from bpm.plan import Cgroup, CgroupDirectory
from tests.cgroup.hosts import MIB, Host, setting, sleep_forever
from tests.cgroup.test_group import allocate, use


def text(group: Group, name: str) -> str:
    """What a file of that name says in the one directory that has it."""
    (found,) = [Path(path, name) for path in group.directories if Path(path, name).exists()]
    return found.read_text().strip()


def remains(plan: Cgroup) -> list[str]:
    return [directory.path for directory in plan.directories if os.path.lexists(directory.path)]


def test_create(host: Host) -> None:
    """Creating makes one directory in each hierarchy and writes the plan's values."""
    plan = host.plan("memory", "pids", settings=(*host.memory_limit(32 * MIB), setting("pids", "max", 7)))

    group = create(plan)

    files = [(written.file, text(group, written.file)) for written in plan.settings]
    assert [(written.file, written.value) for written in plan.settings] == files
    assert (tuple(directory.path for directory in plan.directories), ()) == (group.directories, group.skipped)


def test_nothing_to_create() -> None:
    """A plan without cgroups makes an empty group, which can be used like any other."""
    group = create(Cgroup("bpm-none"))

    with group.open_for_join() as join:
        assert (join.unified_fd, join.tasks) == (-1, ())
    group.kill(time.monotonic())
    group.remove()
    assert (group.processes(), group.populated) == ((), False)


def test_stale_values_do_not_live_on(host: Host) -> None:
    """What a crash left under the same name, cgroups below it too, is replaced: its limits are gone."""
    plan = host.plan("memory", "pids", settings=(setting("pids", "max", 7),))
    for path in create(plan).directories:
        os.makedirs(f"{path}/left/over")

    group = create(evolve(plan, settings=()))

    assert text(group, "pids.max") == "max"
    assert [path for path in group.directories if os.path.exists(f"{path}/left")] == []


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_stale_with_a_process(host: Host, below: str) -> None:
    """A cgroup of the same name with a process in it, or below, is refused (EBUSY, naming it) and left as it was."""
    plan = host.plan("memory", "pids", settings=(setting("pids", "max", 7),))
    old = create(plan)
    for path in old.directories if below else ():
        os.mkdir(path + below)
    pid = host.start(Group.from_paths([old.directories[-1]]), sleep_forever)
    if below:
        Path(old.directories[-1] + below, "cgroup.procs").write_text(str(pid))

    with pytest.raises(CgroupError, match=rf"a cgroup of this name already, and 1 process is in it: {pid}$") as caught:
        create(evolve(plan, settings=()))

    assert (errno.EBUSY, old.directories[-1]) == (caught.value.errno, caught.value.file)
    assert (pid,) == old.processes()
    assert os.path.isdir(old.directories[-1] + below)


@pytest.mark.parametrize(
    ("controller", "file", "value", "hint"),
    [
        ("pids", "max", "many", "not a number of processes"),
        ("pids", "max", "-1", "not a number of processes"),
        ("pids", "nonsense", "1", "not enabled here"),
        ("memory", "nonsense", "1", "has no such file"),
        ("nonsense", "max", "1", "this host has no nonsense controller"),
    ],
)
def test_refused_value(host: Host, controller: str, file: str, value: str, hint: str) -> None:
    """A refused value leaves nothing behind, and the error has file, value, key and the kernel's answer."""
    refused = setting(controller, file, value)
    plan = host.plan("memory", "pids", settings=(*host.memory_limit(32 * MIB), refused))

    with pytest.raises(CgroupError, match=hint) as caught:
        create(plan)

    assert (refused.file, value, refused.because) == (os.path.basename(caught.value.file), value, caught.value.because)
    assert caught.value.errno in (errno.EINVAL, errno.ENOENT)
    assert remains(plan) == []


def test_refused_memory_limit(host: Host) -> None:
    """A memory limit that is no number is refused with its file, and nothing is left behind."""
    first, *_ = host.memory_limit(0)
    plan = host.plan("memory", "pids", settings=(evolve(first, value="1 Gb"),))

    with pytest.raises(CgroupError, match=rf"cannot write 1 Gb to .*/{first.file} \(because limits.memory\): .*EINVAL"):
        create(plan)

    assert remains(plan) == []


def test_optional_settings(host: Host) -> None:
    """An optional setting without a file here is skipped and told; one that is refused still fails."""
    absent = setting("memory", "nonsense", 1, optional=True), setting("nonsense", "max", 1, optional=True)

    group = host.create("memory", "pids", settings=(*absent, setting("pids", "max", 3, optional=True)))

    assert (absent, "3") == (group.skipped, text(group, "pids.max"))
    with pytest.raises(CgroupError):
        host.create("pids", settings=(setting("pids", "max", "many", optional=True),))


def test_names_are_checked_first(host: Host) -> None:
    """A directory that is not named as ours is neither made nor replaced."""
    plan = host.plan("pids")
    foreign = evolve(plan.directories[0], path=plan.directories[0].path.replace("bpm-", "notours-"))

    with pytest.raises(CgroupError, match="not a cgroup of bpm's"):
        create(evolve(plan, directories=(*plan.directories, foreign)))

    assert remains(plan) == []
    assert not os.path.exists(foreign.path)


def test_missing_parent(host: Host) -> None:
    """Where the cgroup above is gone, creating says so, and what was made elsewhere is removed."""
    plan = host.plan("memory", "pids")
    last = plan.directories[-1]
    lost = evolve(last, path=f"{last.path}-gone/bpm-x")

    with pytest.raises(CgroupError, match=r"ENOENT.*the cgroup above it is gone"):
        create(evolve(plan, directories=(*plan.directories[:-1], lost)))

    assert remains(plan) == []


@pytest.mark.parametrize("version", [1, 2])
def test_not_a_cgroup_file_system(tmp_path: Path, version: int) -> None:
    """A plan for a place that is no cgroup hierarchy fails, and the directory is gone again."""
    path = str(tmp_path / "bpm-x")

    with pytest.raises(CgroupError, match=f"not in a cgroup v{version} hierarchy"):
        create(Cgroup("bpm-x", (CgroupDirectory((), version, path, "test"),)))

    assert os.listdir(tmp_path) == []


def test_an_ordinary_directory_is_not_replaced(tmp_path: Path) -> None:
    """An existing directory outside of a cgroup hierarchy is not taken for a stale cgroup."""
    path = tmp_path / "bpm-x"
    (path / "kept").mkdir(parents=True)

    with pytest.raises(CgroupError, match="not a cgroup below a mounted hierarchy"):
        create(Cgroup("bpm-x", (CgroupDirectory((), 1, str(path), "test"),)))

    assert os.listdir(path) == ["kept"]


@pytest.mark.parametrize("backwards", [False, True])
def test_memory_limits_change_in_any_order(host: Host, backwards: bool) -> None:
    """Lowered, raised and lowered again, both memory limits arrive, whichever the plan names first."""
    plan = host.plan("memory", settings=host.memory_limit(64 * MIB))
    group = create(plan)

    for limit in (32 * MIB, 128 * MIB, 48 * MIB):
        settings = host.memory_limit(limit)
        change(evolve(plan, settings=settings[::-1] if backwards else settings))

        assert [written.value for written in settings] == [text(group, written.file) for written in settings]


def test_memory_limit_below_what_is_used(host: Host) -> None:
    """A limit below what is in use: v1 refuses it (EBUSY), v2 makes room by killing."""
    plan = host.plan("memory", settings=host.memory_limit(64 * MIB)[:1])
    group = create(plan)
    reader, writer = os.pipe()

    def fill() -> None:
        blocks = allocate(24 * MIB)
        os.write(writer, b"x")
        while blocks:
            time.sleep(60)

    pid = host.start(group, fill)
    os.read(reader, 1)
    os.close(reader)
    os.close(writer)
    less = evolve(plan, settings=host.memory_limit(4 * MIB)[:1])
    if host.controllers["memory"].version == 1:
        with pytest.raises(CgroupError, match="more memory than that is in use already") as caught:
            change(less)
        assert (errno.EBUSY, (pid,)) == (caught.value.errno, group.processes())
    else:
        change(less)
        assert host.wait(pid) == -9


def test_change_of_a_group_that_is_gone(host: Host) -> None:
    """Changing a group that is gone says which directory is missing."""
    plan = host.plan("pids", settings=(setting("pids", "max", 1),))

    with pytest.raises(CgroupError, match="ENOENT") as caught:
        change(plan)

    assert plan.directories[0].path == caught.value.file


def test_cpuset_of_v1(host: Host) -> None:
    """A v1 cpuset can be joined at once, since it is given what the cgroup above it has."""
    if "cpuset" not in host.controllers:
        pytest.skip("this kernel has no cpuset controller")
    group = host.create("cpuset")

    pid = host.start(group, lambda: use(MIB))

    assert host.wait(pid) == 0


# A v2 hierarchy of our own making, in files: each name is a cgroup, with what it has and what it passes on.
def lay_out(top: Path, cgroups: dict[str, tuple[str, str]]) -> None:
    for name, (controllers, subtree_control) in cgroups.items():
        (top / name).mkdir(exist_ok=True)
        (top / name / "cgroup.controllers").write_text(controllers + "\n")
        (top / name / "cgroup.subtree_control").write_text(subtree_control)


def test_controllers_are_enabled_from_the_top(tmp_path: Path) -> None:
    """Each cgroup on the way is asked for just what it does not pass on yet, from where it is available down."""
    (tmp_path / "cg").mkdir()
    lay_out(tmp_path / "cg", {"": ("cpu io memory pids", "cpu"), "a": ("cpu", ""), "a/b": ("cpu", "")})

    enable_controllers(str(tmp_path / "cg/a/b"), ["cpu", "memory", "pids"], "limits")

    written = [(tmp_path / "cg" / name / "cgroup.subtree_control").read_text() for name in ("", "a", "a/b")]
    assert written == ["+memory +pids", "+memory +pids", "+cpu +memory +pids"]


def test_what_is_enabled_is_not_enabled_again(tmp_path: Path) -> None:
    """A cgroup that passes on all that is needed is not written to."""
    lay_out(tmp_path, {"": ("memory pids", "pids memory")})

    enable_controllers(str(tmp_path), ["memory"], "limits")

    assert (tmp_path / "cgroup.subtree_control").read_text() == "pids memory"


def test_a_controller_that_v2_does_not_have(tmp_path: Path) -> None:
    """A controller that not even the top of the hierarchy has is named in the error."""
    (tmp_path / "cg").mkdir()
    lay_out(tmp_path / "cg", {"": ("memory", "")})

    with pytest.raises(CgroupError, match=r"limits.*ENOENT.*no controller pids") as caught:
        enable_controllers(str(tmp_path / "cg"), ["memory", "pids"], "limits")

    assert (tmp_path / "cg/cgroup.subtree_control").read_text() == ""
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("version", [1, 2])
def test_settings_are_written_as_they_are(tmp_path: Path, version: int) -> None:
    """Each value is written whole and without a line end, to its controller's directory, in either version's layout."""
    files = {1: ("memory.limit_in_bytes", "pids.max"), 2: ("memory.max", "pids.max")}[version]
    places = [tmp_path / "one", tmp_path / ("two" if version == 1 else "one")]
    for place, file in zip(places, files, strict=True):
        place.mkdir(exist_ok=True)
        (place / file).touch()
    settings = tuple(setting(*file.split(".", 1), value) for file, value in zip(files, ("1048576", "max"), strict=True))

    with opened(str(places[0])) as memory, opened(str(places[1])) as pids:
        skipped = _write_settings(settings, {"memory": (str(places[0]), memory), "pids": (str(places[1]), pids)})

    written = [(place / file).read_text() for place, file in zip(places, files, strict=True)]
    assert (written, skipped) == (["1048576", "max"], ())


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither a directory nor a file of a cgroup is reached through a symbolic link."""
    (tmp_path / "real").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "bpm-link").symlink_to(tmp_path)

    with opened(str(tmp_path)) as directory, pytest.raises(OSError, match="symbolic links"):
        write_text(directory, "link", "x")
    with pytest.raises(OSError), opened(str(tmp_path / "bpm-link")):
        pass
    assert (tmp_path / "real").read_text() == ""


@contextmanager
def domain_controller(host: Host) -> Iterator[str]:
    """A controller of this host's v2 that cannot be threaded, as it is afterwards: enabled at the top or not."""
    names = [
        name for name, home in host.controllers.items() if home.version == 2 and name in ("hugetlb", "memory", "io")
    ]
    if not host.unified or not names:
        pytest.skip("no such controller is in a v2 hierarchy here")
    name, top = names[0], Path(host.unified.mount_point, "cgroup.subtree_control")
    before = top.read_text().split()
    try:
        yield name
    finally:
        if name not in before:
            host.clean()
            top.write_text(f"-{name}")


def test_controllers_are_enabled_on_this_host(host: Host) -> None:
    """On this host's own v2, a controller is enabled in every cgroup above the one that needs it."""
    with domain_controller(host) as name:
        outer = host.create()
        plan = Cgroup("bpm-inner", (CgroupDirectory((name,), 2, f"{outer.directories[0]}/between/bpm-inner", "test"),))
        os.mkdir(f"{outer.directories[0]}/between")

        group = create(plan)

        assert name in text(group, "cgroup.controllers").split()
        assert [name] == Path(f"{outer.directories[0]}/cgroup.subtree_control").read_text().split()


def test_no_internal_processes(host: Host) -> None:
    """Below a v2 cgroup that holds processes, a controller cannot be had: EBUSY, with the reason; nothing is left."""
    with domain_controller(host) as name:
        outer = host.create()
        host.start(outer, sleep_forever)
        path = f"{outer.directories[0]}/bpm-inner"

        with pytest.raises(CgroupError, match=r"EBUSY.*that cgroup holds processes itself") as caught:
            create(Cgroup("bpm-inner", (CgroupDirectory((name,), 2, path, "limits.memory"),)))

        assert f"{outer.directories[0]}/cgroup.subtree_control" == caught.value.file
        assert (caught.value.because, os.path.exists(path)) == ("limits.memory", False)
