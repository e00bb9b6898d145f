"""On a safe tree, each operation does what it says."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import stat
import subprocess
import threading

import pytest

from bpm import safepath
from bpm.errors import UnsafePathError
from tests.safepath.trees import (
    HOSTILE,
    OPERATIONS,
    Operation,
    create,
    directory,
    lock,
    log,
    look,
    mkdir,
    read,
    save,
    source,
    symlink,
    write,
)


class TestMakeDirectory:
    def test_makes_it_and_its_parents(self, tree: str) -> None:
        """Missing parents are ours alone, whatever the umask."""
        uid, gid = os.geteuid(), os.getegid()
        old = os.umask(0o277)
        try:
            safepath.make_directory(f"{tree}/data/web/tmp", 0o750, uid, gid)
        finally:
            os.umask(old)
        expected = [(uid, gid, 0o700), (uid, gid, 0o700), (uid, gid, 0o750)]
        assert expected == [look(f"{tree}/{name}") for name in ("data", "data/web", "data/web/tmp")]

    def test_parents_take_the_mode_that_was_asked_for(self, tree: str) -> None:
        """`parent_mode` is the mode of parents, not of the directory."""
        safepath.make_directory(f"{tree}/a/b", 0o700, os.geteuid(), os.getegid(), parent_mode=0o755)
        assert [look(f"{tree}/{name}")[2] for name in ("a", "a/b")] == [0o755, 0o700]

    @pytest.mark.needs_root
    def test_gives_it_away(self, tree: str) -> None:
        """A new directory is the user's; its new parents are root's."""
        safepath.make_directory(f"{tree}/web/tmp", 0o700, HOSTILE, HOSTILE)
        assert [look(f"{tree}/web"), look(f"{tree}/web/tmp")] == [(0, 0, 0o700), (HOSTILE, HOSTILE, 0o700)]

    @pytest.mark.needs_root
    def test_parents_in_the_users_directory_are_the_users(self, tree: str) -> None:
        """Below a user's directory all that is made is that user's, so that the same path is accepted again."""
        mkdir(f"{tree}/web", HOSTILE)
        for _ in range(2):
            safepath.make_directory(f"{tree}/web/a/b", 0o700, HOSTILE, HOSTILE)
        assert [look(f"{tree}/web/a"), look(f"{tree}/web/a/b")] == [(HOSTILE, HOSTILE, 0o700)] * 2

    @pytest.mark.needs_root
    def test_an_existing_one_is_given_and_changed(self, tree: str) -> None:
        """An existing directory gets its owner, and its mode too."""
        mkdir(f"{tree}/a", uid=7)
        safepath.make_directory(f"{tree}/a", 0o700, HOSTILE, HOSTILE)
        assert look(f"{tree}/a") == (HOSTILE, HOSTILE, 0o700)

    @pytest.mark.needs_root
    def test_an_existing_one_keeps_its_mode_if_asked(self, tree: str) -> None:
        """Without chmod, an existing directory gets its owner only, and a new one its mode as well."""
        mkdir(f"{tree}/a", mode=0o711)
        for name in ("a", "b"):
            safepath.make_directory(f"{tree}/{name}", 0o750, HOSTILE, HOSTILE, chmod=False)
        assert [look(f"{tree}/a"), look(f"{tree}/b")] == [(HOSTILE, HOSTILE, 0o711), (HOSTILE, HOSTILE, 0o750)]

    def test_parents_do_not_inherit_a_group(self, tree: str) -> None:
        """In a set-group-id directory, what is made has the mode and group that were asked for."""
        mkdir(f"{tree}/a", mode=0o2755, gid=7)
        safepath.make_directory(f"{tree}/a/b/c", 0o700, os.geteuid(), os.getegid())
        expected = (os.geteuid(), os.getegid(), 0o700)
        assert [expected, expected] == [look(f"{tree}/a/b"), look(f"{tree}/a/b/c")]

    def test_a_file_is_no_directory(self, tree: str) -> None:
        """Where a file stands, making a directory is refused, and says so."""
        write(f"{tree}/a")
        with pytest.raises(UnsafePathError, match=r"/a: a file owned by .* where a directory was expected") as caught:
            safepath.make_directory(f"{tree}/a", 0o700, os.geteuid(), os.getegid())
        assert caught.value.errno == errno.ENOTDIR

    @pytest.mark.needs_root
    def test_a_volume_may_be_a_socket(self, tree: str) -> None:
        """With any_kind, a socket that stands there is given as it is, its mode too."""
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tree}/s")
        os.chmod(f"{tree}/s", 0o666)
        safepath.make_directory(f"{tree}/s", 0o700, HOSTILE, HOSTILE, any_kind=True)
        assert look(f"{tree}/s") == (HOSTILE, HOSTILE, 0o666)

    def test_many_at_once(self, tree: str) -> None:
        """Twenty starts at once that make the same parents all succeed."""
        errors: list[BaseException] = []

        def make(name: str) -> None:
            try:
                safepath.make_directory(f"{tree}/a/b/c/{name}", 0o700, os.geteuid(), os.getegid())
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=make, args=(str(i),)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (errors, len(os.listdir(f"{tree}/a/b/c"))) == ([], 20)

    @pytest.mark.needs_root
    def test_what_a_killed_start_left_is_healed(self, tree: str) -> None:
        """An empty directory of root's in a user's, as a killed start leaves it, is given, also as a parent."""
        mkdir(f"{tree}/web", HOSTILE)
        mkdir(f"{tree}/web/a", mode=0o700)
        mkdir(f"{tree}/web/tmp", mode=0o700)
        safepath.make_directory(f"{tree}/web/a/b", 0o700, HOSTILE, HOSTILE)
        safepath.make_directory(f"{tree}/web/tmp", 0o700, HOSTILE, HOSTILE)
        assert [look(f"{tree}/web/{name}")[0] for name in ("a", "a/b", "tmp")] == [HOSTILE] * 3


class TestBoshLayout:
    """The links of a real VM: sys -> data/sys, jobs/web -> data/jobs/web/<fingerprint>."""

    @pytest.fixture
    def root(self, tree: str) -> str:
        mkdir(f"{tree}/data/sys/log")
        mkdir(f"{tree}/data/jobs/web/f1/config")
        mkdir(f"{tree}/jobs")
        write(f"{tree}/data/jobs/web/f1/config/bpm.yml", "processes: []")
        symlink(f"{tree}/data/sys", f"{tree}/sys")
        symlink("../data/jobs/web/f1", f"{tree}/jobs/web")
        return tree

    def test_make_directory(self, root: str) -> None:
        """A directory below a link of root's is made where the link points."""
        safepath.make_directory(f"{root}/sys/log/web", 0o750, os.geteuid(), os.getegid())
        assert look(f"{root}/data/sys/log/web")[2] == 0o750

    def test_open_log(self, root: str) -> None:
        """So is a log file."""
        os.close(safepath.open_log(f"{root}/sys/log/bpm.log", 0o600, os.geteuid(), os.getegid()))
        assert look(f"{root}/data/sys/log/bpm.log")[2] == 0o600

    def test_open_source(self, root: str) -> None:
        """The source of a mount may itself be a link of root's; what it points to is opened."""
        fd = safepath.open_source(f"{root}/jobs/web")
        try:
            assert os.path.samestat(os.stat(f"{root}/data/jobs/web/f1"), os.fstat(fd))
            assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH
        finally:
            os.close(fd)

    def test_read_file(self, root: str) -> None:
        """A job's configuration is read through its link."""
        assert safepath.read_file(f"{root}/jobs/web/config/bpm.yml", 100) == b"processes: []"

    def test_open_directory(self, root: str) -> None:
        """A directory that was opened can be listed."""
        fd = safepath.open_directory(f"{root}/sys")
        try:
            assert os.listdir(fd) == ["log"]
        finally:
            os.close(fd)


