"""The example of docs/example, taken as `make run` takes it."""

from __future__ import annotations

import os
import pwd
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import CHECKOUT

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

EXAMPLE = CHECKOUT / "docs/example"


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """bpm of this checkout, as a program."""
    program = tmp_path / "bpm"
    program.write_text(f'#!/bin/sh\nPYTHONPATH={CHECKOUT} exec {sys.executable} -m bpm "$@"\n')
    program.chmod(0o755)
    return program


def begin_tour(command: Path, directory: Path) -> subprocess.Popen[str]:
    """Begin the tour in a session of its own, as from a terminal; its root is made below ``directory``."""
    return subprocess.Popen(
        [EXAMPLE / "tour", command],
        env={"PATH": os.environ["PATH"], "TMPDIR": str(directory)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        # bash cannot trap what was ignored when it began.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def left_of(output: str, directory: Path) -> list[str]:
    """What there still is of a tour."""
    users = [name for name in re.findall(r"bpm-tour-\d+", output) if name in {user.pw_name for user in pwd.getpwall()}]
    found = [str(path) for path in directory.glob("bpm-tour.*")]
    mounted = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    return users + found + mounted


def listing() -> list[str]:
    return sorted(f"{path} {path.lstat().st_mtime_ns}" for path in EXAMPLE.rglob("*"))


def test_the_tour_shows_what_it_says(command: Path, open_directory: Path) -> None:
    """The tour ends well, has shown every command, and has left nothing, in the checkout neither."""
    before = listing()

    with begin_tour(command, open_directory) as tour:
        output = tour.communicate(timeout=100)[0]

    assert 0 == tour.returncode, output
    for words in ("start", "stop", "list", "logs", "run"):
        assert f"\n$ bpm {words} " in output or f"\n$ bpm {words}\n" in output
    assert "killed by SIGKILL, out of memory" in output
    assert "No process, no mount, no cgroup, no file" in output
    assert [] == left_of(output, open_directory)
    assert before == listing()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_tour_that_is_interrupted_cleans_up(command: Path, open_directory: Path, number: signal.Signals) -> None:
    """Interrupted while its jobs run, the tour ends at once, and leaves nothing."""
    with begin_tour(command, open_directory) as tour:
        assert tour.stdout is not None
        output = ""
        while "$ bpm list" not in output:
            line = tour.stdout.readline()
            assert line, output
            output += line
        os.killpg(tour.pid, number)
        output += tour.communicate(timeout=60)[0]

    assert 128 + number == tour.returncode, output
    assert [] == left_of(output, open_directory)


def test_a_tour_that_is_not_true_fails(command: Path, open_directory: Path) -> None:
    """When a step does not do what the tour says, the tour fails, says which, and leaves nothing."""
    command.write_text(command.read_text().replace("exec", '[ "$1" != list ] || exit 0; exec', 1))

    with begin_tour(command, open_directory) as tour:
        output = tour.communicate(timeout=60)[0]

    assert 1 == tour.returncode
    assert "tour: what was printed last does not say: web +[0-9]+ +running" in output
    assert [] == left_of(output, open_directory)
