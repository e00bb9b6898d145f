"""What the tests on slow hosts run in place of a new interpreter does what that does."""

from __future__ import annotations

import subprocess

import pytest

from tests.cgroup.hosts import eventually
from tests.cli.conftest import CommandLine
from tests.preloaded import Preloaded

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

CONFIG = "processes: [{name: web, executable: /bin/sh, args: [-c, 'echo out; echo err >&2; exit 3']}]\n"


@pytest.mark.parametrize("words", ["list", "run web", "start nobody", "nothing", ""])
def test_it_does_what_a_new_interpreter_does(bpm: CommandLine, words: str) -> None:
    """The same output on each stream, and the same status."""
    bpm.root.add_job("web", CONFIG)
    preloaded = Preloaded()
    expected, actual = bpm(*words.split()), preloaded.run(words.split(), bpm.environment, timeout=60)
    preloaded.close()

    assert (expected.stdout, expected.stderr) == (actual.stdout, actual.stderr)
    assert expected.returncode == actual.returncode


def test_it_ends_with_who_made_it(bpm: CommandLine) -> None:
    """It is there until it is closed, and nothing of it is left then."""
    preloaded = Preloaded()
    preloaded.run(["version"], bpm.environment, timeout=60)
    before = find_servers()
    preloaded.close()

    assert (1, True) == (len(before), eventually(lambda: not find_servers()))


def find_servers() -> list[str]:
    """Those of this session."""
    done = subprocess.run(["pgrep", "-s", "0", "-f", "tests.preloaded"], capture_output=True, text=True, check=False)
    return done.stdout.split()