class TestOpenLog:
    def test_appends(self, tree: str) -> None:
        """What is there stays, and new lines come after it."""
        path = write(f"{tree}/log", "old\n")
        fd = safepath.open_log(path, 0o600, os.geteuid(), os.getegid())
        os.write(fd, b"new\n")
        os.close(fd)
        with open(path) as file:
            assert file.read() == "old\nnew\n"

    def test_flags(self, tree: str) -> None:
        """The descriptor appends, blocks, and is closed on exec."""
        for _ in ("made", "found"):
            fd = safepath.open_log(f"{tree}/log", 0o600, os.geteuid(), os.getegid())
            flags = fcntl.fcntl(fd, fcntl.F_GETFL)
            closes = fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
            os.close(fd)
            expected = (os.O_APPEND, 0, os.O_WRONLY, fcntl.FD_CLOEXEC)
            assert expected == (flags & os.O_APPEND, flags & os.O_NONBLOCK, flags & os.O_ACCMODE, closes)

    @pytest.mark.needs_root
    def test_belongs_to_the_user(self, tree: str) -> None:
        """New or old, it ends with the owner and mode that were asked for."""
        mkdir(f"{tree}/web", HOSTILE)
        write(f"{tree}/web/old", "kept", HOSTILE, 0o666)
        for name in ("old", "new"):
            os.close(safepath.open_log(f"{tree}/web/{name}", 0o600, HOSTILE, HOSTILE))
        assert [look(f"{tree}/web/old"), look(f"{tree}/web/new")] == [(HOSTILE, HOSTILE, 0o600)] * 2

    @pytest.mark.needs_root
    def test_an_empty_one_of_roots_is_given(self, tree: str) -> None:
        """A start killed between making a log file and giving it away is healed by the next."""
        mkdir(f"{tree}/web", HOSTILE)
        write(f"{tree}/web/log", "", 0, 0o600)
        os.close(safepath.open_log(f"{tree}/web/log", 0o600, HOSTILE, HOSTILE))
        assert look(f"{tree}/web/log") == (HOSTILE, HOSTILE, 0o600)

    def test_a_link_is_refused_in_upstreams_words(self, tree: str) -> None:
        """No link is followed to a log file, not even one of root's."""
        write(f"{tree}/target", "untouched")
        path = symlink("target", f"{tree}/log")
        with pytest.raises(UnsafePathError, match=f"refusing to open symlink at {path}"):
            safepath.open_log(path, 0o600, os.geteuid(), os.getegid())
        assert sorted(os.listdir(tree)) == ["log", "target"]

    def test_its_directory_must_exist(self, tree: str) -> None:
        """No parent is made, and the whole path is in the error."""
        with pytest.raises(FileNotFoundError) as caught:
            safepath.open_log(f"{tree}/no/log", 0o600, os.geteuid(), os.getegid())
        assert f"{tree}/no/log" == caught.value.filename


