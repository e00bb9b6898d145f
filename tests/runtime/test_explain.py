"""Why a program could not be executed, told from the files of the host. Each reason is met by a real start, too."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm import Environment, SpawnError
from bpm.errors import BpmError
from tests.conftest import BoshRoot

pytestmark = pytest.mark.needs_root

INSIDE = "/var/vcap/jobs/web/bin/program"


@pytest.fixture
def failure(environment: Environment, bosh_root: BoshRoot) -> Callable[..., BpmError]:
    """Starts a program that cannot run, and gives the error."""

    def fail(make: Callable[[Path], None], executable: str = INSIDE, keys: str = "") -> BpmError:
        directory = bosh_root.add_job("web", f"processes: [{{name: web, executable: {executable}{keys}}}]")
        make(directory / "bin/program")
        with pytest.raises(SpawnError) as caught:
            environment.process("web").start()
        assert "program" == caught.value.stage
        return caught.value

    return fail


def reason(error: BpmError) -> str:
    text = str(error)
    assert text.startswith("cannot start web: program: ")
    return text.removeprefix("cannot start web: program: ")


def script(text: str, mode: int = 0o755) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.write_text(text)
        path.chmod(mode)

    return make


def test_missing(failure):
    """A file that does not exist is named."""
    assert f"{INSIDE} does not exist" == reason(failure(lambda path: None))


def test_missing_directory(failure):
    """Of a path whose directory does not exist, that is named."""
    assert "/usr/none/such does not exist: there is no /usr/none" == reason(
        failure(lambda path: None, "/usr/none/such")
    )


def test_outside(failure, bosh_root: BoshRoot):
    """A file that only the host has is said to be just there."""
    program = bosh_root.path / "outside"
    program.write_text("#!/bin/sh\n")
    told = f"{program} exists on the host, but nothing mounts it into the container"
    expected = f"{told}; `bpm explain web {program}` tells which key would"
    assert expected == reason(failure(lambda path: None, str(program)))


def test_covered(failure, open_directory: Path):
    """A file that the host has where the container has something else is said to be there, and what covers it."""
    program = open_directory / "outside"
    program.write_text("#!/bin/sh\n")
    text = reason(failure(lambda path: None, str(program)))
    assert text.startswith(f"{program} exists on the host, but in the container /var/tmp is ")
    assert text.endswith("(because default: temporary directory)")


def test_not_executable(failure, job_user):
    """A file without permission to execute is named, with its owner and mode."""
    error = failure(script("#!/bin/sh\n", 0o644))
    who = f"{job_user.pw_uid}:{job_user.pw_gid}"
    assert f"{INSIDE} is not executable by {who} (owner 0:0, mode 0644)" == reason(error)


def test_not_reachable(failure, job_user):
    """A directory on the way that the user may not enter is named."""

    def make(path: Path) -> None:
        script("#!/bin/sh\n")(path)
        path.parent.chmod(0o700)

    who = f"{job_user.pw_uid}:{job_user.pw_gid}"
    expected = f"{os.path.dirname(INSIDE)} may not be entered by {who} (owner 0:0, mode 0700)"
    assert expected == reason(failure(make))


def test_directory(failure):
    """A directory is no program."""
    assert f"{INSIDE} is a directory" == reason(failure(lambda path: path.mkdir()))


def test_noexec(failure, bosh_root: BoshRoot):
    """A file on a volume from which nothing may be executed is named with that volume, and with its key."""
    volume = f"{bosh_root.path}/data/extra"
    os.mkdir(volume)
    script("#!/bin/sh\n")(Path(volume, "program"))
    error = failure(
        lambda path: None, f"{volume}/program", f", additional_volumes: [{{path: {volume}, mount_only: true}}]"
    )
    told = f"{volume}/program lies on {volume}, which is mounted noexec (because processes[0].additional_volumes[0])"
    assert f"{told}; allow_executions: true would change that" == reason(error)


def test_missing_script_interpreter(failure):
    """Of a script whose interpreter does not exist, both are named."""
    expected = f"the script {INSIDE} cannot find its interpreter: /usr/bin/nope does not exist"
    assert expected == reason(failure(script("#!/usr/bin/nope -x\n")))


def test_carriage_return(failure):
    """A script that was written on another system is told apart from one whose interpreter is missing."""
    expected = f"the script {INSIDE} cannot find its interpreter: its first line ends in a carriage return"
    assert expected == reason(failure(script("#!/bin/sh\r\necho\r\n")))


def test_missing_elf_interpreter(failure):
    """Of a program whose loader does not exist, both are named."""

    def make(path: Path) -> None:
        path.write_bytes(elf(os.uname().machine, interpreter=b"/lib/ld-none.so.1"))
        path.chmod(0o755)

    expected = f"the program {INSIDE} cannot find its interpreter: /lib/ld-none.so.1 does not exist"
    assert expected == reason(failure(make))


def test_other_machine(failure):
    """A program for another machine is named, with that machine."""

    def make(path: Path) -> None:
        path.write_bytes(elf("s390x"))
        path.chmod(0o755)

    assert f"{INSIDE} is for another machine: s390x" == reason(failure(make))


def test_not_in_path(failure):
    """A name that no directory of PATH has is named, with PATH."""
    keys = ", env: {PATH: '/usr/bin:/bin'}"
    expected = "there is no no-such-program in any directory of PATH (/usr/bin:/bin)"
    assert expected == reason(failure(lambda path: None, "no-such-program", keys))


def test_first_in_path(failure, job_user):
    """A name that a directory of PATH has, but not for this user, is named by its path."""
    error = failure(script("#!/bin/sh\n", 0o600), "program")
    who = f"{job_user.pw_uid}:{job_user.pw_gid}"
    assert f"{INSIDE} is not executable by {who} (owner 0:0, mode 0600)" == reason(error)


def test_link(failure):
    """A link is followed as the container would follow it."""
    assert f"{INSIDE} does not exist: it leads to /nowhere, which does not exist" == reason(
        failure(lambda path: path.symlink_to("/nowhere"))
    )


def test_loop(failure):
    """A link that leads to itself is named."""
    expected = f"{INSIDE} leads through too many symbolic links"
    assert expected == reason(failure(lambda path: path.symlink_to("program")))


def elf(machine: str, interpreter: bytes = b"") -> bytes:
    """The first bytes of a 64-bit program: its header, one program header, the interpreter's name."""
    number = {"x86_64": 62, "aarch64": 183, "s390x": 22}[machine]
    order, big = (">", 2) if machine == "s390x" else ("<", 1)
    ident = b"\x7fELF" + bytes([2, big, 1]) + bytes(9)
    header = struct.pack(order + "HHIQQQIHHHHHH", 2, number, 1, 0, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    name = interpreter + b"\0"
    program = struct.pack(order + "IIQQQQQQ", 3 if interpreter else 4, 4, 120, 0, 0, len(name), len(name), 1)
    return ident + header + program + name
