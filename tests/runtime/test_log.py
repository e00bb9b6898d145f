"""bpm.log: the shape of a line, as operators' tools read it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from bpm.runtime.log import Log, timestamp

pytestmark = pytest.mark.same_everywhere


@pytest.fixture
def written(tmp_path: Path):
    """A log, and a function that reads its lines."""
    path = tmp_path / "bpm.log"
    log = Log(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "bpm.start", {"job": "j", "process": "p"})
    yield log, lambda: path.read_text().splitlines()
    log.close()


def test_a_line_is_lagers(written):
    """An event is one JSON line with just these keys, in this order."""
    log, read = written
    log.info("starting")
    (line,) = read()
    stamp = re.search(r'"timestamp":"([^"]+)"', line).group(1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", stamp)
    assert line == (
        f'{{"timestamp":"{stamp}","level":"info","source":"bpm","message":"bpm.start.starting",'
        '"data":{"job":"j","process":"p","session":"1"}}'
    )


def test_tasks_are_numbered_sessions(written):
    """What begins within a command has a session below the command's, and a name below its name."""
    log, read = written
    log.begin("acquiring-lifecycle-lock").info("starting")
    log.begin("start-process").info("duplicate-mount", mount="/x")
    assert [
        ("bpm.start.acquiring-lifecycle-lock.starting", "1.1"),
        ("bpm.start.start-process.duplicate-mount", "1.2"),
    ] == [(entry["message"], entry["data"]["session"]) for entry in map(json.loads, read())]


def test_an_error_is_in_the_data(written):
    """An error is a line of level error, with the reason in its data and beside it, all on one line."""
    log, read = written
    log.error("failed-to-parse-config", ValueError("a\nb"))
    (entry,) = map(json.loads, read())
    assert ("error", "a\nb", "a\nb") == (entry["level"], entry["data"]["error"], entry["error"])


def test_nanoseconds_are_kept():
    """A timestamp has all nine digits, also where they are zeros."""
    assert "2026-11-22T09:52:20.000000958Z" == timestamp(1795341140_000000958)
