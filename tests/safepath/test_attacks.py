"""What the job's user can plant is refused: the path and the owner are named, and nothing is touched."""

from __future__ import annotations

import os
import socket
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from bpm import safepath
from bpm.errors import UnsafePathError
from tests.safepath.trees import (
    HOSTILE,
    OPERATIONS,
    Operation,
    directory,
    log,
    look,
    make,
    mkdir,
    read,
    save,
    snapshot,
    source,
    symlink,
    volume,
    write,
)

pytestmark = pytest.mark.needs_root
Refused = Callable[[Operation, str], str]


@pytest.mark.parametrize("operation", [make, log, volume, source, directory, read])
@pytest.mark.parametrize("target", ["outside", "outside/private", "outside/secret", "nowhere"])
def test_planted_link(operation: Operation, target: str, refused: Refused, home: str, outside: str) -> None:
    """A link of the user's is not followed, wherever it points."""
    path = symlink(os.path.join(os.path.dirname(outside), target), f"{home}/it", HOSTILE)
    assert f"refusing {path}: a symbolic link owned by uid {HOSTILE}" in refused(operation, path)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_planted_parent_link(operation: Operation, refused: Refused, home: str, outside: str) -> None:
    """Nor is one in the place of a parent."""
    path = symlink(outside, f"{home}/it", HOSTILE)
    for below in ("secret", "private", "new", "private/key"):
        assert f"refusing {path}: a symbolic link owned by uid {HOSTILE}" in refused(operation, f"{path}/{below}")


@pytest.mark.parametrize("operation", [make, log, volume, source, directory, read])
def test_link_of_roots_in_the_users_directory(operation: Operation, refused: Refused, home: str, outside: str) -> None:
    """A link of root's that the user could have moved or hard-linked there is not followed either."""
    symlink("/etc", f"{outside}/link")
    os.link(f"{outside}/link", f"{home}/it", follow_symlinks=False)
    assert "a symbolic link owned by root" in refused(operation, f"{home}/it")


@pytest.mark.parametrize("operation", [make, log, volume, source, directory, read])
def test_link_of_the_users_in_roots_directory(operation: Operation, refused: Refused, tree: str, outside: str) -> None:
    """A link that is not root's is not followed in root's directory: whoever owns it may have made it elsewhere."""
    path = symlink(f"{outside}/private", f"{tree}/it", HOSTILE)
    assert f"refusing {path}: a symbolic link owned by uid {HOSTILE}" in refused(operation, path)


@pytest.mark.parametrize("operation", [log, volume, source, read])
@pytest.mark.parametrize("where", ["home", "sticky", "writable", "group"])
def test_planted_hard_link(operation: Operation, where: str, refused: Refused, tree: str, outside: str) -> None:
    """A hard link to root's file, as fs.protected_hardlinks=0 lets anyone make, gives the file to nobody."""
    mkdir(f"{tree}/home", HOSTILE)
    mkdir(f"{tree}/sticky", mode=0o1777)
    mkdir(f"{tree}/writable", mode=0o777)
    mkdir(f"{tree}/group", mode=0o770, gid=HOSTILE)
    os.link(f"{outside}/secret", f"{tree}/{where}/it")
    assert "a file owned by root" in refused(operation, f"{tree}/{where}/it")


@pytest.mark.parametrize("operation", [log, volume])
def test_hard_link_to_another_users_file(operation: Operation, refused: Refused, tree: str, home: str) -> None:
    """Nor does one to a third user's file, or to a file of the user's own."""
    mkdir(f"{tree}/other", HOSTILE + 1)
    for uid in (HOSTILE + 1, HOSTILE):
        os.link(write(f"{tree}/other/{uid}", "mine", uid), f"{home}/{uid}")
        refused(operation, f"{home}/{uid}")


@pytest.mark.parametrize("operation", [make, log, volume, source, directory, read])
@pytest.mark.parametrize("name", ["secret", "private"])
def test_moved_in(operation: Operation, name: str, refused: Refused, home: str, outside: str) -> None:
    """A file or directory of root's that holds something and is in the user's directory is not touched."""
    os.rename(f"{outside}/{name}", f"{home}/it")
    assert f"owned by root, in a directory owned by uid {HOSTILE}" in refused(operation, f"{home}/it")
    if name == "private":
        refused(operation, f"{home}/it/key")


