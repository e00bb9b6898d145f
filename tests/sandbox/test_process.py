"""popen(): what subprocess.Popen means."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bpm import Prepared, Process, ProcessTimeout, Sandbox
from bpm.sandbox import running
from tests.inside import is_readable, wait_for
from tests.native.callers import children, in_child

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

PIPE = subprocess.PIPE


def test_it_is_talked_to_line_by_line(prepared: Prepared) -> None:
    """Text, buffered by lines."""
    with prepared.popen(["cat"], stdin=PIPE, stdout=PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("hello\n")
        assert "hello\n" == process.stdout.readline()

    assert 0 == process.returncode


def test_unbuffered_bytes_are_raw(prepared: Prepared) -> None:
    """With bufsize=0 as with subprocess."""
    with prepared.popen(["echo", "x"], stdout=PIPE, bufsize=0) as process:
        assert isinstance(process.stdout, io.FileIO)
        assert b"x\n" == process.stdout.read()


def test_poll_is_none_until_it_has_ended(prepared: Prepared) -> None:
    """And the returncode ever after."""
    process = prepared.popen(["cat"], stdin=PIPE)
    assert (None, None) == (process.poll(), process.returncode)
    assert process.stdin is not None
    process.stdin.close()

    assert (0, 0, 0) == (process.wait(), process.poll(), process.returncode)


def test_wait_times_out_and_it_goes_on(prepared: Prepared) -> None:
    """The error is subprocess's; the program is not touched."""
    with prepared.popen(["cat"], stdin=PIPE) as process:
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.05)
        assert process.poll() is None


def test_communicate_can_be_taken_up_again(prepared: Prepared) -> None:
    """After a timeout nothing of input or output is lost."""
    script = "read x; echo got $x; sleep 0.3; cat"
    with prepared.popen(["sh", "-c", script], stdin=PIPE, stdout=PIPE, text=True) as process:
        with pytest.raises(ProcessTimeout) as caught:
            process.communicate("a\nb\n", timeout=0.1)
        assert b"got a\n" == caught.value.output
        assert ("got a\nb\n", None) == process.communicate()


def test_signals_arrive_and_are_told(prepared: Prepared) -> None:
    """terminate() is SIGTERM, and its ending says that it was us."""
    process = prepared.popen(["sleep", "9"])
    process.terminate()

    assert (-signal.SIGTERM, "killed") == (process.wait(), process.ending.reason)


def test_a_signal_of_others_is_told_apart(prepared: Prepared) -> None:
    """Somebody else's SIGTERM is no deed of ours."""
    process = prepared.popen(["sleep", "9"])
    os.kill(process.pid, signal.SIGTERM)

    assert (-signal.SIGTERM, "signalled") == (process.wait(), process.ending.reason)


def test_its_pidfd_becomes_readable(prepared: Prepared) -> None:
    """When all of it has ended, and not before."""
    process = prepared.popen(["cat"], stdin=PIPE)
    assert not is_readable(process.pidfd, 0)
    assert process.stdin is not None
    process.stdin.close()

    assert is_readable(process.pidfd)
    assert 0 == process.wait()


def test_many_threads_may_wait(prepared: Prepared) -> None:
    """Each gets the same returncode."""
    process = prepared.popen(["sh", "-c", "sleep 0.1; exit 5"])
    with ThreadPoolExecutor(8) as pool:
        assert [5] * 8 == list(pool.map(lambda _: process.wait(), range(8)))


def test_it_can_be_waited_for_by_another_thread_than_started_it(prepared: Prepared) -> None:
    """It outlives the thread that spawned it, though it dies with the process."""
    started: list[Process] = []
    thread = threading.Thread(target=lambda: started.append(prepared.popen(["cat"], stdin=PIPE, stdout=PIPE)))
    thread.start()
    thread.join()
    (process,) = started

    assert (b"still here", None) == process.communicate(b"still here")


