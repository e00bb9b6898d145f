"""The same scripts through subprocess and through a sandbox: only what is in the manual's table differs."""

from __future__ import annotations

import array
import gc
import inspect
import io
import os
import pickle
import re
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bpm import Prepared, Sandbox
from tests.manual import CHECKOUT
from tests.native.callers import in_child

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

PIPE = subprocess.PIPE
SCRIPT = "cat; echo out; echo err >&2; exit 3"
SLOW = "echo early; sleep 0.4; echo late"
BIG = b"x" * 1_000_000
KEPT_BY_LIBC = 0b11 << 31
"""Signals 32 and 33, which libc keeps for its threads: make's leaves them ignored."""

RUNS: list[tuple[Any, dict[str, Any]]] = [
    (["true"], {}),
    ("true", {}),
    (b"true", {}),
    (("true",), {}),
    (Path("/bin/true"), {}),
    ([b"echo", "x"], {"capture_output": True}),
    (["echo", "\udcff"], {"capture_output": True}),
    (["echo", "\ud800"], {"capture_output": True}),
    (["echo", "a\0b"], {}),
    ([3], {}),
    (None, {}),
    (["no-such-program"], {}),
    (["/no/such/directory/program"], {}),
    (["/etc/passwd"], {}),
    (["/usr"], {}),
    (["sh", "-c", "exit 255"], {}),
    (["sh", "-c", "kill -TERM $$"], {}),
    (["sh", "-c", "kill -TERM $$"], {"check": True}),
    ("echo $0 hello", {"shell": True, "capture_output": True}),
    (["echo $0 $1", "a", "b"], {"shell": True, "capture_output": True}),
    (["other", "-c", "echo $0"], {"executable": "/bin/sh", "capture_output": True}),
    (["other", "-c", "echo $0"], {"executable": Path("/bin/sh"), "capture_output": True}),
    (["true"], {"executable": "no-such-program"}),
    ("echo $0", {"shell": True, "executable": "/usr/bin/bash", "capture_output": True}),
    (["sh", "-c", SCRIPT], {"input": b"in\n", "capture_output": True}),
    (["sh", "-c", SCRIPT], {"input": "in\n", "capture_output": True, "text": True}),
    (["sh", "-c", SCRIPT], {"input": "\u00e4\n", "capture_output": True, "encoding": "latin-1"}),
    (["sh", "-c", SCRIPT], {"input": b"", "stdout": PIPE, "stderr": subprocess.STDOUT}),
    (["sh", "-c", SCRIPT], {"stdin": subprocess.DEVNULL, "capture_output": True, "check": True}),
    (["sh", "-c", SCRIPT], {"input": b"in\n", "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}),
    (["cat"], {"input": BIG, "capture_output": True}),
    (["true"], {"input": BIG}),
    (["cat"], {"input": bytearray(b"x"), "capture_output": True}),
    (["cat"], {"input": memoryview(b"x"), "capture_output": True}),
    (["cat"], {"input": array.array("i", [1, 2]), "capture_output": True}),
    (["cat"], {"input": "text", "capture_output": True}),
    (["cat"], {"input": 3, "capture_output": True}),
    (["cat"], {"input": [1], "capture_output": True}),
    (["cat"], {"input": "\u20ac", "encoding": "latin-1", "capture_output": True}),
    (["od", "-c"], {"input": "a\r\nb\n", "text": True, "capture_output": True}),
    (["cat"], {"input": "a\nb\r", "encoding": "utf-16", "capture_output": True}),
    (["true"], {"input": b"", "stdin": PIPE}),
    (["true"], {"stdout": PIPE, "capture_output": True}),
    (["true"], {"stdout": 999}),
    (["true"], {"stdin": io.BytesIO()}),
    (["true"], {"stdin": "name"}),
    (["printf", "a\\r\\nb\\rc"], {"capture_output": True, "universal_newlines": True}),
    (["printf", "\\377"], {"capture_output": True, "encoding": "utf-8"}),
    (["printf", "\\377"], {"capture_output": True, "encoding": "utf-8", "errors": "replace"}),
    (["echo", "x"], {"capture_output": True, "errors": "replace"}),
    (["echo", "x"], {"capture_output": True, "text": False, "encoding": "utf-8"}),
    (["echo", "x"], {"capture_output": True, "text": False, "universal_newlines": True}),
    (["pwd"], {"cwd": "/usr", "capture_output": True}),
    (["pwd"], {"cwd": b"/usr", "capture_output": True}),
    (["pwd"], {"cwd": 3}),
    (["pwd"], {"cwd": "/usr\0"}),
    (["pwd"], {"cwd": "/nowhere"}),
    (["./true"], {"cwd": "/usr/bin"}),
    (["env"], {"env": {"A": "1", "PATH": "/usr/bin"}, "capture_output": True}),
    (["env"], {"env": {b"A": b"1", b"PATH": b"/usr/bin"}, "capture_output": True}),
    (["/usr/bin/env"], {"env": {}, "capture_output": True}),
    (["true"], {"env": {"A": 1}}),
    (["true"], {"env": {"A=B": "1"}}),
    (["true"], {"env": {"A": "1\0"}}),
    (["true"], {"env": {"A": "x" * 200_000, "PATH": "/usr/bin"}}),
    (["true"], {"env": {"PATH": "/nowhere"}}),
    (["true"], {"env": {"PATH": ":/nowhere"}, "cwd": "/usr/bin"}),
    (["passwd"], {"env": {"PATH": "/etc"}}),
    (["passwd", "--help"], {"env": {"PATH": "/etc:/usr/bin"}, "capture_output": True}),
    (["true"], {"pass_fds": [0, 1, 2]}),
    (["true"], {"pass_fds": [999]}),
    (["true"], {"pass_fds": [-1]}),
    (["true"], {"no_such_argument": 1}),
    (["sleep", "5"], {"timeout": 0.1}),
    (["sh", "-c", "echo early; sleep 5"], {"timeout": 0.2, "capture_output": True}),
    (["sh", "-c", "echo early; sleep 5"], {"timeout": 0.2, "capture_output": True, "text": True}),
]


class Way:
    """A way to run programs: subprocess's or ours."""

    def __init__(self, run: Any, popen: Any) -> None:
        self.run = run
        self.popen = popen


Script = Callable[[Way], Any]
SAME: dict[str, Script] = {}
DIFFERENT: dict[str, tuple[str, Script]] = {}


def same(script: Script) -> Script:
    """A script that shall come to the same either way."""
    SAME[script.__name__] = script
    return script


def differs(row: str) -> Callable[[Script], Script]:
    """A script that comes to something else here, of which this row of the manual's table tells."""

    def keep(script: Script) -> Script:
        DIFFERENT[script.__name__] = row, script
        return script

    return keep


def outcome(run: Callable[[], Any]) -> Any:
    """What it comes to: plain values, or subprocess's name of the exception with all that it has in fields."""
    try:
        done = run()
    except Exception as error:
        kinds = [kind.__name__ for kind in type(error).__mro__ if kind.__module__ in ("builtins", "subprocess")]
        names = ("errno", "filename", "cmd", "timeout", "returncode", "output", "stdout", "stderr")
        fields = {name: getattr(error, name, None) for name in names}
        return kinds[0], {**fields, "timeout": fields["timeout"] and round(fields["timeout"], 1)}
    if isinstance(done, subprocess.CompletedProcess):
        return done.args, done.returncode, done.stdout, done.stderr
    return done


@pytest.fixture(scope="module")
def here(_files_made: None) -> Iterator[Way]:
    """A sandbox whose user and environment are the caller's."""
    system = Sandbox.system(user=os.geteuid(), group=os.getegid(), env=dict(os.environ))
    with system.prepare() as prepared:
        yield Way(prepared.run, prepared.popen)


THERE = Way(subprocess.run, subprocess.Popen)
SCRIPT_FILE = Path("/usr/local/bin", f"bpm-test-{os.getpid()}")


@pytest.fixture(scope="module", autouse=True)
def _script_file() -> Iterator[None]:
    """A script without #!, where both find it."""
    SCRIPT_FILE.write_text("exit 7\n")
    SCRIPT_FILE.chmod(0o755)
    yield
    SCRIPT_FILE.unlink()


@pytest.mark.parametrize(("args", "keys"), RUNS, ids=lambda value: str(value)[:40])
def test_run_answers_alike(here: Way, args: Any, keys: dict[str, Any]) -> None:
    """The same value, or the same exception with the same fields."""
    assert outcome(lambda: THERE.run(args, **keys)) == outcome(lambda: here.run(args, **keys))


@same
def completed_processes_have_the_same_attributes(way: Way) -> Any:
    done = way.run(["echo"], capture_output=True)
    again = pickle.loads(pickle.dumps(done))
    return isinstance(done, subprocess.CompletedProcess), vars(done).keys() - {"ending"}, outcome(lambda: again)


@same
def errors_can_be_pickled(way: Way) -> Any:
    return [
        outcome(lambda call=call: pickled(call))  # type: ignore[misc]
        for call in (
            lambda: way.run(["sh", "-c", SCRIPT], check=True, capture_output=True, input=b""),
            lambda: way.run(["sh", "-c", "echo x; sleep 9"], timeout=0.1, capture_output=True),
            lambda: way.run(["no-such-program"]),
            lambda: way.run(["/etc/passwd"]),
        )
    ]


def pickled(call: Callable[[], Any]) -> None:
    try:
        call()
    except Exception as error:
        raise pickle.loads(pickle.dumps(error)) from None


@same
def check_returncode(way: Way) -> Any:
    return outcome(way.run(["true"]).check_returncode), outcome(way.run(["false"]).check_returncode)


def files(way: Way, **keys: Any) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with way.popen(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE, **keys) as process:
            made = [(f.readable(), f.writable(), f.name, *kind(f)) for f in (process.stdin, process.stdout)]
    return [one[:2] + one[3:] for one in made], [warning.category for warning in caught]


def kind(file: Any) -> tuple[Any, ...]:
    if isinstance(file, io.TextIOWrapper):
        return "text", file.encoding, file.errors, file.line_buffering, file.write_through
    return next(one for one in (io.FileIO, io.BufferedReader, io.BufferedWriter) if isinstance(file, one)), file.mode


@same
def files_of_bytes(way: Way) -> Any:
    return [files(way, bufsize=size) for size in (-1, 0, 1, 10, None)]


@same
def files_of_text(way: Way) -> Any:
    return [files(way, bufsize=size, encoding="latin-1", errors="ignore") for size in (-1, 0, 1, 10)]


@same
def bufsize_is_a_number(way: Way) -> Any:
    return way.popen(["true"], bufsize="1")


@same
def text_and_bytes_can_be_mixed_in_writing(way: Way) -> Any:
    with way.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True) as process:
        process.stdin.write("a")
        process.stdin.buffer.write(b"b")
        return process.communicate("c")


@same
def asked_again_after_the_end(way: Way) -> Any:
    process = way.popen(["sh", "-c", "exit 4"])
    return process.wait(), process.poll(), process.returncode, process.wait(timeout=0), process.communicate()


@same
def signals_after_the_end(way: Way) -> Any:
    process = way.popen(["true"])
    process.wait()
    return process.send_signal(signal.SIGTERM), process.terminate(), process.kill(), process.returncode


@same
def signals(way: Way) -> Any:
    codes = []
    for number in (signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1):
        process = way.popen(["cat"], stdin=PIPE)
        assert process.send_signal(0) is None
        process.send_signal(number)
        codes.append(process.wait())
        process.stdin.close()
    return codes


@same
def signals_that_do_not_exist(way: Way) -> Any:
    with way.popen(["cat"], stdin=PIPE) as process:
        return [outcome(lambda number=number: process.send_signal(number)) for number in (999, "TERM")]  # type: ignore[misc]


@same
def signals_that_it_blocks_or_ignores(way: Way) -> Any:
    done = way.run(["grep", "Sig[BI]", "/proc/self/status"], capture_output=True)
    masks = [int(line.split()[1], 16) for line in done.stdout.splitlines()]
    return [mask & ~KEPT_BY_LIBC for mask in masks]


@differs("signals that you ignore")
def signals_that_the_caller_ignores(way: Way) -> Any:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    try:
        return way.run(["sh", "-c", "kill -USR2 $$"]).returncode
    finally:
        signal.signal(signal.SIGUSR2, before)


@same
def waits_that_time_out(way: Way) -> Any:
    with way.popen(["cat"], stdin=PIPE) as process:
        return outcome(lambda: process.wait(timeout=0.05)), outcome(lambda: process.wait(timeout=-1)), process.poll()


@same
def communicate_times_out_and_goes_on(way: Way) -> Any:
    process = way.popen(["sh", "-c", SLOW], stdout=PIPE, stderr=PIPE, text=True)
    return outcome(lambda: process.communicate(timeout=0.2)), process.communicate()


@same
def communicate_times_out_without_pipes(way: Way) -> Any:
    process = way.popen(["sleep", "0.3"])
    return outcome(lambda: process.communicate(timeout=0.1)), process.communicate()


@same
def communicate_takes_no_second_input(way: Way) -> Any:
    process = way.popen(["sh", "-c", SLOW], stdin=PIPE, stdout=PIPE)
    outcome(lambda: process.communicate(b"", timeout=0.1))
    second = outcome(lambda: process.communicate(b"x"))
    process.communicate()
    return second


@same
def communicate_closes_the_pipes(way: Way) -> Any:
    process = way.popen(["cat"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    process.communicate(b"")
    return process.stdin.closed, process.stdout.closed, process.stderr.closed, outcome(process.stdout.fileno)


@same
def communicate_flushes_first(way: Way) -> Any:
    process = way.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True)
    process.stdin.write("first ")
    return process.communicate("then")


@same
def communicate_without_a_pipe_for_its_input(way: Way) -> Any:
    return way.popen(["true"]).communicate(b"x")


@same
def communicate_after_a_line_was_read(way: Way) -> Any:
    answers = []
    for text in (False, True):
        process = way.popen(["printf", "a\\n\\303\\244\\r\\nc"], stdout=PIPE, encoding="utf-8" if text else None)
        answers += [process.stdout.readline(), process.communicate()]
    return answers


@same
def output_is_read_after_the_end(way: Way) -> Any:
    process = way.popen(["printf", "a\\nb"], stdout=PIPE, text=True)
    process.wait()
    with process.stdout:
        return list(process.stdout)


@same
def an_end_can_be_detached(way: Way) -> Any:
    process = way.popen(["echo", "x"], stdout=PIPE)
    with process.stdout.detach() as raw:
        return raw.read(), process.wait()


@same
def output_that_nobody_wants(way: Way) -> Any:
    process = way.popen(["cat", "/dev/zero"], stdout=PIPE, stderr=PIPE)
    process.stdout.close()
    return process.communicate(), process.returncode


@same
def writing_after_closing(way: Way) -> Any:
    with way.popen(["cat"], stdin=PIPE) as process:
        process.stdin.close()
        process.stdin.write(b"x")


@same
def a_block_gives_the_process(way: Way) -> Any:
    process = way.popen(["cat"], stdin=PIPE)
    with process as given:
        return given is process


@same
def a_block_that_ends_with_what_nobody_reads(way: Way) -> Any:
    answers = []
    for data in (b"x", BIG):
        process = way.popen(["true"], stdin=PIPE)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(BrokenPipeError), process:
            process.stdin.write(data)
        answers.append(process.returncode)
    return answers


@same
def the_arguments_are_kept(way: Way) -> Any:
    args = ("true",)
    process = way.popen(args)
    return process.wait(), process.args is args


@differs("all but the arguments is named")
def arguments_by_position(way: Way) -> Any:
    return way.popen(["true"], -1).wait()


@differs("`cwd`")
def a_directory_that_is_relative(way: Way) -> Any:
    return way.run(["pwd"], cwd=".").returncode


@differs('no program: `[]`, `""`')
def no_arguments(way: Way) -> Any:
    return way.run([])


@differs('no program: `[]`, `""`')
def an_empty_argument(way: Way) -> Any:
    return way.run("")


@differs("no stream: `stdout=-7`")
def a_number_that_is_no_stream(way: Way) -> Any:
    return way.run(["true"], stdout=-7)


@(differs("a variable without a name") if sys.version_info < (3, 13) else same)
def a_nameless_variable(way: Way) -> Any:
    return way.run(["/usr/bin/env"], env={"": "1"}, capture_output=True)


@differs("a path that leads through a file")
def a_directory_that_is_none(way: Way) -> Any:
    return way.run(["true"], cwd="/etc/passwd")


@differs("a path that leads through a file")
def a_program_below_a_file(way: Way) -> Any:
    return way.run(["/etc/passwd/true"])


@differs("a script without `#!`")
def a_script_that_does_not_say_who_runs_it(way: Way) -> Any:
    return way.run([str(SCRIPT_FILE)], capture_output=True)


@differs("bytes where text was asked for")
def input_of_the_wrong_kind(way: Way) -> Any:
    return way.run(["cat"], input=b"x", text=True, capture_output=True)


@differs("`communicate()` again, or after closing a pipe")
def communicate_twice(way: Way) -> Any:
    process = way.popen(["echo", "x"], stdout=PIPE)
    return process.communicate(), process.communicate()


@differs("`communicate()` again, or after closing a pipe")
def communicate_with_a_closed_pipe(way: Way) -> Any:
    process = way.popen(["true"], stdout=PIPE)
    process.stdout.close()
    try:
        return process.communicate()
    finally:
        process.wait()


@differs("`communicate()` after a part was read")
def communicate_after_a_part_was_read(way: Way) -> Any:
    process = way.popen(["printf", "a\\nb\\n"], stdout=PIPE, stderr=PIPE)
    return process.stdout.readline(), process.communicate()


@differs("leaving the block by an error")
def a_block_left_by_an_error(way: Way) -> Any:
    with pytest.raises(LookupError), way.popen(["sleep", "0.2"]) as process:
        raise LookupError
    return process.returncode


@differs("what a program leaves running")
def a_program_that_leaves_another_with_its_output(way: Way) -> Any:
    started = time.monotonic()
    way.run("(sleep 0.8 &); true", shell=True, capture_output=True)
    return time.monotonic() - started > 0.7


@differs("one that is forgotten")
def a_forgotten_one(way: Way) -> Any:
    ours, theirs = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        process = way.popen(["sh", "-c", "sleep 0.3; echo x"], stdout=theirs)
        pid = process.pid
        del process
        gc.collect()
    os.close(theirs)
    with open(ours, "rb") as pipe:
        written = pipe.read()
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass
    return written


@differs("somebody else reaps it")
def one_that_somebody_else_reaps(way: Way) -> Any:
    process = way.popen(["sh", "-c", "exit 9"])
    os.waitpid(process.pid, 0)
    return process.wait()


@differs("`pid`, session, process group")
def a_session_of_its_own(way: Way) -> Any:
    return int(way.run(["cut", "-d ", "-f6", "/proc/self/stat"], capture_output=True).stdout) == os.getsid(0)


@differs("`pid`, session, process group")
def its_pid(way: Way) -> Any:
    with way.popen(["sh", "-c", "echo $$"], stdout=PIPE) as process:
        return int(process.stdout.read()) == process.pid


@differs("what is shown")
def how_a_result_is_shown(way: Way) -> Any:
    return re.sub(r"[\d.]+ s.*", "", repr(way.run(["true"])))


@differs("what is shown")
def how_an_error_is_shown(way: Way) -> Any:
    try:
        way.run(["false"], check=True)
    except subprocess.CalledProcessError as error:
        return re.sub(r"[\d.]+ s.*", "", str(error))


@differs("a running program is a")
def its_class(way: Way) -> Any:
    with way.popen(["true"]) as process:
        return isinstance(process, subprocess.Popen)


def differ(script: Script, here: Way) -> bool:
    return bool(outcome(lambda: script(THERE)) != outcome(lambda: script(here)))


@pytest.mark.parametrize("name", SAME)
def test_popen_answers_alike(here: Way, name: str) -> None:
    """The same value, or the same exception with the same fields, after the same calls."""
    script = SAME[name]

    assert outcome(lambda: script(THERE)) == outcome(lambda: script(here))


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_still_does(here: Way, name: str) -> None:
    """Else its row would have to go."""
    _, script = DIFFERENT[name]

    assert differ(script, here)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_an_ordinary_user_is_answered_alike(as_user: Any) -> None:
    """The same scripts differ."""

    def run() -> list[str]:
        warnings.simplefilter("ignore", ResourceWarning)
        os.environ["PATH"] = "/usr/bin:/bin"  # without directories of root's alone
        with Sandbox.system(env=dict(os.environ)).prepare() as prepared:
            here = Way(prepared.run, prepared.popen)
            return [name for name, script in scripts.items() if differ(script, here)]

    scripts = {**SAME, **{name: script for name, (_, script) in DIFFERENT.items()}}
    assert list(DIFFERENT) == as_user(run)


def table() -> dict[str, str]:
    """The manual's table of what differs: its first column, and the rest."""
    text = (CHECKOUT / "docs/library.md").read_text()
    (rows,) = re.findall(r"\| +\| `subprocess` \| here \|\n.*\n((?:\|.*\n)+)", text)
    return dict(row.strip("|").strip().split(" | ", 1) for row in rows.splitlines())


def test_the_manual_has_a_row_for_each_difference() -> None:
    """And no row for what does not differ."""
    others = {row for row, words in table().items() if row.startswith("asyncio") or "before Python" in words}

    assert {row for row, _ in DIFFERENT.values()} | {"not taken"} | others == set(table())


def test_the_manual_names_the_arguments_that_are_not_taken() -> None:
    """By comparing the signatures."""
    theirs = {*inspect.signature(subprocess.run).parameters, *inspect.signature(subprocess.Popen).parameters}
    ours = {*inspect.signature(Prepared.run).parameters, *inspect.signature(Prepared.popen).parameters} | {"args"}
    named = set(re.findall(r"`(\w+)`", table()["not taken"].split("|")[0]))

    assert theirs - ours - {"popenargs", "kwargs"} == named - ({"process_group"} - theirs)


def test_a_caller_that_ignores_sigchld_knows_the_status(here: Way) -> None:
    """Which subprocess takes to be 0."""

    def run() -> tuple[int, int]:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        return THERE.run(["false"]).returncode, here.run(["false"]).returncode

    assert (0, 1) == in_child(run)


def test_input_of_larger_items_is_written_whole(here: Way) -> None:
    """As not by subprocess of every version."""
    data = array.array("i", range(100_000))

    assert data.tobytes() == here.run(["cat"], input=memoryview(data), capture_output=True).stdout


def test_communicate_goes_on_writing_after_a_timeout(here: Way) -> None:
    """As not by subprocess of every version."""
    process = here.popen(["sh", "-c", "sleep 0.3; wc -c"], stdin=PIPE, stdout=PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(BIG, timeout=0.1)

    assert (b"%d\n" % len(BIG), None) == process.communicate()


def test_an_unknown_encoding_leaves_nothing(here: Way) -> None:
    """As it does of subprocess."""
    for call in (here.run, here.popen):
        with pytest.raises(LookupError, match="no-such-encoding"):
            call(["echo"], stdout=PIPE, encoding="no-such-encoding")
