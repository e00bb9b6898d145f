"""``bpm top``, at a terminal and without one."""

from __future__ import annotations

import os
import re
import signal
import termios

import pytest

from tests.cli.conftest import CommandLine
from tests.cli.typist import Typist

pytestmark = pytest.mark.needs_root

BUSY = "- {name: busy, executable: /bin/sh, args: [-c, 'while :; do :; done'], limits: {memory: 64M}}\n"
IDLE = "- {name: idle, executable: /bin/sleep, args: [1000]}\n"
STOPPED = "- {name: a-stopped-one-with-a-name-that-no-screen-of-eighty-columns-has-room-for, executable: /bin/true}\n"

LEAVE = "\x1b[?25h\x1b[?1049l"


@pytest.fixture
def web(bpm: CommandLine) -> CommandLine:
    """A root with a busy process, an idle one and a stopped one."""
    bpm.root.add_job("web", f"processes:\n{IDLE}{BUSY}{STOPPED}")
    for process in ("busy", "idle"):
        assert 0 == bpm("start", "web", "-p", process).returncode
    return bpm


def frames(text: str) -> list[list[str]]:
    """The screens that were drawn, line by line, without colours."""
    whole = re.sub(r"\x1b\[[\d;]*m", "", text)
    return [
        [line.replace("\x1b[K", "").rstrip("\r") for line in frame.partition("\x1b[J")[0].split("\r\n")]
        for frame in whole.split("\x1b[H")[1:]
        if "\x1b[J" in frame
    ]


def at_terminal(bpm: CommandLine, rows: int = 24, columns: int = 80, **more: str) -> Typist:
    return Typist(bpm.argv("top"), {**bpm.environment, "TERM": "xterm", **more}, rows=rows, columns=columns)


def test_without_a_terminal_it_is_a_plain_table(web: CommandLine) -> None:
    """A pipe gets the table once, whole names and all, the busiest first, what is stopped last."""
    done = web("top", TERM="xterm")

    heading, *rows = done.stdout.splitlines()
    assert (0, "", False) == (done.returncode, done.stderr, "\x1b" in done.stdout)
    assert ["NAME", "STATE", "PID", "UP", "RST", "CPU%", "MEM", "LIMIT", "PROCS"] == heading.split()
    assert ["web.busy", "web.idle", "web.a-stopped-one-with-a-name-that-no-screen-of-eighty-columns-has-room-for"] == [
        row.split()[0] for row in rows
    ]
    assert "64.0M" == rows[0].split()[7]


def test_it_is_drawn_again_and_left_by_q(web: CommandLine) -> None:
    """At a terminal it is drawn each second, fits 80 columns, and q leaves the terminal as it was."""
    with at_terminal(web) as typist:
        seen = "".join(typist.read_until(r"q quit").string for _ in range(1))
        first = typist.read_until(r"\x1b\[H(?s:.*?)\x1b\[J").group()
        typist.type("q")
        assert 0 == typist.wait()
        rest = typist.seen.decode()
        assert typist.modes == termios.tcgetattr(typist.terminal)

    (frame,) = frames(first)
    assert seen.startswith("\x1b[?1049h\x1b[?25l")
    assert [] == [line for line in frame if len(line) > 80]
    assert "2 running, 0 failed, 1 stopped" in frame[0]
    assert ["web.busy", "web.idle"] == [line.split()[0] for line in frame[2:4]]
    assert ".." in frame[4].split()[0]
    assert float(frame[2].split()[5]) > 1
    assert rest.endswith(LEAVE)


@pytest.mark.same_everywhere
def test_keys_sort(web: CommandLine) -> None:
    """``n`` sorts by name, and what does not run is no longer last."""
    with at_terminal(web) as typist:
        typist.read_until("sorted by cpu")
        typist.type("n")
        typist.read_until(r"\x1b\[H")
        frame = typist.read_until(r"(?s).*?sorted by name").group()
        typist.type("q")
        assert 0 == typist.wait()

    assert frame.index("web.a-stopped") < frame.index("web.busy") < frame.index("web.idle")


@pytest.mark.same_everywhere
def test_what_has_no_room_is_counted(web: CommandLine) -> None:
    """In a small window the rows that fit are shown, and how many more there are; a larger one shows all."""
    with at_terminal(web, rows=5) as typist:
        typist.read_until("and 2 more")
        typist.resize(24, 80)
        os.kill(typist.process.pid, signal.SIGWINCH)
        typist.read_until(r"web\.a-stopped")
        typist.type("q")
        assert 0 == typist.wait()


@pytest.mark.same_everywhere
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_leaves_the_terminal_as_it_was(web: CommandLine, number: int, status: int) -> None:
    """Ended by a signal, it gives the terminal back first."""
    with at_terminal(web) as typist:
        typist.read_until("q quit")
        os.kill(typist.process.pid, number)
        assert status == typist.wait()
        assert typist.modes == termios.tcgetattr(typist.terminal)
        assert typist.seen.decode().endswith(LEAVE)


@pytest.mark.same_everywhere
def test_an_interrupt_leaves(web: CommandLine) -> None:
    """Ctrl-C is one way to leave, and no error."""
    with at_terminal(web) as typist:
        typist.read_until("q quit")
        typist.type("\x03")
        assert 0 == typist.wait()


@pytest.mark.same_everywhere
def test_it_can_be_suspended(web: CommandLine) -> None:
    """Ctrl-Z gives the terminal back, and it is taken again when the job goes on."""
    with at_terminal(web) as typist:
        typist.read_until("q quit")
        typist.type("\x1a")
        typist.read_until(re.escape(LEAVE))
        os.kill(typist.process.pid, signal.SIGCONT)
        typist.read_until(re.escape("\x1b[?1049h"))
        typist.read_until("q quit")
        typist.type("q")
        assert 0 == typist.wait()


@pytest.mark.same_everywhere
def test_no_color_is_honoured(web: CommandLine) -> None:
    """With NO_COLOR there is no colour, but still a screen."""
    with at_terminal(web, NO_COLOR="1") as typist:
        seen = typist.read_until("q quit").string
        typist.type("q")
        assert 0 == typist.wait()

    assert not re.search(r"\x1b\[[\d;]*m", seen)


@pytest.mark.same_everywhere
def test_a_dumb_terminal_gets_the_plain_table(web: CommandLine) -> None:
    """A terminal that cannot move its cursor gets the table once."""
    with at_terminal(web, TERM="dumb") as typist:
        assert 0 == typist.wait()
        assert b"\x1b" not in typist.seen
