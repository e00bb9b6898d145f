"""From the command line to a command, and from an error to one line."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

import bpm as package
from bpm.cli import COMMANDS, main
from bpm.cli.commands import OPEN_TO_ALL, load_command
from bpm.cli.dispatch import NOT_ROOT
from tests.cli.conftest import CHECKOUT, CommandLine

pytestmark = pytest.mark.same_everywhere

LIGHT = """
import sys
from bpm.cli import main
status = main(sys.argv[1:])
print(status, *sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""

AS_NOBODY = """
import os, sys
from bpm.cli import COMMANDS, main
from bpm.cli.commands import load_command
for name in COMMANDS:
    load_command(name)  # Now, since nobody may not be able to read the checkout.
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
sys.exit(main(sys.argv[1:]))
"""


def python(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of a few lines, in the checkout."""
    return subprocess.run(
        [sys.executable, "-c", program, *words], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_helps(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    """``--help`` and ``help`` print the same for every command: what it does, its usage and all its flags."""
    assert (0, 0) == (main([name, "--help"]), main(["help", name]))

    out, err = capfd.readouterr()
    half = len(out) // 2
    assert (out[:half], "") == (out[half:], err)
    assert f"Usage:\n  bpm {name}" in out
    assert all(f"--{flag.name}" in out for flag in load_command(name).FLAGS)
    assert all(len(line) <= 120 for line in out.splitlines())


def test_help_lists_the_commands(capfd: pytest.CaptureFixture[str]) -> None:
    """``bpm --help`` names every command and what it does."""
    assert 0 == main(["--help"])

    out = capfd.readouterr().out
    assert all(name in out and what in out for name, what in COMMANDS.items())


@pytest.mark.parametrize("words", [["help", "nope"], ["nope", "--help"], ["--", "nope"]], ids=" ".join)
def test_an_unknown_command_is_named(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """A command that is none is an error, wherever it stands."""
    assert 1 == main(words)

    assert ("", 'Error: unknown command "nope" for "bpm"\n') == capfd.readouterr()


def test_a_new_process_imports_only_what_the_command_needs() -> None:
    """``version``, ``help`` and a wrong flag import neither the configuration's nor the extension's libraries."""
    for words in (["version"], ["help"], ["start", "--help"], ["start", "--nope"], ["start"], ["nope"]):
        done = python(LIGHT, *words)
        imported = set(done.stderr.splitlines()[-1].split())
        assert not imported & {"attr", "attrs", "yaml", "_cffi_backend", "argparse", "dataclasses", "typing"}, words
        assert "bpm" in imported


@pytest.mark.needs_root
@pytest.mark.parametrize(
    "words", [[name, "x"] for name in COMMANDS if name not in OPEN_TO_ALL] + [[], ["--version"], ["start"]], ids=str
)
def test_everyone_else_is_refused(words: list[str]) -> None:
    """Who is not root is told so, whatever the command, and nothing else happens."""
    done = python(AS_NOBODY, *words)

    assert (1, "", f"Error: {NOT_ROOT}\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.needs_root
@pytest.mark.parametrize("words", [["--help"], ["help"], ["help", "start"], ["start", "-h"]], ids=" ".join)
def test_everyone_is_helped(words: list[str]) -> None:
    """Help needs no root."""
    done = python(AS_NOBODY, *words)

    assert (0, "") == (done.returncode, done.stderr)


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """What no one foresaw is one line that names it and its place, and exit status 70."""

    def stumble(arguments: object) -> int:
        raise ValueError("two\nlines")

    monkeypatch.setattr("bpm.cli.version.run", stumble)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.delenv("BPM_DEBUG", raising=False)

    assert 70 == main(["version"])

    err = capfd.readouterr().err
    line = stumble.__code__.co_firstlineno + 1
    assert f"Error: this is a bug in bpm: ValueError: two lines at {__file__}:{line} (BPM_DEBUG=1 shows more)\n" == err


def test_debugging_shows_the_way(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """With BPM_DEBUG, a traceback comes before the line."""

    def stumble(arguments: object) -> int:
        raise ValueError("why")

    monkeypatch.setattr("bpm.cli.version.run", stumble)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("BPM_DEBUG", "1")

    assert 70 == main(["version"])

    err = capfd.readouterr().err
    assert err.startswith("Traceback") and err.splitlines()[-1].startswith("Error: this is a bug in bpm: ValueError")


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (package.HostError("there is no user vcap"), 1, "Error: there is no user vcap\n"),
        (OSError(errno.ENOSPC, "No space left on device", "/f"), 1, "Error: /f: No space left on device\n"),
        (OSError(errno.EIO, "Input/output error"), 1, "Error: Input/output error\n"),
        (BrokenPipeError(), 141, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
    ids=repr,
)
def test_what_may_happen_is_worded(
    error: BaseException,
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An error of ours or of the system is one line; an interrupt and a reader that went away are none."""

    def fail(arguments: object) -> int:
        raise error

    monkeypatch.setattr("bpm.cli.version.run", fail)
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    assert status == main(["version"])
    assert ("", text) == capfd.readouterr()


@pytest.mark.needs_root
def test_closed_descriptors_are_no_files(bpm: CommandLine) -> None:
    """With stdin, stdout and stderr closed, nothing that bpm opens takes their numbers and is written to."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/true}]\n")
    closed = " ".join(["exec", *bpm.argv("start", "web"), "<&-", ">&-", "2>&-"])
    done = subprocess.run(["/bin/sh", "-c", closed], env=bpm.environment, check=False)

    assert 0 == done.returncode
    log = bpm.root.path / "sys/log/web/bpm.log"
    assert all(line.startswith('{"timestamp"') for line in log.read_text().splitlines())
    assert "" == (bpm.root.path / "sys/log/web/web.stdout.log").read_text()


@pytest.mark.needs_root
def test_what_is_missing_is_named(bpm: CommandLine) -> None:
    """A missing root and a missing user are one line each."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /bin/true}]\n")

    no_root = bpm("list", BPM_BOSH_ROOT="/nowhere/at/all")
    no_user = bpm("start", "web", BPM_USER="nosuchuser")

    for done, name in ((no_root, "/nowhere/at/all"), (no_user, "nosuchuser")):
        assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n"))
        assert done.stderr.startswith("Error: ") and name in done.stderr
