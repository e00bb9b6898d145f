"""run(): what subprocess.run means, sentence by sentence."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from bpm import (
    Bind,
    BpmError,
    Prepared,
    ProcessFailed,
    ProcessTimeout,
    ProgramNotFound,
    ProgramNotPermitted,
    Sandbox,
    SpawnError,
)
from tests.sandbox.leavings import leavings

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]


def test_files_and_descriptors_are_streams(prepared: Prepared, tmp_path: Path) -> None:
    """An open file and a number are as good as a pipe."""
    (tmp_path / "in").write_bytes(b"from a file")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "wb") as target:
        prepared.run(["cat"], stdin=source, stdout=target.fileno())

    assert b"from a file" == (tmp_path / "out").read_bytes()


def test_its_streams_are_ours_by_default() -> None:
    """None is the caller's own stdin, stdout and stderr."""
    code = "import bpm; bpm.Sandbox.system().run(['sh', '-c', 'cat; echo err >&2'])"
    done = subprocess.run([sys.executable, "-c", code], input=b"in", capture_output=True, check=True)

    assert (b"in", b"err\n") == (done.stdout, done.stderr)


def test_a_closed_stream_of_ours_is_closed_inside() -> None:
    """As with subprocess; and nothing else gets its number."""
    code = "import bpm, os; os.close(0); print(bpm.Sandbox.system().run(['sh', '-c', 'test -e /dev/stdin']).returncode)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "1\n" == done.stdout


def test_a_failed_check_tells_all(prepared: Prepared) -> None:
    """How it ended, in words, with time and memory; and it is subprocess's error."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        prepared.run(["sh", "-c", "exit 7"], check=True)
    error = caught.value

    assert isinstance(error, ProcessFailed)
    assert isinstance(error, BpmError)
    assert str(error).startswith("Command ['sh', '-c', 'exit 7'] failed: exit status 7; 0.")
    assert "MiB of memory" in str(error)
    assert str(error) == str(pickle.loads(pickle.dumps(error)))


def test_a_timeout_kills_and_says_what_became_of_it(prepared: Prepared) -> None:
    """It is subprocess's error, and has the ending."""
    with pytest.raises(ProcessTimeout) as caught:
        prepared.run(["sleep", "9"], timeout=0.05)

    assert isinstance(caught.value, subprocess.TimeoutExpired)
    assert caught.value.ending is not None
    assert ("killed", -9) == (caught.value.ending.reason, caught.value.ending.returncode)


def test_a_missing_program_is_told_from_one_that_may_not_run(prepared: Prepared) -> None:
    """Each is subprocess's exception, and a SpawnError whose text says what is wrong."""
    with pytest.raises(ProgramNotFound, match="there is no no-such-program in any directory of PATH"):
        prepared.run(["no-such-program"])
    with pytest.raises(ProgramNotPermitted, match="/etc/passwd is not executable"):
        prepared.run(["/etc/passwd"])


def test_a_program_that_only_the_host_has_is_told(open_directory: Path) -> None:
    """With what would bring it in; so is the interpreter of one that is there."""
    program = open_directory / "program"
    program.touch(0o755)
    for sandbox, told in (
        (Sandbox.system(), f"{program} exists on the host, but nothing mounts it into the container; a Bind"),
        (Sandbox(mounts=[Bind("/bin/true", str(program))]), "cannot find its interpreter: /lib.* exists on the host"),
    ):
        with pytest.raises(ProgramNotFound, match=told) as caught:
            sandbox.run([program])
        assert str(program) == caught.value.filename


def test_a_path_with_directories_that_are_not_inside(prepared: Prepared) -> None:
    """As the caller's own often has."""
    with pytest.raises(ProgramNotFound, match="there is no nothing in any directory of PATH"):
        prepared.run(["nothing"], env={"PATH": "/root/bin:/usr/bin"})


@pytest.mark.parametrize("size", [2 * 2**20, 200_000])
def test_too_large_an_environment_is_a_clear_error(prepared: Prepared, size: int) -> None:
    """2 MB, or one variable of more than the kernel takes: E2BIG, and it says what is too long."""
    with pytest.raises(SpawnError, match=r"E2BIG.*arguments and environment take \d+ bytes") as caught:
        prepared.run(["true"], env={"BIG": "x" * size, "PATH": "/usr/bin"})

    assert errno.E2BIG == caught.value.errno


@pytest.mark.parametrize("env", [{"A": "b\0"}, {"": "x"}, {"A=B": "c"}, {"A\0": ""}])
def test_what_no_environment_can_hold_is_refused(prepared: Prepared, env: dict[str, str]) -> None:
    """By a ValueError, before anything is made."""
    with pytest.raises(ValueError):
        prepared.run(["true"], env=env)


def test_refused_arguments_leave_nothing(prepared: Prepared) -> None:
    """Whatever is wrong with the arguments, no pipe stays open."""
    before = leavings()
    for args, keys in (
        ([], {}),
        (["a\0"], {"stdin": -1, "stdout": -1}),
        (["true"], {"stdout": -7}),
        (["true"], {"pass_fds": [-1]}),
        (["true"], {"pass_fds": [999]}),
        (["true"], {"cwd": "/proc"}),
        (["true"], {"cwd": "/nowhere"}),
        ([3], {}),
    ):
        with pytest.raises((ValueError, TypeError, BpmError)):
            prepared.run(args, **keys)  # type: ignore[arg-type]

    assert before == leavings()


def test_passed_descriptors_keep_their_numbers(prepared: Prepared) -> None:
    """Low ones, where init has its own, and high ones; and nothing else is open inside."""
    source = os.memfd_create("passed")
    os.write(source, b"hello")
    numbers = (3, 4, 5, 6, 7, 8, 500)
    code = f"""
import os, bpm
fds = {numbers}
for fd in fds:
    os.dup2({source}, fd)
done = bpm.Sandbox.system().run(["sh", "-c", "ls /proc/self/fd; cat <&3"], pass_fds=fds, capture_output=True, text=True)
os.lseek({source}, 0, 0)
print(done.stdout.split())
"""
    done = subprocess.run([sys.executable, "-c", code], pass_fds=[source], capture_output=True, text=True, check=False)
    os.close(source)
    # The directory that ls reads takes the first free number, 9.
    assert str([str(fd) for fd in sorted([0, 1, 2, *numbers, 9], key=str)]) in done.stdout, done


def test_the_program_can_write_where_init_had_its_own(prepared: Prepared) -> None:
    """A passed pipe is the program's, and closed when it closes it."""
    code = "import os, sys, time; fd = int(sys.argv[1]); os.write(fd, b'hello'); os.close(fd); time.sleep(9)"
    ours, theirs = os.pipe()
    process = prepared.popen(["/usr/bin/python3", "-c", code, str(theirs)], pass_fds=[theirs])
    os.close(theirs)
    try:
        assert (b"hello", b"") == (os.read(ours, 100), os.read(ours, 100))
    finally:
        process.kill()
        process.wait()
        os.close(ours)