def plant(kind: str, path: str) -> None:
    if kind == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        flag, device = (stat.S_IFCHR, (1, 3)) if kind == "character device" else (stat.S_IFBLK, (7, 0))
        os.mknod(path, 0o600 | flag, os.makedev(*device))
    os.chown(path, HOSTILE, HOSTILE)


@pytest.mark.parametrize("kind", ["FIFO", "socket", "character device", "block device"])
@pytest.mark.parametrize("operation", [make, log, directory, read])
def test_neither_file_nor_directory(operation: Operation, kind: str, refused: Refused, home: str) -> None:
    """A FIFO, a socket or a device is neither file nor directory, does not block, and is no parent."""
    plant(kind, f"{home}/it")
    assert f"/it: a {kind} owned by uid {HOSTILE} where a " in refused(operation, f"{home}/it")
    assert "where a directory was expected" in refused(operation, f"{home}/it/below")


def test_trees_of_a_third_user(refused: Refused, home: str) -> None:
    """What is a third user's in the user's directory is refused; what is to be root's is not made there."""
    mkdir(f"{home}/third", HOSTILE + 1)
    refused(make, f"{home}/third")
    refused(lambda path: safepath.make_directory(path, 0o700, 0, 0), f"{home}/roots")
    refused(lambda path: safepath.make_directory(path, 0o700, HOSTILE + 1, 0), f"{home}/a/b")
    refused(lambda path: os.close(safepath.open_log(path, 0o600, 0, 0)), f"{home}/log")


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_root_keeps_no_file_where_others_write(mode: int, refused: Refused, tree: str) -> None:
    """A record of root's is not written into a directory that others can write."""
    mkdir(f"{tree}/state", mode=mode, gid=HOSTILE)
    assert "is no place for a file of ours" in refused(save, f"{tree}/state/record")


@pytest.mark.parametrize("target", ["/proc", "/proc/self", "/proc/sys/kernel/hostname", "/sys", "/sys/kernel"])
@pytest.mark.parametrize("operation", [make, volume])
def test_the_kernels_own_files(operation: Operation, target: str, refused: Refused, tree: str) -> None:
    """A link of root's is followed, but /proc and /sys are nobody's: their modes hold for the whole machine."""
    before = os.stat(target)
    refused(operation, symlink(target, f"{tree}/a"))
    assert (before.st_mode, before.st_uid, before.st_gid) == os.stat(target)[0:1] + os.stat(target)[4:6]


@pytest.mark.parametrize("mode", [0o777, 0o770])
@pytest.mark.parametrize("operation", [make, log, volume, source, directory, read])
def test_shared_directory(operation: Operation, mode: int, refused: Refused, tree: str, outside: str) -> None:
    """In a directory of root's that others can write, no link is followed, whoever owns it."""
    mkdir(f"{tree}/shared", mode=mode, gid=HOSTILE)
    for uid in (0, HOSTILE):
        refused(operation, symlink(outside, f"{tree}/shared/{uid}", uid))


def test_shared_directory_with_bosh_modes(tree: str) -> None:
    """BOSH's own job directories, root:vcap 0770, work: what root or vcap made in them may become vcap's."""
    mkdir(f"{tree}/web", mode=0o770, gid=HOSTILE)
    mkdir(f"{tree}/web/roots", mode=0o755)
    mkdir(f"{tree}/web/vcaps", HOSTILE)
    for name in ("roots", "vcaps", "new"):
        make(f"{tree}/web/{name}")
    assert {(HOSTILE, HOSTILE, 0o700)} == {look(f"{tree}/web/{name}") for name in ("roots", "vcaps", "new")}


def test_shared_directory_and_a_third_user(refused: Refused, tree: str) -> None:
    """There, a third user's directory, or a file of root's that holds something, was perhaps renamed: refused."""
    mkdir(f"{tree}/shared", mode=0o770, gid=HOSTILE)
    mkdir(f"{tree}/shared/third", HOSTILE + 1)
    write(f"{tree}/shared/file", "root's")
    refused(make, f"{tree}/shared/third")
    refused(volume, f"{tree}/shared/third")
    refused(log, f"{tree}/shared/file")