class TestWriteFile:
    def test_replaces(self, tree: str) -> None:
        """New contents and mode, in a new file, and nothing else in the directory."""
        path = write(f"{tree}/record", "old", mode=0o644)
        before = os.stat(path).st_ino
        safepath.write_file(path, b"new", 0o600, sync=True)
        assert safepath.read_file(path, 10, trusted=True) == b"new"
        assert (look(path)[2], os.listdir(tree)) == (0o600, ["record"])
        assert before != os.stat(path).st_ino

    def test_replaces_a_link(self, tree: str) -> None:
        """A link is replaced, not written through."""
        write(f"{tree}/target", "kept")
        symlink("target", f"{tree}/record")
        safepath.write_file(f"{tree}/record", b"new", 0o600)
        assert safepath.read_file(f"{tree}/target", 10) == b"kept"
        assert not os.path.islink(f"{tree}/record")

    def test_longest_name(self, tree: str) -> None:
        """A name may be as long as the file system allows."""
        safepath.write_file(f"{tree}/{'n' * 255}", b"x", 0o600)
        assert os.listdir(tree) == ["n" * 255]

    def test_failure_leaves_nothing(self, tree: str) -> None:
        """Where a directory has the name, the error says so, and no draft stays."""
        mkdir(f"{tree}/record/below")
        with pytest.raises(OSError) as caught:
            safepath.write_file(f"{tree}/record", b"new", 0o600)
        assert (f"{tree}/record", ["record"]) == (caught.value.filename, os.listdir(tree))

    @pytest.mark.needs_root
    def test_a_full_disk_keeps_the_old_contents(self, tree: str) -> None:
        """When the disk is full, the old record stays whole."""
        mkdir(f"{tree}/full")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=755", "tmpfs", f"{tree}/full"], check=True)
        try:
            safepath.write_file(f"{tree}/full/record", b"old", 0o600)
            with pytest.raises(OSError) as caught:
                safepath.write_file(f"{tree}/full/record", b"x" * 100_000, 0o600)
            assert caught.value.errno == errno.ENOSPC
            assert (safepath.read_file(f"{tree}/full/record", 10), os.listdir(f"{tree}/full")) == (b"old", ["record"])
        finally:
            subprocess.run(["umount", f"{tree}/full"], check=True)

    def test_a_killed_writer_leaves_what_the_next_uses_up(self, tree: str) -> None:
        """A draft that was left behind, however long, is not in the way, and is gone afterwards."""
        write(f"{tree}/.record.new", "half of something long")
        safepath.write_file(f"{tree}/record", b"new", 0o600)
        assert (safepath.read_file(f"{tree}/record", 10), os.listdir(tree)) == (b"new", ["record"])

    def test_writers_and_readers_at_once(self, tree: str) -> None:
        """With four writers, a reader only ever sees what one of them wrote, whole."""
        path = f"{tree}/record"
        texts = [bytes([65 + i]) * 5000 for i in range(4)]
        safepath.write_file(path, texts[0], 0o600)
        errors: list[BaseException] = []

        def rewrite(text: bytes) -> None:
            try:
                for _ in range(50):
                    safepath.write_file(path, text, 0o600)
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=rewrite, args=(text,)) for text in texts]
        for thread in threads:
            thread.start()
        seen = set()
        while any(thread.is_alive() for thread in threads):
            seen.add(safepath.read_file(path, 10_000))
        for thread in threads:
            thread.join()
        assert (set(), []) == (seen - set(texts), errors)
        assert os.listdir(tree) == ["record"]


