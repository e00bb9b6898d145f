"""A group on this host: joining, limits that bite, killing and removing."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm.cgroup import Group, create, read_usage
from bpm.cgroup.directory import opened
from bpm.cgroup.group import _signal_members
from bpm.errors import CgroupError
from tests.cgroup.hosts import MIB, Host, eventually, setting, sleep_forever


def soon(seconds: float = 10) -> float:
    return time.monotonic() + seconds


def exists(group: Group) -> list[str]:
    return [path for path in group.directories if os.path.lexists(path)]


def spawn_tree(size: int) -> None:
    """Become a tree of so many processes that ignore what can be ignored, some of them in sessions of their own."""
    for number in range(size - 1):
        if not os.fork():
            if number % 3 == 0:
                os.setsid()
            sleep_forever()
    sleep_forever()


def fork_forever() -> None:
    """Be many processes, each of which is another one by the time it is looked at: fork, exit, fork, exit."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in range(30):
        if not os.fork():
            break
    else:
        sleep_forever()
    while True:
        try:
            if os.fork():
                os._exit(0)
        except BlockingIOError:
            pass


def allocate(size: int) -> list[bytearray]:
    """Use so much memory for real, for as long as the result is kept."""
    return [bytearray(os.urandom(4096) * (MIB // 4096)) for _ in range(0, size, MIB)]


def use(size: int) -> None:
    """Use so much memory, at least for a moment."""
    allocate(size)


def test_join(host: Host) -> None:
    """A child that joins is in every directory of the group, and alone there."""
    group = host.create("memory", "pids")

    pid = host.start(group, sleep_forever)

    assert [f"{pid}\n"] * len(group.directories) == [
        Path(path, "cgroup.procs").read_text() for path in group.directories
    ]
    assert ((pid,), True) == (group.processes(), group.populated)


def test_join_closes_what_it_opened(host: Host) -> None:
    """The descriptors for joining are close-on-exec, and all closed at the end of the block."""
    group = host.create("memory", "pids")
    before = os.listdir("/proc/self/fd")

    with group.open_for_join() as join:
        inheritable = [os.get_inheritable(fd) for fd in (join.unified_fd, *join.tasks) if fd >= 0]

    assert [False] * len(group.directories) == inheritable
    assert before == os.listdir("/proc/self/fd")


def test_join_of_a_group_that_is_gone(host: Host) -> None:
    """A group that is gone cannot be joined, the error names its directory, and nothing stays open."""
    group = host.create("memory", "pids")
    os.rmdir(group.directories[-1])

    with pytest.raises(CgroupError) as caught:
        group.open_for_join()

    assert (errno.ENOENT, group.directories[-1]) == (caught.value.errno, caught.value.file)


def test_memory_limit_bites(host: Host) -> None:
    """A program that takes more than its memory limit is killed, and the kill is counted."""
    group = host.create("memory", settings=host.memory_limit(32 * MIB))

    status = host.wait(host.start(group, lambda: use(64 * MIB)))

    usage = read_usage(group)
    assert (status, usage.oom_kills, usage.memory_limit) == (-signal.SIGKILL, 1, 32 * MIB)
    assert usage.memory_peak is None or 24 * MIB < usage.memory_peak <= 32 * MIB


def test_memory_failures_are_counted(host: Host) -> None:
    """Each time a program comes up against its memory limit is counted."""
    group = host.create("memory", settings=host.memory_limit(32 * MIB)[:1])

    host.wait(host.start(group, lambda: use(64 * MIB)))

    assert (read_usage(group).memory_failures or 0) > 0


def test_memory_limit_spares_the_modest(host: Host) -> None:
    """A program that stays below its memory limit runs to its end."""
    group = host.create("memory", settings=host.memory_limit(64 * MIB))

    status = host.wait(host.start(group, lambda: use(16 * MIB)))

    assert (status, read_usage(group).oom_kills) == (0, 0)


def test_memory_limit_holds_for_what_it_forks(host: Host) -> None:
    """Children share the limit: two that would fit alone do not fit together."""
    group = host.create("memory", settings=host.memory_limit(32 * MIB))

    def two() -> None:
        for _ in range(2):
            if not os.fork():
                kept = allocate(22 * MIB)
                while kept:
                    time.sleep(60)
        os.wait()  # for the one that the kernel picks

    host.start(group, two)

    assert eventually(lambda: (read_usage(group).oom_kills or 0) >= 1)


def test_process_limit_refuses_a_fork(host: Host) -> None:
    """At its process limit, a program cannot fork (EAGAIN); it lives on, and the refusal is counted."""
    group = host.create("pids", settings=(setting("pids", "max", 5),))

    def fork_too_often() -> int:
        made = 0
        while made < 20:
            try:
                if not os.fork():
                    sleep_forever()
            except BlockingIOError:
                return made
            made += 1
        return 99

    status = host.wait(host.start(group, fork_too_often))

    usage = read_usage(group)
    assert (status, usage.processes_now, usage.processes_limit, usage.processes_failures) == (4, 4, 5, 1)


def kinds(host: Host) -> dict[str, tuple[tuple[str, ...], bool]]:
    """The ways of killing that this host has: which controllers, and whether a v2 directory is beside them."""
    v1 = {name for name, controller in host.controllers.items() if controller.version == 1}
    found = {"cgroup.kill": (("memory", "pids"), True)} if host.unified else {}
    if {"memory", "pids"} <= v1:
        found["signals"] = (("memory", "pids"), False)
    if "freezer" in v1:
        found["freezer"] = (("freezer", "pids"), False)
    return found


@pytest.mark.parametrize(
    ("action", "size"),
    [(lambda: spawn_tree(50), 50), (fork_forever, 10)],
    ids=["fifty that ignore signals", "some that never stay"],
)
def test_kill(host: Host, action: Callable[[], object], size: int) -> None:
    """Kill ends a tree that ignores signals, or that forks and exits on and on, by every way there is on this host."""
    for way, (names, track) in kinds(host).items():
        group = host.create(*names, settings=(setting("pids", "max", 60),), track=track)
        pid = host.start(group, action)
        assert eventually(lambda group=group: len(group.processes()) >= size), way

        group.kill(soon())

        # Linux 7.2 counts a task until it has left its CPU for the last time, a moment after it is dead; 6.1 does not.
        assert eventually(lambda group=group: not group.populated), way
        assert (group.processes(), host.wait(pid)) == ((), -signal.SIGKILL), way
        group.remove()
        assert exists(group) == [], way


def test_kill_reaches_cgroups_below(host: Host) -> None:
    """Processes in cgroups that the container made below its own are killed, and those cgroups removed."""
    for names, track in kinds(host).values():
        group = host.create(*names, track=track)
        below = Group.from_paths(f"{path}/a/bpm-b" for path in group.directories)
        for path in below.directories:
            os.makedirs(path)
        pid = host.start(below, sleep_forever)

        assert ((pid,), True) == (group.processes(), group.populated)
        group.kill(soon())
        group.remove()

        assert (host.wait(pid), exists(group)) == (-signal.SIGKILL, [])


def test_kill_leaves_usage_true(host: Host) -> None:
    """What a group has counted can be read after the kill; its limits are still its own, by every way of killing."""
    for names, track in kinds(host).values():
        group = host.create(*names, settings=(setting("pids", "max", 60),), track=track)
        pid = host.start(group, lambda: spawn_tree(10))
        assert eventually(lambda group=group: len(group.processes()) == 10)

        group.kill(soon())

        host.wait(pid)
        usage = read_usage(group)
        assert (usage.processes_limit, usage.processes_failures) == (60, 0)


def test_kill_signals_members_only(host: Host) -> None:
    """A process that is not in the group is not signalled, even if its number was listed a moment ago."""
    group, other = host.create("pids"), host.create("pids")
    stranger, member = host.start(other, sleep_forever), host.start(group, sleep_forever)

    with opened(group.directories[0]) as directory:
        _signal_members([directory], {stranger, member, 0})

    assert host.wait(member) == -signal.SIGKILL
    time.sleep(0.02)
    assert (stranger,) == other.processes()


def test_kill_of_what_cannot_be_seen(host: Host) -> None:
    """What our pid namespace cannot see is killed by cgroup.kill; elsewhere, removal says that it is there."""
    libc = ctypes.PyDLL(None, use_errno=True)
    new_pid_namespace = 0x20000000

    def end_from_inside(group: Group) -> int:
        if libc.unshare(new_pid_namespace):
            return ctypes.get_errno()
        inside = os.fork()
        if inside:
            return os.waitstatus_to_exitcode(os.waitpid(inside, 0)[1])
        status = 98
        try:
            group.kill(soon())
            group.remove(0.1)
            status = 0
        except CgroupError as error:
            status = 99 if "processes that cannot be seen from here are in it" in str(error) else 97
        finally:
            os._exit(status)

    for way, (names, track) in kinds(host).items():
        group, outside = host.create(*names, track=track), host.create()
        host.start(group, sleep_forever)

        status = host.wait(host.start(outside, lambda group=group: end_from_inside(group)))

        assert status == (0 if way == "cgroup.kill" else 99), way


def test_kill_spares_bpm_itself(host: Host) -> None:
    """A group in which the caller is itself is not killed: EDEADLK."""
    group = host.create("pids")

    def kill_own() -> int | None:
        try:
            group.kill(soon(1))
        except CgroupError as error:
            return error.errno
        return 99

    assert host.wait(host.start(group, kill_own)) == errno.EDEADLK


def test_kill_of_an_empty_group_and_of_none(host: Host) -> None:
    """Killing an empty group, or one that is gone, does nothing."""
    group = host.create("memory", "pids")

    group.kill(soon(0))
    group.remove()
    group.kill(soon(0))

    assert (group.processes(), group.populated) == ((), False)


def test_kill_refuses_what_is_no_cgroup(tmp_path: Path) -> None:
    """A directory that only looks like a cgroup is not killed: the mount it is on tells."""
    fake = tmp_path / "bpm-fake"
    fake.mkdir()
    (fake / "cgroup.procs").write_text(f"{os.getppid()}\n")

    with pytest.raises(CgroupError, match="not a cgroup below a mounted hierarchy"):
        Group.from_paths([str(fake)]).kill(soon(0))


def test_the_top_of_a_hierarchy_is_refused(host: Host, tmp_path: Path) -> None:
    """A hierarchy's mount point is neither killed nor removed, even if it is named as ours are."""
    home = host.controllers["pids"]
    top = tmp_path / "bpm-top"
    top.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    bind = 4096
    assert libc.mount(home.mount_point.encode(), str(top).encode(), None, bind, None) == 0, os.strerror(
        ctypes.get_errno()
    )
    try:
        for act in (lambda group: group.kill(soon(0)), lambda group: group.remove(0)):
            with pytest.raises(CgroupError, match="not a cgroup below a mounted hierarchy"):
                act(Group.from_paths([str(top)]))
    finally:
        libc.umount2(str(top).encode(), 0)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "bpm-x",
        "/sys/fs/cgroup/memory",
        "/sys/fs/cgroup/bpm-x/..",
        "/sys/fs/cgroup/bpm-x/",
        "/a/../bpm-x",
        "/x/ubpm-",
    ],
)
def test_only_our_names(path: str) -> None:
    """A group can only be made of absolute, clean paths whose last name begins with ``bpm-``."""
    with pytest.raises(CgroupError, match="not a cgroup of bpm's"):
        Group.from_paths([path])


def test_remove_waits_for_the_last_to_leave(host: Host) -> None:
    """Removal waits for a process that is about to end."""
    group = host.create("memory", "pids")
    pid = host.start(group, lambda: time.sleep(0.15))
    started = time.monotonic()

    group.remove()

    assert (exists(group), host.wait(pid)) == ([], 0)
    assert time.monotonic() - started < 2


def test_remove_gives_up_in_time(host: Host) -> None:
    """A group with a process that stays is not removed: EBUSY, by the process's number; what can be removed is."""
    group = host.create("memory", "pids", track=False)
    pid = host.start(Group.from_paths(group.directories[:1]), sleep_forever)
    started = time.monotonic()

    with pytest.raises(CgroupError, match=rf"1 process is in it: {pid}$") as caught:
        group.remove(timeout=0.1)

    assert 0.1 <= time.monotonic() - started < 1
    assert caught.value.errno == errno.EBUSY
    assert [group.directories[0]] == exists(group)


def test_remove_twice(host: Host) -> None:
    """Removing what is gone is fine, and so is removing what a record of another time names."""
    group = host.create("memory", "pids")

    group.remove()
    group.remove()
    Group.from_paths([*group.directories, "/sys/fs/cgroup/nowhere/bpm-x"]).remove()

    assert exists(group) == []


def test_five_hundred(host: Host) -> None:
    """Five hundred groups, made and removed, leave no directory and no descriptor."""
    descriptors = os.listdir("/proc/self/fd")
    names = set()

    for _ in range(500):
        plan = host.plan("memory", "pids", settings=host.memory_limit(32 * MIB))
        names.add(plan.name)
        create(plan).remove()

    above = {os.path.dirname(directory.path) for directory in plan.directories}
    assert [name for path in above for name in os.listdir(path) if name in names] == []
    assert (500, descriptors) == (len(names), os.listdir("/proc/self/fd"))
