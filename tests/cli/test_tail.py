"""The ends of log files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpm import Environment, User
from bpm.cli import tail as tail_module
from bpm.cli.tail import LogTail, find_last_lines, follow, show

pytestmark = pytest.mark.same_everywhere


def last_lines(data: bytes, count: int) -> bytes:
    """What tail(1) shows, by another way than ours."""
    return b"".join(data.splitlines(keepends=True)[-count:]) if count > 0 else b""


def tail_of(path: Path | str) -> LogTail:
    """A log, opened as a process's are."""
    process = Environment("/", User()).process("web")
    return LogTail(str(path), process.open_log)


def drain(tail: LogTail) -> bytes:
    return b"".join(tail.read_new())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log file's path."""
    return tmp_path / "web.stdout.log"


def rotate_by_copying(log: Path) -> None:
    """What logrotate's copytruncate does."""
    os.truncate(log, 0)


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


@given(st.lists(st.sampled_from([b"a", b"\n", b"bc", b"\n\n", b"\0"]), max_size=30), st.integers(0, 12))
def test_the_last_lines_are_found(parts: list[bytes], count: int) -> None:
    """The last lines begin where they do, whatever the size of the blocks that are read."""
    data = b"".join(parts)
    fd = os.memfd_create("log")
    before = tail_module.BLOCK
    try:
        os.write(fd, data)
        for block in (1, 2, 3, 7, before):
            tail_module.BLOCK = block
            assert last_lines(data, count) == data[find_last_lines(fd, count) :]
    finally:
        tail_module.BLOCK = before
        os.close(fd)


def test_only_the_end_of_a_huge_file_is_read(log: Path) -> None:
    """The last lines of a file of 1 TiB are found at once."""
    log.touch()
    os.truncate(log, 1 << 40)
    append(log, b"\n1\n2\n3\n")
    tail = tail_of(str(log))

    tail.seek_last_lines(2)

    assert b"2\n3\n" == drain(tail)
    tail.close()


def test_what_is_appended_is_shown(log: Path) -> None:
    """What is written after the last look is shown by the next, and nothing twice."""
    append(log, b"old\n")
    tail = tail_of(str(log))
    tail.seek_last_lines(0)
    seen = []
    for data in (b"", b"one\ntw", b"o\n", b"", b"three\n"):
        append(log, data)
        seen.append(drain(tail))

    assert [b"", b"one\ntw", b"o\n", b"", b"three\n"] == seen
    tail.close()


@pytest.mark.parametrize("after", [b"x\n", b"12345678\n", b"much more than there was before\n"])
def test_a_cut_file_is_shown_from_its_beginning(log: Path, after: bytes) -> None:
    """A file that was cut is shown from its beginning, also when it has grown past its old size meanwhile."""
    append(log, b"abcdefgh\n")
    tail = tail_of(str(log))
    assert b"abcdefgh\n" == drain(tail)

    rotate_by_copying(log)
    append(log, after)

    assert after == drain(tail)
    tail.close()


def test_a_renamed_file_is_read_on_until_its_successor_is_written_to(log: Path) -> None:
    """Nothing is lost while a process still writes to the renamed file, and nothing of the new one."""
    append(log, b"one\n")
    tail = tail_of(str(log))
    assert b"one\n" == drain(tail)

    renamed = log.rename(f"{log}.1")
    append(renamed, b"two\n")
    assert b"two\n" == drain(tail)
    log.touch()
    append(renamed, b"three\n")
    assert b"three\n" == drain(tail)
    append(renamed, b"four\n")
    append(log, b"five\n")
    assert b"four\nfive\n" == drain(tail)
    append(log, b"six\n")
    assert b"six\n" == drain(tail)
    tail.close()


def test_a_file_may_appear_later(log: Path) -> None:
    """A file that was not there is shown once it is."""
    tail = tail_of(str(log))
    assert (False, b"") == (tail.exists, drain(tail))

    append(log, b"here\n")

    assert (b"here\n", True) == (drain(tail), tail.exists)
    tail.close()


def test_a_file_that_vanishes_is_kept(log: Path) -> None:
    """A removed file is read on: its process may still write to it."""
    append(log, b"one\n")
    tail = tail_of(str(log))
    with log.open("ab") as file:
        log.unlink()
        file.write(b"two\n")

    assert b"one\ntwo\n" == drain(tail)
    tail.close()


def test_a_link_is_refused(log: Path) -> None:
    """A symbolic link in a log file's place is refused, by name."""
    log.symlink_to("/etc/passwd")

    with pytest.raises(OSError, match=f"refusing to open symlink at {log}"):
        tail_of(str(log))


def test_a_fifo_is_refused_without_waiting(log: Path) -> None:
    """A FIFO in a log file's place is refused, though nobody writes to it."""
    os.mkfifo(log)

    with pytest.raises(OSError, match="a FIFO owned by root where a file was expected"):
        tail_of(str(log))


def test_a_link_that_comes_later_is_refused(log: Path) -> None:
    """A link that takes a followed file's place is refused, too."""
    append(log, b"one\n")
    tail = tail_of(str(log))
    drain(tail)
    log.unlink()
    log.symlink_to("/etc/passwd")

    with pytest.raises(OSError, match="refusing to open symlink"):
        drain(tail)
    tail.close()


def test_followed_files_are_told_apart(tmp_path: Path) -> None:
    """When another file than the last one is written to, its name comes first."""
    out, err = tmp_path / "out", tmp_path / "err"
    append(out, b"o1\n")
    append(err, b"e1\n")
    tails = [tail_of(str(out)), tail_of(str(err))]
    written: list[bytes] = []
    steps = iter([(err, b"e2\n"), (out, b"o2\n"), (out, b"o3\n"), (err, b"e3\n")])

    def wait() -> bool:
        step = next(steps, None)
        if step is not None:
            append(*step)
        return step is not None

    last = show(tails, True, written.append)
    follow(tails, last, written.append, wait)

    text = b"".join(written).decode().replace(str(tmp_path), "")
    assert "==> /out <==\no1\n\n==> /err <==\ne1\ne2\n\n==> /out <==\no2\no3\n\n==> /err <==\ne3\n" == text
    for tail in tails:
        tail.close()
