"""``bpm doctor``, as people and their tools use it."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CommandLine, as_nobody
from tests.cli.typist import Typist


def test_a_host_that_can_start_jobs(bpm: CommandLine) -> None:
    """On a host on which the tests can run, nothing is missing, and what each line means stands below it."""
    done = bpm("doctor")

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("kernel ") and "\nsystemd " in done.stdout


def test_what_is_missing_is_the_exit_status(bpm: CommandLine) -> None:
    """Without its user no job can be started: the line says so, names the knob, and the exit status is 1."""
    done = bpm("doctor", BPM_USER="nosuchuser")

    lines = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    assert 1 == done.returncode
    assert ["user", "missing", "this machine has no user 'nosuchuser', whom processes run as"] in lines
    assert ["knob:", "useradd", "--system vcap, or BPM_USER"] in lines


def test_as_json(bpm: CommandLine) -> None:
    """``--json`` prints a list of objects."""
    found = json.loads(bpm("doctor", "--json").stdout)

    assert {"subject", "state", "found", "consequence", "knob"} == set(found[0])


@pytest.mark.needs_root
def test_everyone_may_ask(bpm: CommandLine) -> None:
    """Who is not root is told that this is less."""
    done = as_nobody(bpm.argv("doctor"), bpm.environment)

    assert (0, "") == (done.returncode, done.stderr)
    assert ["root", "less", "not root"] in [line.split(maxsplit=2) for line in done.stdout.splitlines()]


def test_it_fits_the_terminal(bpm: CommandLine) -> None:
    """In 80 columns, sentences are folded between words."""
    with Typist(bpm.argv("doctor"), bpm.environment, rows=100, columns=80) as typist:
        typist.read_until("systemd")
        assert 0 == typist.wait()
        lines = typist.seen.decode().splitlines()

    assert [] == [line for line in lines if len(line) > 80 and len(line.split()) > 1]