class TestCreateFile:
    def test_is_new_and_ours(self, tree: str) -> None:
        """What had the name is gone, a link with it; the new file is empty, and root's alone."""
        write(f"{tree}/target", "theirs")
        symlink(f"{tree}/target", f"{tree}/file")
        os.close(safepath.create_file(f"{tree}/file"))
        status = os.lstat(f"{tree}/file")
        assert (stat.S_IFREG | 0o600, 0, os.geteuid()) == (status.st_mode, status.st_size, status.st_uid)
        assert safepath.read_file(f"{tree}/target", 10) == b"theirs"


class TestOpenLock:
    def test_is_the_same_file_each_time(self, tree: str) -> None:
        """Who comes second opens what the first one made."""
        first, second = safepath.open_lock(f"{tree}/lock"), safepath.open_lock(f"{tree}/lock")
        try:
            assert os.path.samestat(os.fstat(first), os.fstat(second))
        finally:
            os.close(first)
            os.close(second)

    @pytest.mark.parametrize("operation", [create, lock])
    def test_not_where_others_write(self, tree: str, operation: Operation) -> None:
        """A directory that others can write is no place for it."""
        mkdir(f"{tree}/shared", mode=0o777)
        with pytest.raises(UnsafePathError, match="no place for a file of ours"):
            operation(f"{tree}/shared/lock")
        assert os.listdir(f"{tree}/shared") == []


class TestReadFile:
    def test_limit(self, tree: str) -> None:
        """A file of just the limit is read; one byte more is EFBIG, with the path."""
        path = write(f"{tree}/a", "12345")
        assert safepath.read_file(path, 5) == b"12345"
        with pytest.raises(OSError) as caught:
            safepath.read_file(path, 4)
        assert (errno.EFBIG, path) == (caught.value.errno, caught.value.filename)

    def test_a_directory_is_no_file(self, tree: str) -> None:
        """A directory is refused."""
        with pytest.raises(UnsafePathError, match=r"a directory owned by .* where a file was expected"):
            safepath.read_file(tree, 10)

    @pytest.mark.needs_root
    @pytest.mark.parametrize(
        ("uid", "mode", "directory_mode"), [(HOSTILE, 0o600, 0o755), (0, 0o666, 0o755), (0, 0o600, 0o777)]
    )
    def test_trusted(self, tree: str, uid: int, mode: int, directory_mode: int) -> None:
        """A record that another user owns, can write or can replace, is not trusted."""
        mkdir(f"{tree}/state", mode=directory_mode)
        path = write(f"{tree}/state/record", "{}", uid, mode)
        with pytest.raises(UnsafePathError, match="others could have written"):
            safepath.read_file(path, 10, trusted=True)
        assert safepath.read_file(path, 10) == b"{}"