def test_below_a_shared_directory(refused: Refused, tree: str, outside: str) -> None:
    """In root's own directory, in one that others can write, root's files and links were perhaps renamed with it."""
    mkdir(f"{tree}/shared", mode=0o770, gid=HOSTILE)
    mkdir(f"{tree}/shared/roots")
    write(f"{tree}/shared/roots/file", "root's")
    symlink(outside, f"{tree}/shared/roots/link")
    for operation, name in ((log, "file"), (volume, "file"), (source, "link/secret")):
        assert "below a directory that others can write" in refused(operation, f"{tree}/shared/roots/{name}")
    assert "is no place for a file of ours" in refused(save, f"{tree}/shared/roots/record")
    make(f"{tree}/shared/roots/new")


def test_sticky_directory(tree: str, outside: str) -> None:
    """In a sticky directory, such as /tmp, a link of root's is followed: nobody else can replace it."""
    mkdir(f"{tree}/sticky", mode=0o1777)
    symlink(outside, f"{tree}/sticky/it")
    assert safepath.read_file(f"{tree}/sticky/it/secret", 10) == b"secret"


def test_access_lists_count(refused: Refused, tree: str, outside: str) -> None:
    """A directory that an access control list opens to the user is one that others can write."""
    mkdir(f"{tree}/listed", mode=0o755)
    entries = [(1, 7, 2**32 - 1), (2, 7, HOSTILE), (4, 5, 2**32 - 1), (0x10, 7, 2**32 - 1), (0x20, 5, 2**32 - 1)]
    try:
        os.setxattr(
            f"{tree}/listed",
            "system.posix_acl_access",
            struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in entries),
        )
    except OSError as error:
        pytest.skip(f"this file system has no access control lists: {error}")
    path = symlink(outside, f"{tree}/listed/it")
    assert "others can write" in refused(source, path)


def test_roots_group_is_no_stranger(tree: str, outside: str) -> None:
    """A directory that only root's group can write is root's: a umask of 002 breaks nothing."""
    mkdir(f"{tree}/grouped", mode=0o775, gid=0)
    source(symlink(outside, f"{tree}/grouped/it"))


@pytest.mark.same_everywhere
def test_swapped_under_our_hands(tree: str, outside: str) -> None:
    """While the user swaps a directory for a link, and a log for a hard link, nothing outside changes."""
    home = mkdir(f"{tree}/home", HOSTILE)
    mkdir(f"{home}/web", HOSTILE)
    symlink(outside, f"{home}/trap", HOSTILE)
    write(f"{home}/log", "", HOSTILE)
    os.link(f"{outside}/secret", f"{home}/stolen")
    swapper = (
        "import ctypes, os\n"
        "swap = ctypes.CDLL(None).renameat2\n"
        "os.write(1, b'!')\n"
        "while os.getppid() == PARENT:\n"
        "    swap(-100, b'web', -100, b'trap', 2)\n"
        "    swap(-100, b'log', -100, b'stolen', 2)\n"
    ).replace("PARENT", str(os.getpid()))
    before = snapshot(outside)
    outcomes = {"done": 0, "refused": 0, "gone": 0}
    attempts = [
        lambda: make(f"{home}/web/private"),
        lambda: make(f"{home}/web/new/deeper"),
        lambda: make(f"{home}/web"),
        lambda: log(f"{home}/web/secret"),
        lambda: log(f"{home}/log"),
        lambda: volume(f"{home}/log"),
    ]
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", swapper],
        cwd=home,
        user=HOSTILE,
        group=HOSTILE,
        extra_groups=[],
        stdout=subprocess.PIPE,
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.read(1) == b"!"
            end = time.monotonic() + 2
            while time.monotonic() < end:
                for attempt in attempts:
                    try:
                        attempt()
                        outcomes["done"] += 1
                    except UnsafePathError:
                        outcomes["refused"] += 1
                    except FileNotFoundError:
                        outcomes["gone"] += 1
        finally:
            child.kill()
    assert before == snapshot(outside)
    assert outcomes["done"] > 100
    assert outcomes["refused"] > 100
