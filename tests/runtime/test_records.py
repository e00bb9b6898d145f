"""Records: what is written is read back, and nothing else is taken for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from bpm.errors import RecordError
from bpm.layout import Layout
from bpm.runtime import ExitRecord, Records, SpawnStop, StateRecord
from tests.strategies import NAMES

STATE = StateRecord(
    container_id="bpm-web",
    job="web",
    process="web",
    phase="running",
    boot_id="0c7a2a9e",
    pid=12,
    start_time=3456,
    pidfd_inode=78,
    cgroup=("/sys/fs/cgroup/memory/bpm-web",),
    plan_digest="ab" * 32,
    shutdown_signal="TERM",
    started_ns=1,
)


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(Layout(str(tmp_path)))


@settings(max_examples=40)
@given(NAMES, st.integers(0, 2**63), st.none() | st.builds(SpawnStop, NAMES, st.integers(-1, 99), st.integers(0, 133)))
def test_a_state_record_is_read_back(name: str, number: int, stop: SpawnStop | None):
    """from_json(to_json(record)) is the record."""
    record = evolve(STATE, job=name, process=name, start_time=number, spawn_failure=stop)
    assert record == StateRecord.from_json(record.to_json())


@settings(max_examples=40)
@given(st.none() | st.integers(0, 255), st.none() | st.integers(1, 64), st.booleans(), st.integers(0, 2**63))
def test_an_exit_record_is_read_back(code: int | None, signal: int | None, oom: bool, ns: int):
    """from_json(to_json(record)) is the record."""
    record = ExitRecord(exit_code=code, signal=signal, oom_killed=oom, ended_ns=ns)
    assert record == ExitRecord.from_json(record.to_json())


@pytest.mark.parametrize(("code", "signal", "status"), [(0, None, 0), (6, None, 6), (None, 9, 137), (None, None, None)])
def test_the_status_is_what_a_shell_has(code: int | None, signal: int | None, status: int | None):
    """A signal N is the status 128 + N; an unknown end has none."""
    assert status == ExitRecord(exit_code=code, signal=signal).status


def test_every_truncation_is_refused(records: Records):
    """A record that was cut short anywhere is a RecordError that names its file."""
    text = STATE.to_json()
    records.write(STATE)
    path = records.state_file("bpm-web")
    for length in range(len(text)):
        os.truncate(path, 0)
        with open(path, "r+") as file:
            file.write(text[:length])
        with pytest.raises(RecordError) as caught:
            records.read("bpm-web")
        assert path == caught.value.path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        "\xff",
        STATE.to_json().replace('"running"', '"asleep"'),
        STATE.to_json()[:-1] + ',"x":1}',
    ],
)
def test_what_is_none_of_ours_is_refused(records: Records, text: str):
    """Anything but a record of ours is a RecordError."""
    records.write(STATE)
    Path(records.state_file("bpm-web")).write_text(text, encoding="latin-1")
    with pytest.raises(RecordError):
        records.read("bpm-web")


def test_a_record_belongs_to_its_name(records: Records):
    """A record that was renamed to another container's is refused."""
    records.write(STATE)
    os.rename(records.state_file("bpm-web"), records.state_file("bpm-other"))
    with pytest.raises(RecordError, match="it belongs to bpm-web"):
        records.read("bpm-other")


def test_a_record_that_others_could_write_is_refused(records: Records):
    """A record with a mode that lets anybody write it is refused."""
    records.write(STATE)
    os.chmod(records.state_file("bpm-web"), 0o666)
    with pytest.raises(RecordError):
        records.read("bpm-web")


def test_a_directory_in_its_place_is_refused(records: Records, tmp_path: Path):
    """A directory where a record should be is refused."""
    records.write(STATE)
    os.unlink(records.state_file("bpm-web"))
    os.mkdir(records.state_file("bpm-web"))
    with pytest.raises(RecordError):
        records.read("bpm-web")


def test_records_are_for_root_alone(records: Records):
    """Records have mode 0600, in a directory of mode 0700."""
    records.write(STATE)
    modes = [os.stat(path).st_mode & 0o777 for path in (records.state_file("bpm-web"), records.layout.state)]
    assert [0o600, 0o700] == modes


def test_nothing_is_left_of_removed_records(records: Records):
    """After remove() there is no file, and no record; removing again is fine."""
    records.write(STATE)
    os.close(records.open_exit("bpm-web"))
    assert ("bpm-web",) == records.ids()
    records.remove("bpm-web")
    records.remove("bpm-web")
    assert ([], None, ()) == (os.listdir(records.layout.state), records.read("bpm-web"), records.ids())


def test_an_exit_file_is_always_new(records: Records):
    """What an earlier container wrote about its end is gone when the next one starts."""
    records.write(STATE)
    with open(records.open_exit("bpm-web"), "wb") as file:
        file.write(b"old")
    os.close(records.open_exit("bpm-web"))
    assert b"" == records.read_exit("bpm-web")