def test_a_pidfd_lasts_until_nobody_watches_it(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread has seen the end, another is just about to look: what that has the number of is still the pidfd."""
    about_to_look, may_look = threading.Event(), threading.Event()
    look, watched = running.is_readable, []

    def look_later(fd: int, timeout: float | None) -> bool:
        if threading.current_thread() is watcher:
            watched.append(fd)
            about_to_look.set()
            may_look.wait(60)
        return look(fd, timeout)

    monkeypatch.setattr(running, "is_readable", look_later)
    process = prepared.popen(["true"])
    watcher = threading.Thread(target=process.wait)
    watcher.start()
    try:
        assert about_to_look.wait(60)
        assert 0 == process.wait()
        opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(10)]
        assert set(opened).isdisjoint(watched)
        for fd in opened:
            os.close(fd)
    finally:
        may_look.set()
        watcher.join()

    assert -1 == process.pidfd


def test_a_forgotten_one_is_killed(system: Sandbox) -> None:
    """With a ResourceWarning, as subprocess gives one."""
    before = children()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        process = system.popen(["sleep", "99"])
        del process

    assert (before, [ResourceWarning]) == (children(), [warning.category for warning in caught])


def test_one_reaped_by_somebody_else_is_known_all_the_same(prepared: Prepared) -> None:
    """Its exit record tells, as when SIGCHLD is ignored."""
    process = prepared.popen(["sh", "-c", "exit 9"])
    os.waitpid(process.pid, 0)

    assert (9, "exited") == (process.wait(), process.ending.reason)


def test_leaving_the_block_by_an_error_kills_it(prepared: Prepared) -> None:
    """So that no error waits for a program that never ends."""
    with pytest.raises(ZeroDivisionError), prepared.popen(["sleep", "99"]) as process:
        1 / 0

    assert -9 == process.returncode


def test_a_fork_of_the_caller_leaves_it_alone(prepared: Prepared) -> None:
    """A forked copy of the handle ends nothing."""
    process = prepared.popen(["cat"], stdin=PIPE)
    pid = os.fork()
    if pid == 0:
        try:
            process._forget()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    assert process.poll() is None
    assert process.stdin is not None
    process.stdin.close()
    assert 0 == process.wait()


def test_a_fork_may_use_what_was_prepared_before(prepared: Prepared) -> None:
    """As the workers of a server do; what it starts dies with it, not with us."""
    ours, theirs = os.pipe()
    kept = []  # since what is forgotten is killed

    def work() -> int:
        kept.append(prepared.popen(["sleep", "99"]))
        os.write(theirs, b"%d" % kept[0].pid)
        return prepared.run(["sh", "-c", "exit 5"]).returncode

    assert 5 == in_child(work)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        pid = int(pipe.read())
    assert wait_for(lambda: is_dead(pid))


def is_dead(pid: int) -> bool:
    """Gone, or about to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_closed_prepared_sandbox_says_so(system: Sandbox) -> None:
    """And what runs in it goes on."""
    prepared = system.prepare()
    process = prepared.popen(["cat"], stdin=PIPE, stdout=PIPE)
    prepared.close()
    prepared.close()
    with pytest.raises(ValueError, match="closed"):
        prepared.run(["true"])

    assert (b"x", None) == process.communicate(b"x")


def test_it_dies_with_the_process_and_not_with_the_thread(system: Sandbox) -> None:
    """Started in a thread that ends, it runs on; when the process is killed, it is gone, though a fork lives on."""
    code = """
import os, threading, time, bpm
made = []
thread = threading.Thread(target=lambda: made.append(bpm.Sandbox.system().popen(["sleep", "99"])))
thread.start(); thread.join()
time.sleep(0.2)
if os.fork() == 0:
    os.close(1)
    time.sleep(2)
    os._exit(0)
print(made[0].pid, made[0].poll(), flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=False, env=environment())
    pid, state = done.stdout.split()

    assert (-9, "None") == (done.returncode, state)
    assert wait_for(lambda: not os.path.exists(f"/proc/{pid}"), 1.5)


def test_it_may_outlive_the_process(system: Sandbox) -> None:
    """With die_with_parent=False it does."""
    code = """
import os, bpm
print(bpm.Sandbox.system(die_with_parent=False).popen(["sleep", "99"], stdout=-3, stderr=-3).pid, flush=True)
os._exit(0)
"""
    done = subprocess.run(["python3", "-c", code], capture_output=True, text=True, check=True, env=environment())
    pidfd = os.pidfd_open(int(done.stdout))
    try:
        assert not is_readable(pidfd, 0.3)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert is_readable(pidfd)
    finally:
        os.close(pidfd)


def environment() -> dict[str, str]:
    """One in which python3 is this one."""
    import sys

    return {**os.environ, "PATH": os.path.dirname(sys.executable) + ":" + os.environ["PATH"]}
