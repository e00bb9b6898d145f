"""The root: read-only means all of it, links stay inside, and the host sees nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpm._native import Cover, Step, StepKind
from tests.inside import Seen, World, wait_for
from tests.inside.world import NODEV, NOEXEC, NOSUID, RDONLY
from tests.native.callers import MS_SHARED, answer_of, check, in_child, libc, mount, with_own_mounts

pytestmark = pytest.mark.needs_root

MS_BIND = 4096


@pytest.fixture
def tree(open_directory: Path) -> Iterator[Path]:
    """A directory with a directory ``sub``, both open to everyone."""
    tree = Path(tempfile.mkdtemp(dir=open_directory))
    (tree / "sub").mkdir()
    for path in (tree, tree / "sub"):
        path.chmod(0o777)
    yield tree
    shutil.rmtree(tree)


def nest_mounts(tree: Path) -> None:
    """In mounts of our own: the tree is a file system, and below it ``sub`` another one."""
    with_own_mounts()
    mount(b"tmpfs", tree, b"tmpfs")
    (tree / "sub").mkdir()
    mount(b"tmpfs", tree / "sub", b"tmpfs")
    (tree / "sub/file").touch()
    for path in (tree, tree / "sub"):
        path.chmod(0o777)


def test_read_only_holds_for_what_is_mounted_below(world: World, tree: Path) -> None:
    """In a read-only bind, a nested file system is read-only too."""

    def see() -> Seen:
        nest_mounts(tree)
        return world.see("create:/data/x", "create:/data/sub/x", "list:/data/sub", extra=world.bind(tree, b"data"))

    seen = in_child(see)

    assert (-errno.EROFS, -errno.EROFS, 1) == tuple(seen.attempts.values())
    assert "ro" in seen.mount_at("/data/sub").options


def test_a_writable_bind_is_writable_below(world: World, tree: Path) -> None:
    """And one without the attribute is not."""

    def see() -> Seen:
        nest_mounts(tree)
        steps = world.bind(tree, b"data", set_attributes=NOSUID)
        return world.see("create:/data/x", "create:/data/sub/x", extra=steps)

    assert (0, 0) == tuple(in_child(see).attempts.values())


def test_a_bind_that_is_not_recursive_leaves_out_what_is_mounted_below(world: World, tree: Path) -> None:
    """The directory below shows what is under the mount that stayed outside."""

    def see() -> Seen:
        nest_mounts(tree)
        return world.see("list:/data/sub", extra=world.bind(tree, b"data", recursive=False))

    assert (0,) == tuple(in_child(see).attempts.values())


@pytest.mark.parametrize("attribute", [RDONLY, NOSUID, NODEV, NOEXEC])
def test_each_attribute_is_seen_inside(world: World, tree: Path, attribute: int) -> None:
    """A mount has the attributes that its step sets, and no other."""
    words = {RDONLY: "ro", NOSUID: "nosuid", NODEV: "nodev", NOEXEC: "noexec"}
    host = {"nosuid", "nodev", "noexec"} & options_of(tree)
    seen = world.see(extra=world.bind(tree, b"data", set_attributes=attribute)).mount_at("/data")

    assert {words[attribute]} | host == set(seen.options) & set(words.values())


def options_of(path: Path) -> set[str]:
    flags = os.statvfs(path).f_flag
    bits = {"nosuid": os.ST_NOSUID, "nodev": os.ST_NODEV, "noexec": os.ST_NOEXEC}
    return {word for word, bit in bits.items() if flags & bit}


def test_attributes_can_be_cleared_of_the_top_mount_only(world: World, tree: Path) -> None:
    """Clearing noexec reaches the bind itself; what is mounted below keeps the host's."""

    def see() -> Seen:
        nest_mounts(tree)
        noexec = 8 | 32  # MS_NOEXEC | MS_REMOUNT
        for path in (tree, tree / "sub"):
            check(libc.mount(b"none", os.fsencode(path), None, noexec | MS_BIND, None))
        return world.see(extra=world.bind(tree, b"data", set_attributes=0, clear_attributes=NOEXEC))

    seen = in_child(see)

    assert (False, True) == tuple("noexec" in seen.mount_at(path).options for path in ("/data", "/data/sub"))


