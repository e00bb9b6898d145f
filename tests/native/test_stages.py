"""For every stage, a spawn that fails exactly there on the real kernel, and says so by name, item and errno."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpm._native import Cover, Stage, Step, StepKind, binding, init_descriptor
from bpm.cgroup import observe_hierarchies
from tests.cgroup.hosts import Host, setting
from tests.effort import times
from tests.inside import CLONE_NEWNS, ISOLATED, NO_LIMIT, World
from tests.native.callers import answer_of, check, in_child, libc, refuse_call, with_own_mounts

pytestmark = pytest.mark.needs_root

CAP_CHOWN, CAP_NET_RAW = 0, 13
PR_SET_NO_NEW_PRIVS = 38


@pytest.fixture
def cgroups() -> Iterator[Host]:
    """This host's hierarchies; what is made there goes with the test."""
    host = Host(*observe_hierarchies())
    yield host
    host.clean()


def closed_descriptor() -> int:
    """The number of a descriptor that nobody has."""
    fd = os.open("/", os.O_PATH)
    os.close(fd)
    return fd + 1000


def test_every_stage_has_a_test_that_fails_there() -> None:
    """Every stage's word begins a test's name in this file: test_WORD_..."""
    names = [name for name in globals() if name.startswith("test_")]

    assert [] == [stage.word for stage in Stage if not any(name.startswith(f"test_{stage.word}_") for name in names)]


def test_sources_names_the_mount_whose_descriptor_is_closed(world: World) -> None:
    """A bind of a descriptor that is not open is EBADF, with the plan's mount as its item."""
    steps = Step(StepKind.DIRECTORY, 7, b"data"), Step(StepKind.BIND, 7, b"data", source_fd=closed_descriptor())

    assert ("sources", 7, errno.EBADF, None) == answer_of(world.request("/probe", extra=steps))


def test_sources_refuses_what_another_mount_namespace_has(world: World, open_directory: Path) -> None:
    """A source from other mounts than the caller's is EINVAL: open_tree(2) clones only one's own."""

    def leave_and_spawn() -> tuple[str, int, int, int | None]:
        request = world.request("/probe", extra=world.bind(open_directory, b"data", item=8))
        with_own_mounts()
        return answer_of(request)

    assert ("sources", 0, errno.EINVAL, None) == in_child(leave_and_spawn)


def test_clone_reports_a_cgroup_that_is_none(world: World) -> None:
    """A cgroup_fd that is no cgroup directory is EBADF."""
    assert ("clone", -1, errno.EBADF, None) == answer_of(world.request("/probe", cgroup_fd=world.source("/tmp")))


def test_clone_reports_flags_that_exclude_each_other(world: World) -> None:
    """A new mount namespace with a shared working directory (CLONE_FS) is EINVAL."""
    assert ("clone", -1, errno.EINVAL, None) == answer_of(world.request("/probe", namespaces=0x0002_0000 | 0x200))


def test_clone_refused_by_a_pids_cgroup_closes_no_stranger(world: World, cgroups: Host) -> None:
    """A clone refused late has named a pidfd whose number is free again: it is not closed once more.

    Another thread opens and closes files meanwhile; none of its descriptors is closed under it.
    """
    group = cgroups.create("pids", settings=(setting("pids", "max", 2),))

    def spawn_without_room() -> tuple[set[tuple[str, int, int, int | None]], list[str]]:
        for directory in group.directories:
            Path(directory, "cgroup.procs").write_text("0")
        request, robbed, over = world.request("/probe"), [], threading.Event()

        def open_and_close() -> None:
            while not over.is_set():
                fd = os.open("/dev/null", os.O_RDONLY)
                time.sleep(0)
                try:
                    os.close(fd)
                except OSError as error:
                    robbed.append(str(error))

        thread = threading.Thread(target=open_and_close)
        thread.start()
        answers = {answer_of(request) for _ in range(times(300))}
        over.set()
        thread.join()
        return answers, robbed

    answers, robbed = in_child(spawn_without_room)

    assert ({("clone", -1, errno.EAGAIN, None)}, []) == (answers, robbed)