class TestRemoveFile:
    def test_removes(self, tree: str) -> None:
        """A file goes, and so does a link, without what it points to; what is missing is fine, at any depth."""
        write(f"{tree}/target")
        symlink("target", f"{tree}/link")
        for name in ("link", "link", "no/such/thing"):
            safepath.remove_file(f"{tree}/{name}")
        assert os.listdir(tree) == ["target"]

    def test_a_directory_stays(self, tree: str) -> None:
        """A directory is not removed, and the error has its path."""
        mkdir(f"{tree}/a")
        with pytest.raises(IsADirectoryError) as caught:
            safepath.remove_file(f"{tree}/a")
        assert f"{tree}/a" == caught.value.filename


def test_paths_are_absolute() -> None:
    """A relative path is a mistake of the caller's, and a NUL is one too."""
    for operation in OPERATIONS:
        for path in ("relative/path", "", "/a\0b"):
            with pytest.raises(ValueError):
                operation(path)


def test_bytes_and_strange_names(tree: str) -> None:
    """Names that are not UTF-8, hold newlines, or go deeper than PATH_MAX, as str or bytes, are names."""
    uid, gid = os.geteuid(), os.getegid()
    name = b"\xff\n*"
    safepath.make_directory(os.fsencode(tree) + b"/" + name, 0o700, uid, gid)
    os.close(safepath.open_log(f"{tree}/{os.fsdecode(name)}/log", 0o600, uid, gid))
    deep = tree + "/deep" + ("/" + "d" * 200) * 25
    safepath.make_directory(deep, 0o700, uid, gid)
    safepath.write_file(f"{deep}/file", b"found", 0o600)
    assert (safepath.read_file(f"{deep}/file", 10), os.listdir(os.fsencode(tree) + b"/" + name)) == (b"found", [b"log"])
    subprocess.run(["rm", "-r", f"{tree}/deep"], check=True)


def test_loops_end(tree: str) -> None:
    """Links in a circle are refused after forty; forty in a row are followed."""
    symlink("loop", f"{tree}/loop")
    mkdir(f"{tree}/0")
    for i in range(1, 42):
        symlink(str(i - 1), f"{tree}/{i}")
    source(f"{tree}/40")
    for name in ("loop", "41"):
        with pytest.raises(UnsafePathError, match="after 40 others"):
            source(f"{tree}/{name}")


def test_root_itself() -> None:
    """The root directory is a path like any other."""
    fd = safepath.open_source("/")
    try:
        assert os.path.samestat(os.stat("/"), os.fstat(fd))
    finally:
        os.close(fd)


def test_interrupted_calls_are_made_again(tree: str) -> None:
    """A signal every 100 microseconds spoils nothing."""
    arrived = []
    old = signal.signal(signal.SIGALRM, lambda *_: arrived.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
    uid, gid = os.geteuid(), os.getegid()
    try:
        for i in range(200):
            safepath.make_directory(f"{tree}/a/{i}", 0o700, uid, gid)
            os.close(safepath.open_log(f"{tree}/a/{i}/log", 0o600, uid, gid))
            safepath.write_file(f"{tree}/a/{i}/record", b"x", 0o600)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert arrived
    assert {"log", "record"} == set(os.listdir(f"{tree}/a/199"))


@pytest.mark.parametrize("missing", ["no/such", "file/below"])
def test_errors_name_the_path(tree: str, missing: str) -> None:
    """Whatever the kernel says, the error has the path that was asked for, or that was refused."""
    write(f"{tree}/file")
    for operation in (log, source, directory, read, save, create, lock):
        with pytest.raises(OSError) as caught:
            operation(f"{tree}/{missing}")
        assert caught.value.filename in (f"{tree}/{missing}", f"{tree}/file")