def test_a_mount_of_the_host_below_a_bind_arrives_inside(world: World, tree: Path) -> None:
    """A bind is a slave of the host's mount: what appears there later, appears inside."""

    def see() -> bytes:
        nest_mounts(tree)
        check(libc.mount(b"none", os.fsencode(tree), None, MS_SHARED, None))
        (tree / "late").mkdir()
        output = world.memory()
        script = "echo ready; while ! [ -e /data/late/file ]; do sleep 0.01; done; echo seen"
        request = world.request("/bin/sh", "-c", script, extra=world.bind(tree, b"data"))
        spawned = world.spawn(world.with_stdio(request, (request.stdio[0], output, output)))
        wait_for(lambda: os.pread(output, 100, 0))
        mount(b"tmpfs", tree / "late", b"tmpfs")
        (tree / "late/file").touch()
        world.finish(spawned)
        return os.pread(output, 100, 0)

    assert b"ready\nseen\n" == in_child(see)


def test_a_mount_made_inside_does_not_reach_the_host(world: World, tree: Path) -> None:
    """A privileged program's mount on a bind of a shared mount stays inside."""

    def see() -> tuple[int, int]:
        nest_mounts(tree)
        check(libc.mount(b"none", os.fsencode(tree), None, MS_SHARED, None))
        (tree / "here").mkdir()
        before = Path("/proc/self/mountinfo").read_text().count("\n")
        admin = 1 << 21
        steps = world.bind(tree, b"data", set_attributes=0)
        seen = world.see("mount:/data/here", uid=0, gid=0, bounding=admin, permitted=admin, extra=steps)
        return seen.attempts["mount:/data/here"], Path("/proc/self/mountinfo").read_text().count("\n") - before

    assert (0, 0) == in_child(see)


def test_the_host_has_none_of_the_containers_mounts(world: World) -> None:
    """While a container runs, a host whose mounts are all shared has as many as before."""

    def see() -> tuple[int, bool]:
        with_own_mounts()
        check(libc.mount(b"none", b"/", None, MS_SHARED | 16384, None))
        before = Path("/proc/self/mountinfo").read_text().count("\n")
        spawned = world.start("/bin/sleep", "1000")
        inside = Path(f"/proc/{spawned.pid}/mountinfo").read_text()
        after = Path("/proc/self/mountinfo").read_text().count("\n")
        world.finish(world.killed(spawned))
        return after - before, "shared:" in inside

    assert (0, False) == in_child(see)


def test_a_link_that_leads_out_is_resolved_inside(world: World, tree: Path) -> None:
    """Whatever links stand in the root, nothing is made outside of it."""
    name = f"made-{os.getpid()}"
    steps = (
        Step(StepKind.LINK, 1, b"absolute", b"/tmp"),
        Step(StepKind.LINK, 1, b"dotted", b"../../../../../../tmp"),
        Step(StepKind.DIRECTORY, 1, f"absolute/{name}-1".encode(), mode=0o755),
        Step(StepKind.DIRECTORY, 1, f"dotted/{name}-2".encode(), mode=0o755),
        *world.bind(tree, f"dotted/{name}-3".encode()),
    )
    attempts = world.see(f"list:/tmp/{name}-1", f"list:/tmp/{name}-2", f"list:/tmp/{name}-3", extra=steps).attempts

    assert [0, 0, 1] == list(attempts.values())
    assert [] == [path for path in os.listdir("/tmp") if path.startswith(name)]


def test_a_source_with_links_of_its_own_leads_nowhere(world: World, tree: Path) -> None:
    """A bound directory whose ``sub`` was replaced by a link to the host's /etc: the target is looked for inside."""
    (tree / "sub").rmdir()
    (tree / "sub").symlink_to("/dev/shm")
    steps = (*world.bind(tree, b"data"), Step(StepKind.BIND, 9, b"data/sub", source_fd=world.source("/usr")))

    # The container has no /dev/shm; the host has.
    assert ("mounts", 9, errno.ENOENT, None) == answer_of(world.request("/probe", extra=steps))