def test_cgroup_names_the_tasks_file_that_cannot_be_written(world: World) -> None:
    """A tasks file opened for reading only is EBADF, with its place among them as item."""
    tasks = world.null(), world.keep(os.open("/dev/null", os.O_RDONLY))

    assert ("cgroup", 1, errno.EBADF, None) == answer_of(world.request("/probe", cgroup_tasks=tasks))


def test_namespaces_needs_a_root_that_is_a_mount(world: World, open_directory: Path) -> None:
    """A caller whose "/" is no mount point cannot cut the tie to the host's mounts: EINVAL."""

    def spawn_chrooted() -> tuple[str, int, int, int | None]:
        request = world.request("/probe")
        os.chroot(open_directory)
        return answer_of(request)

    assert ("namespaces", -1, errno.EINVAL, None) == in_child(spawn_chrooted)


@pytest.mark.parametrize(("maps", "item"), [({"uid_map": b"nonsense"}, 1), ({"gid_map": b"0 0 0"}, 2)])
def test_namespaces_names_the_map_that_is_refused(world: World, maps: dict[str, Any], item: int) -> None:
    """A map of ids that the kernel does not understand is EINVAL: item 1 for uids, 2 for gids."""
    request = world.request("/probe", namespaces=ISOLATED | 0x1000_0000, **{"uid_map": b"0 0 1", **maps})

    assert ("namespaces", item, errno.EINVAL, None) == answer_of(request)


def test_namespaces_reports_that_there_is_nothing_to_join(world: World) -> None:
    """To join what is no pidfd is EINVAL, and a closed descriptor EBADF."""
    joins: list[dict[str, Any]] = [
        {"join_fd": fd, "steps": (), "join_namespaces": CLONE_NEWNS} for fd in (world.null(), closed_descriptor())
    ]
    answers = [answer_of(world.request("/probe", namespaces=0, **join)) for join in joins]

    assert [("namespaces", -1, errno.EINVAL, None), ("namespaces", -1, errno.EBADF, None)] == answers


def test_mounts_names_the_mount_of_an_unknown_type(world: World) -> None:
    """A file system that the kernel does not know is ENODEV."""
    steps = (Step(StepKind.FILESYSTEM, 9, b"tmp", b"nosuchfs"),)

    assert ("mounts", 9, errno.ENODEV, None) == answer_of(world.request("/probe", extra=steps))


def test_mounts_names_the_mount_with_a_bad_option(world: World) -> None:
    """An option that the file system does not know is EINVAL."""
    steps = (Step(StepKind.FILESYSTEM, 9, b"tmp", b"tmpfs", ((b"nosuch", b"1"),)),)

    assert ("mounts", 9, errno.EINVAL, None) == answer_of(world.request("/probe", extra=steps))


def test_mounts_names_the_mount_without_a_mount_point(world: World) -> None:
    """A target that does not exist is ENOENT."""
    steps = (Step(StepKind.BIND, 5, b"nowhere", source_fd=world.source("/usr")),)

    assert ("mounts", 5, errno.ENOENT, None) == answer_of(world.request("/probe", extra=steps))


def test_mounts_refuses_a_directory_over_a_file(world: World) -> None:
    """A directory bound over a file is EINVAL, as move_mount(2) has it."""
    steps = Step(StepKind.FILE, 5, b"file"), Step(StepKind.BIND, 5, b"file", source_fd=world.source("/usr"))

    assert ("mounts", 5, errno.EINVAL, None) == answer_of(world.request("/probe", extra=steps))


