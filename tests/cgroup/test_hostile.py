"""What must not go wrong with cgroups, on this host's own."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import signal
import time
from pathlib import Path

import pytest
from attrs import evolve

from bpm.cgroup import Group, change, create, read_usage
from bpm.cgroup.ground import evacuate, mount_hierarchies
from bpm.errors import CgroupError
from bpm.plan import CgroupMount, Evacuation
from tests.cgroup.hosts import MIB, Host, eventually, setting, sleep_forever

CLONE_NEWNS = 0x0002_0000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
DETACH = 2


def hold(size: int) -> None:
    memory = mmap.mmap(-1, size)
    for place in range(0, size, mmap.PAGESIZE):
        memory[place] = 1
    sleep_forever()


def apart(action: object, *arguments: object) -> int:
    """The exit status of an action in a mount namespace of its own: 0, or the errno it raised."""
    libc = ctypes.CDLL(None, use_errno=True)
    pid = os.fork()
    if not pid:
        status = 97
        try:
            assert not libc.unshare(CLONE_NEWNS)
            assert not libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
            status = int(action(libc, *arguments) or 0)  # type: ignore[operator]
        except CgroupError as error:
            status = error.errno or 98
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_cgroup_removed_under_a_running_process(host: Host) -> None:
    """Directories that someone removes with their processes moved away: all is still read, killed and removed."""
    group = host.create("pids")
    pid = host.start(group, sleep_forever)
    for path, elsewhere in zip(group.directories, host.create("pids").directories, strict=True):
        Path(elsewhere, "cgroup.procs").write_text(str(pid))
        assert eventually(lambda path=path: not Path(path, "cgroup.procs").read_text())  # type: ignore[misc]
        os.rmdir(path)

    assert (False, ()) == (group.populated, group.processes())
    assert read_usage(group).processes_now is None
    group.kill(time.monotonic() + 1)
    group.remove()
    os.kill(pid, signal.SIGKILL)
    assert -signal.SIGKILL == host.wait(pid)


def test_a_stale_cgroup_with_processes_in_it(host: Host) -> None:
    """A cgroup of the same name that is in use is not taken over: the error names who is in it, and they live on."""
    plan = host.plan("memory", "pids")
    pid = host.start(create(plan), sleep_forever)
    with pytest.raises(CgroupError) as raised:
        create(plan)

    assert errno.EBUSY == raised.value.errno
    assert f"1 process is in it: {pid}" in str(raised.value)
    assert os.path.exists(f"/proc/{pid}")


def test_two_thousand_leftover_empty_ones(host: Host) -> None:
    """Among 2,000 that crashes have left, another is made, and what is left of its own name is replaced."""
    plan = host.plan("pids", track=False)
    (top,) = (directory.path for directory in plan.directories)
    left = [f"{top}-left-{number}" for number in range(2000)]
    try:
        for path in left:
            os.mkdir(path)
        begun = time.monotonic()
        for _ in range(3):
            group = create(plan)
        group.remove()
        taken = time.monotonic() - begun
    finally:
        for path in left:
            if os.path.isdir(path):
                os.rmdir(path)

    assert not os.path.exists(top)
    assert taken < 5


def test_a_read_only_cgroupfs(host: Host) -> None:
    """A hierarchy that is mounted read-only around us, as Docker does, is an error that names the directory."""
    plan = host.plan("pids", track=False)
    mount_point = host.controllers["pids"].mount_point.encode()

    def attempt(libc: ctypes.CDLL) -> None:
        assert not libc.mount(mount_point, mount_point, None, MS_BIND, None)
        assert not libc.mount(None, mount_point, None, MS_REMOUNT | MS_BIND | MS_RDONLY, None)
        create(plan)

    assert errno.EROFS == apart(attempt)


def test_a_memory_limit_below_what_is_used(host: Host) -> None:
    """A limit below what is in use is refused by v1, by name; v2 takes it, and makes it so by killing."""
    plan = host.plan("memory", settings=host.memory_limit(64 * MIB))
    group = create(plan)
    pid = host.start(group, lambda: hold(32 * MIB))
    assert eventually(lambda: (read_usage(group).memory_now or 0) > 32 * MIB)
    lower = evolve(plan, settings=host.memory_limit(8 * MIB))
    if host.controllers["memory"].version == 2:
        change(lower)
        assert -signal.SIGKILL == host.wait(pid)
        return
    try:
        change(lower)  # what could be swapped out fits
    except CgroupError as error:
        assert errno.EBUSY == error.errno
        assert "more memory than that is in use already" in str(error)
    assert os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("limit", [0, 1, 1 << 60])
def test_odd_memory_limits(host: Host, limit: int) -> None:
    """Limits of nothing, of one byte and of more than the machine has are taken; below a page nothing can run."""
    group = host.create("memory", settings=host.memory_limit(limit))
    kept = read_usage(group).memory_limit

    assert (limit // mmap.PAGESIZE * mmap.PAGESIZE) == kept
    assert (limit > 1 and 0) == (limit > 1 and host.wait(host.start(group, lambda: 0)))


def test_more_processors_than_there_are(host: Host) -> None:
    """A limit of more processors than the machine has is taken as it is."""
    file = "cfs_quota_us" if host.controllers["cpu"].version == 1 else "max"
    value = "819200000" if file == "cfs_quota_us" else "819200000 100000"
    group = host.create("cpu", settings=(setting("cpu", file, value),), track=False)

    assert value == Path(group.directories[0], f"cpu.{file}").read_text().strip()


def test_evacuation(host: Host) -> None:
    """All processes of a cgroup v2 move into its leaf; twice does no harm."""
    if host.unified is None:
        return
    group = host.create()
    (own,) = group.directories
    pids = {host.start(group, sleep_forever) for _ in range(5)}
    evacuation = Evacuation(own, own + "/bpm.leaf", "limits.memory")
    for _ in range(2):
        evacuate(evacuation)

    assert "" == Path(own, "cgroup.procs").read_text()
    assert pids == set(map(int, Path(evacuation.leaf, "cgroup.procs").read_text().split()))


def test_evacuation_of_a_cgroup_that_is_gone(host: Host) -> None:
    """Where the leaf cannot be made, the error says what was to be done, and why."""
    with pytest.raises(CgroupError, match=r"because limits\.memory.*cannot be moved out of the way"):
        evacuate(Evacuation("/sys/fs/cgroup/none", "/sys/fs/cgroup/none/bpm.leaf", "limits.memory"))


def test_mounting(host: Host, tmp_path: Path) -> None:
    """A hierarchy is mounted with the tmpfs around it, once; its controllers are those that were asked for."""
    held = host.controllers["pids"]
    if held.version == 2:
        return

    def attempt(libc: ctypes.CDLL) -> int:
        mounts = (
            CgroupMount("tmpfs", ("mode=755",), str(tmp_path), "limits"),
            CgroupMount("cgroup", ("pids",), f"{tmp_path}/pids", "limits"),
        )
        for _ in range(2):
            mount_hierarchies(mounts)
        lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f" {tmp_path}" in line]
        return int(len(lines) != 2 or not os.path.exists(f"{tmp_path}/pids/tasks"))

    assert 0 == apart(attempt)


def test_mounting_what_does_not_exist(tmp_path: Path) -> None:
    """A controller that the kernel does not have cannot be mounted, and the error says which."""

    def attempt(libc: ctypes.CDLL) -> int:
        try:
            mount_hierarchies((CgroupMount("cgroup", ("bogus",), f"{tmp_path}/bogus", "limits.bogus"),))
        except CgroupError as error:
            return 0 if "(bogus)" in str(error) and "limits.bogus" in str(error) else 1
        return 2

    assert 0 == apart(attempt)


def test_a_name_that_is_not_ours(host: Host) -> None:
    """Scopes of others are not taken for ours: only a container's own has such a name."""
    assert ("/cg/x-bpm-bpm-web.scope",) == Group(("/cg/x-bpm-bpm-web.scope",)).directories
    for name in ("monit.service", "x-bpm-web.scope", "session-1.scope", "x-bpm-bpm-web.service", "bpm.leaf"):
        with pytest.raises(CgroupError, match="not a cgroup of bpm's"):
            Group((f"/cg/{name}",))
