"""run(): what subprocess.run means, sentence by sentence."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bpm import BpmError, Prepared, ProcessFailed, ProcessTimeout, ProgramNotFound, ProgramNotPermitted, SpawnError
from tests.sandbox.leavings import leavings

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]


def both(prepared: Prepared, *args: Any, **keys: Any) -> tuple[Any, Any]:
    """What subprocess makes of arguments, and what we make of them: results or exceptions, as plain values."""
    return plain(lambda: subprocess.run(*args, **keys)), plain(lambda: prepared.run(*args, **keys))


def plain(run: Any) -> Any:
    try:
        done = run()
    except subprocess.CalledProcessError as error:
        return "CalledProcessError", error.cmd, error.returncode, error.output, error.stderr
    except subprocess.TimeoutExpired as error:
        return "TimeoutExpired", error.cmd, round(error.timeout, 1), error.output, error.stderr
    except FileNotFoundError as error:
        return "FileNotFoundError", error.errno
    except PermissionError as error:
        return "PermissionError", error.errno
    except (ValueError, TypeError) as error:
        return type(error).__name__
    return done.args, done.returncode, done.stdout, done.stderr


SCRIPT = "cat; echo out; echo err >&2; exit 3"


@pytest.mark.parametrize(
    ("args", "keys"),
    [
        (["true"], {}),
        (["sh", "-c", SCRIPT], {"input": b"in\n", "capture_output": True}),
        (["sh", "-c", SCRIPT], {"input": "in\n", "capture_output": True, "text": True}),
        (["sh", "-c", SCRIPT], {"input": "\u00e4\n", "capture_output": True, "encoding": "latin-1"}),
        (["sh", "-c", SCRIPT], {"input": b"", "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}),
        (["sh", "-c", SCRIPT], {"stdin": subprocess.DEVNULL, "capture_output": True, "check": True}),
        (["sh", "-c", SCRIPT], {"input": b"in\n", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}),
        (["sh", "-c", "kill -TERM $$"], {}),
        (["sh", "-c", "kill -TERM $$"], {"check": True}),
        (["sh", "-c", "exit 255"], {}),
        (["printf", "a\\r\\nb\\rc"], {"capture_output": True, "universal_newlines": True}),
        ("echo $0 hello", {"shell": True, "capture_output": True}),
        ("true", {}),
        (b"true", {}),
        (Path("/bin/true"), {}),
        ([b"echo", "x"], {"capture_output": True}),
        (["sleep", "5"], {"timeout": 0.1}),
        (["sh", "-c", "echo early; sleep 5"], {"timeout": 0.2, "capture_output": True}),
        (["no-such-program"], {}),
        (["/etc/passwd"], {}),
        (["/no/such/directory/program"], {}),
        (["echo", "a\0b"], {}),
        (["true"], {"input": b"", "stdin": subprocess.PIPE}),
        (["true"], {"stdout": subprocess.PIPE, "capture_output": True}),
        (["cat"], {"input": "text", "capture_output": True}),
        (["pwd"], {"cwd": "/usr", "capture_output": True}),
        (["env"], {"env": {"A": "1", "PATH": "/usr/bin"}, "capture_output": True}),
        (["cat"], {"input": b"x" * 1_000_000, "capture_output": True}),
        (["true"], {"input": b"x" * 1_000_000}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_it_answers_as_subprocess_does(prepared: Prepared, args: Any, keys: dict[str, Any]) -> None:
    """The same value, or the same exception with the same fields."""
    theirs, ours = both(prepared, args, **keys)

    assert theirs == ours


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