@pytest.mark.parametrize("target", [b"proc/self", b"proc/sys/kernel", b"proc/1/fd", b"link/sys"])
def test_mounts_refuses_a_target_on_procfs(world: World, target: bytes) -> None:
    """A target on a procfs is ELOOP, by whatever way it is reached."""
    steps = Step(StepKind.LINK, 6, b"link", b"/proc"), Step(StepKind.BIND, 6, target, source_fd=world.source("/usr"))

    assert ("mounts", 6, errno.ELOOP, None) == answer_of(world.request("/probe", extra=steps))


def test_mounts_refuses_a_magic_link(world: World) -> None:
    """A target behind /proc/1/cwd, a link that no path resolution understands, is ELOOP."""
    steps = (Step(StepKind.BIND, 6, b"proc/1/cwd/tmp", source_fd=world.source("/usr")),)

    assert ("mounts", 6, errno.ELOOP, None) == answer_of(world.request("/probe", extra=steps))


def test_root_reports_a_pivot_that_is_refused(world: World) -> None:
    """A caller who may not call pivot_root(2), as in Docker, gets EPERM."""

    def spawn_without_pivot() -> tuple[str, int, int, int | None]:
        refuse_call("pivot_root", errno.EPERM)
        return answer_of(world.request("/probe"))

    assert ("root", -1, errno.EPERM, None) == in_child(spawn_without_pivot)


def test_masks_refuses_a_null_device_that_is_none(world: World) -> None:
    """A mask is never made of a /dev/null that is a regular file: ELOOP, with the masked path as item."""
    steps = (Step(StepKind.BIND, 4, b"dev/null", source_fd=world.source("/etc/passwd")),)
    covers = Cover(0, b"/nowhere", False), Cover(2, b"/usr/bin/env", False)

    assert ("masks", 2, errno.ELOOP, None) == answer_of(world.request("/probe", extra=steps, covers=covers))


@pytest.mark.parametrize(
    ("workdir", "number"),
    [
        (b"/nowhere", errno.ENOENT),
        (b"/etc/passwd", errno.ENOTDIR),
        (b"/proc/sys", errno.ELOOP),
        (b"/loop", errno.ELOOP),
    ],
)
def test_workdir_must_be_a_directory_and_not_on_procfs(world: World, workdir: bytes, number: int) -> None:
    """A working directory that is missing, a file, on a procfs or a link to itself is refused by its errno."""
    steps = (Step(StepKind.LINK, 0, b"loop", b"loop"),)

    assert ("workdir", -1, number, None) == answer_of(world.request("/probe", workdir=workdir, extra=steps))


def test_hostname_has_at_most_64_bytes(world: World) -> None:
    """A host name of 65 bytes is EINVAL."""
    assert ("hostname", -1, errno.EINVAL, None) == answer_of(world.request("/probe", hostname=b"x" * 65))


def test_descriptors_names_the_one_that_is_not_open(world: World) -> None:
    """A standard descriptor that is not open is EBADF, with its number inside as item."""
    stdio = world.null(), world.null(), closed_descriptor()

    assert ("descriptors", 2, errno.EBADF, None) == answer_of(world.request("/probe", stdio=stdio))