def test_the_old_root_is_gone(world: World) -> None:
    """Nothing of the host that is not in the plan is mounted; ".." of the root is the root."""
    seen = world.see("list:/work", "list:/var", "list:/../var", "list:/root", "list:/home")

    assert {-errno.ENOENT} == set(seen.attempts.values())
    assert ["tmpfs"] == [mount.kind for mount in seen.mounts if mount.target == "/"]


def test_a_masked_file_and_a_masked_directory_are_empty(world: World) -> None:
    """A masked file is the null device, read as empty; masked directories have no entries; both take no writes."""
    masked = b"/etc/passwd", b"/etc/ssl", b"/usr/lib", b"/proc/1", b"/nowhere/at/all", b"/etc/passwd/x"
    covers = tuple(Cover(item, path, False) for item, path in enumerate(masked))
    seen = world.see(
        "read:/etc/passwd", "list:/etc/ssl", "create:/etc/ssl/x", "list:/usr/lib", "list:/proc/1", covers=covers
    )

    assert [0, 0, -errno.EROFS, 0, 0] == list(seen.attempts.values())
    assert ("/null", "ro") == (seen.mount_at("/etc/passwd").root, seen.mount_at("/etc/ssl").options[0])


def test_a_read_only_cover_reaches_below(world: World, tree: Path) -> None:
    """A path made read-only inside is so with all that is mounted below it; its surroundings stay writable."""

    def see() -> Seen:
        nest_mounts(tree)
        steps = world.bind(tree, b"data", set_attributes=0)
        return world.see("create:/data/x", "create:/data/sub/x", extra=steps, covers=(Cover(0, b"/data/sub", True),))

    assert [0, -errno.EROFS] == list(in_child(see).attempts.values())


def test_entries_that_exist_already_will_do(world: World) -> None:
    """A mount point that stands there is used; a file in the place of a node is not replaced."""
    steps = (
        Step(StepKind.DIRECTORY, 0, b"usr", mode=0o700),
        Step(StepKind.LINK, 0, b"tmp", b"/usr"),
        Step(StepKind.NODE, 0, b"dev/null", mode=0o600, device=os.makedev(1, 5)),
    )
    attempts = world.see("list:/tmp", "read:/dev/null", extra=steps).attempts

    assert [0, 0] == list(attempts.values())


def test_nodes_have_their_mode_and_device(world: World) -> None:
    """/dev/zero gives a byte, /dev/null none, and both are 0666."""
    attempts = world.see("read:/dev/zero", "read:/dev/null", "mode:/dev/zero").attempts

    assert [1, 0, 0o020666] == list(attempts.values())


def test_a_file_can_be_bound(world: World) -> None:
    """A file over a file, made for it."""
    steps = world.bind("/etc/passwd", b"tmp/name")

    assert 1 == world.see("read:/tmp/name", extra=steps).attempts["read:/tmp/name"]


def test_a_link_is_followed_while_others_rename(world: World, tree: Path) -> None:
    """A ".." that the kernel cannot vouch for, since something was renamed meanwhile (EAGAIN), is tried again."""
    steps = (
        Step(StepKind.LINK, 1, b"dotted", b"../../../../tmp/../tmp/../tmp/../tmp"),
        *(Step(StepKind.DIRECTORY, 1, f"dotted/{number}".encode(), mode=0o755) for number in range(200)),
    )
    request = world.request("/bin/true", extra=steps)
    renamer = os.fork()
    if renamer == 0:
        os.chdir(tree)
        while True:
            os.rename("sub", "bus")
            os.rename("bus", "sub")
    try:
        codes = {world.run_request(request).code for _ in range(20)}
    finally:
        os.kill(renamer, signal.SIGKILL)
        os.waitpid(renamer, 0)
        if (tree / "bus").exists():
            (tree / "bus").rename(tree / "sub")

    assert {0} == codes