def test_descriptors_needs_room_below_the_callers_limit(world: World) -> None:
    """A caller whose RLIMIT_NOFILE has become lower than what moving descriptors takes gets EMFILE or EINVAL."""

    def spawn_with_few() -> tuple[str, int, int, int | None]:
        request = world.request("/probe", steps=world.root_steps()[:1], exit_fd=world.memory())
        init_descriptor()
        held = max(20, *(int(name) for name in os.listdir("/proc/self/fd")))
        while os.dup(request.stdio[0]) <= held:
            pass
        # The letter, the pipe, the root and the working directory still fit; seven copies do not.
        resource.setrlimit(resource.RLIMIT_NOFILE, (held + 10, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        return answer_of(request)

    stage, item, number, status = in_child(spawn_with_few)

    assert ("descriptors", errno.EMFILE, None) == (stage, number, status)
    assert 0 < item <= 6


def test_limits_names_the_limit_that_is_refused(world: World) -> None:
    """A RLIMIT_NOFILE above fs.nr_open is EPERM, with its place among the limits as item."""
    most = int(Path("/proc/sys/fs/nr_open").read_text())
    limits = (resource.RLIMIT_CORE, 0, 0), (resource.RLIMIT_NOFILE, most + 1, most + 1)

    assert ("limits", 1, errno.EPERM, None) == answer_of(world.request("/probe", rlimits=limits))


def test_limits_refuses_soft_above_hard(world: World) -> None:
    """A soft limit above the hard one is EINVAL, one that means "no limit" too."""
    limits = ((resource.RLIMIT_NOFILE, NO_LIMIT, 10),)

    assert ("limits", 0, errno.EINVAL, None) == answer_of(world.request("/probe", rlimits=limits))


def init_made_of(world: World, image: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put another program in the place of init."""
    fd = world.memory()
    os.write(fd, image)
    monkeypatch.setattr(binding, "_init", (fd, os.fstat(fd).st_ino))


def compiled(directory: Path, code: str) -> bytes:
    """A static program."""
    program = directory / "program"
    subprocess.run(["cc", "-static", "-x", "c", "-o", program, "-"], input=code.encode(), check=True)
    return program.read_bytes()


def test_init_reports_what_the_kernel_does_not_execute(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An init that is no program is ENOEXEC."""
    init_descriptor()
    init_made_of(world, b"no program", monkeypatch)

    assert ("init", -1, errno.ENOEXEC, None) == answer_of(world.request("/probe"))


@pytest.mark.parametrize(
    ("code", "status"),
    [("int main() { return 3; }", 3), ("#include <signal.h>\nint main() { raise(SIGKILL); }", -9)],
)
def test_init_dead_without_an_answer_is_told_by_its_status(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str, status: int
) -> None:
    """An init that ends before it answers has no errno; the status says how: exit code, or minus the signal."""
    init_descriptor()
    init_made_of(world, compiled(tmp_path, code), monkeypatch)
    # Pid 1 of a namespace cannot kill itself, so none is made.
    request = world.request("/probe", namespaces=0x0002_0000, steps=world.root_steps())

    assert ("init", -1, 0, status) == answer_of(request)


def test_init_that_finds_no_memory_fails_and_the_caller_lives(world: World, cgroups: Host) -> None:
    """In a memory cgroup of one page the spawn fails; the caller, whose memory the child shared, is not killed."""
    group = cgroups.create("memory", settings=cgroups.memory_limit(4096))
    with group.open_for_join() as join:
        request = world.request("/probe", cgroup_fd=join.unified_fd, cgroup_tasks=join.tasks)
        stage, _, number, status = in_child(lambda: answer_of(request))

    # ENOSPC is tmpfs's, for a directory that it has no memory for.
    assert (stage, number, status) == ("init", 0, -9) or (number in (errno.ENOMEM, errno.ENOSPC) and status is None)


@pytest.mark.parametrize(
    ("who", "item"),
    [({"groups": (5, 2**32 - 1)}, 1), ({"gid": 2**32 - 1}, 2), ({"uid": 2**32 - 1}, 3)],
)
def test_identity_refuses_the_id_that_means_no_change(world: World, who: dict[str, Any], item: int) -> None:
    """A group, gid or uid of -1 is EINVAL: the kernel would take it for "as it is", which is root."""
    assert ("identity", item, errno.EINVAL, None) == answer_of(world.request("/probe", **who))


def test_capabilities_names_the_ambient_one_that_is_not_permitted(world: World) -> None:
    """An ambient capability that is not permitted is EPERM, with its number as item."""
    sets: dict[str, Any] = {"bounding": 1 << CAP_NET_RAW, "permitted": 1 << CAP_CHOWN, "inheritable": 1 << CAP_NET_RAW}
    sets["ambient"] = 1 << CAP_NET_RAW
    sets["bounding"] |= 1 << CAP_CHOWN

    assert ("capabilities", CAP_NET_RAW, errno.EPERM, None) == answer_of(world.request("/probe", **sets))


def test_capabilities_refuses_what_the_caller_does_not_have(world: World) -> None:
    """A permitted capability that the caller lacks is EPERM, of no item."""

    def spawn_without() -> tuple[str, int, int, int | None]:
        drop_capability(CAP_NET_RAW)
        return answer_of(world.request("/probe", bounding=1 << CAP_NET_RAW, permitted=1 << CAP_NET_RAW))

    assert ("capabilities", -1, errno.EPERM, None) == in_child(spawn_without)


def drop_capability(number: int) -> None:
    """Take a capability from this process (a fork), and from what it executes."""
    check(libc.prctl(24, number, 0, 0, 0))  # PR_CAPBSET_DROP


def test_no_new_privs_reports_its_refusal(world: World) -> None:
    """A caller under a filter that refuses PR_SET_NO_NEW_PRIVS gets that filter's errno."""

    def spawn_filtered() -> tuple[str, int, int, int | None]:
        refuse_call("prctl", errno.EOPNOTSUPP, PR_SET_NO_NEW_PRIVS)
        return answer_of(world.request("/probe"))

    assert ("no_new_privs", -1, errno.EOPNOTSUPP, None) == in_child(spawn_filtered)


def test_seccomp_refuses_a_program_that_has_no_end(world: World) -> None:
    """A filter whose last instruction returns nothing is EINVAL."""
    assert ("seccomp", -1, errno.EINVAL, None) == answer_of(
        world.request("/probe", filter=struct.pack("=HBBI", 0x20, 0, 0, 0))
    )


def test_without_any_filter_nothing_has_run(world: World) -> None:
    """Where init cannot have its own filter, a program that has none has not executed by then, with one or without."""
    output = world.memory()
    words = ("/bin/sh", "-c", "echo ran")

    def spawn_unfiltered() -> list[tuple[str, int, int, int | None]]:
        refuse_call("seccomp", errno.EPERM)
        request = world.with_stdio(world.request(*words), (world.null(), output, output))
        return [answer_of(request) for _ in range(times(20))]

    assert {("seccomp", -1, errno.EPERM, None)} == set(in_child(spawn_unfiltered))
    assert b"" == os.pread(output, 100, 0)


def test_seccomp_without_no_new_privs_takes_a_privilege(world: World) -> None:
    """A filter for a program that could gain privileges is EACCES."""
    allow_all = struct.pack("=HBBI", 0x06, 0, 0, 0x7FFF_0000)

    assert ("seccomp", -1, errno.EACCES, None) == answer_of(
        world.request("/probe", filter=allow_all, no_new_privs=False)
    )


def test_program_names_the_candidate_that_is_missing(world: World) -> None:
    """An executable that does not exist is ENOENT."""
    assert ("program", 0, errno.ENOENT, None) == answer_of(world.request("/nowhere/program"))


def test_a_failed_spawn_is_the_same_when_sigchld_is_ignored(world: World) -> None:
    """The kernel reaps the child of a caller who ignores SIGCHLD; the failure is told all the same."""

    def spawn_ignoring() -> list[tuple[str, int, int, int | None]]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return [answer_of(world.request("/nowhere")), answer_of(world.request("/probe", hostname=b"x" * 65))]

    assert [("program", 0, errno.ENOENT, None), ("hostname", -1, errno.EINVAL, None)] == in_child(spawn_ignoring)


def test_two_hundred_failures_leave_nothing(world: World) -> None:
    """Failures of each side of the border, over and over, leave no descriptor, child or mount: see conftest."""
    requests = [
        world.request("/nowhere"),
        world.request("/probe", hostname=b"x" * 65),
        world.request("/probe", uid=2**32 - 1),
        world.request("/probe", extra=(Step(StepKind.BIND, 5, b"nowhere", source_fd=world.source("/usr")),)),
    ]
    answers = {answer_of(request)[0] for request in requests * times(50)}

    assert {"program", "hostname", "identity", "mounts"} == answers
