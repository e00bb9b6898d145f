"""Shows what all processes use, live: q leaves, c, m and n sort by processor time, memory and name.

Where stdout or stdin is no terminal, it prints the table once.
"""

from __future__ import annotations

import os
import time

from bpm.cli.flags import Arguments, Flag, UsageError
from bpm.cli.output import STDOUT, print_line
from bpm.cli.style import BOLD, RED, cut, has_colours, pad, paint, plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Environment, Report

WORDS = ""
FLAGS: tuple[Flag, ...] = ()

STDIN = 0

# How many seconds pass between two looks, and between two looks at the bpm.yml files.
PAUSE, CONFIG_PAUSE = 1.0, 10.0

HEADING = ("NAME", "STATE", "PID", "UP", "RST", "CPU%", "MEM", "LIMIT", "PROCS")
WIDTHS = (0, 7, 7, 8, 4, 5, 6, 6, 5)
LEAST_NAME = 12
GAP = " "

KEYS = {"c": "cpu", "m": "memory", "n": "name"}


def run(arguments: Arguments) -> int:
    """`bpm top`."""
    if arguments.words:
        raise UsageError("it takes no argument")
    from bpm import Environment

    table = Table(Environment())
    if os.environ.get("TERM", "dumb") != "dumb" and os.isatty(STDIN) and os.isatty(STDOUT):
        return watch(table)
    table.look()
    for line in table.lines(None):
        print_line(line)
    return 0


def watch(table: Table) -> int:
    """The live one; its exit status is that of a program ended by a signal, if one did."""
    from bpm.cli.screen import Screen

    with Screen(STDIN, STDOUT) as screen:
        while not screen.ended:
            table.look()
            end = time.monotonic() + PAUSE
            key = ""
            while not key and not screen.ended and (left := end - time.monotonic()) > 0:
                screen.draw(table.screen(*screen.size()))
                key = screen.read_key(left)
            if key == "q":
                return 0
            table.order = KEYS.get(key, table.order)
    return screen.status


class Row:
    """One process, as it was seen last."""

    def __init__(self, report: Report, cpu: float) -> None:
        self.report = report
        self.cpu = cpu

    def cells(self) -> tuple[str, ...]:
        """Its columns."""
        from bpm.cli.record import since
        from bpm.cli.units import duration, size

        report, usage = self.report, self.report.usage
        name, state = plain(report.status.name), report.status.state
        if state != "running":
            return (name, state, "-", "-", str(report.restarts), "-", "-", size(usage.memory_limit), "-")
        up = duration(since(report.started_ns))
        memory, limit = size(usage.memory_now), size(usage.memory_limit)
        processes = "-" if usage.processes_now is None else str(usage.processes_now)
        cpu = f"{self.cpu:.1f}"
        return (name, state, str(report.status.pid), up, str(report.restarts), cpu, memory, limit, processes)


class Table:
    """All processes of a root, looked at again and again."""

    def __init__(self, environment: Environment) -> None:
        self.order = "cpu"
        self._environment = environment
        self._processes = environment.processes()[0]
        self._configured = time.monotonic()
        self._rows: list[Row] = []
        self._seen: dict[str, tuple[int, float, float]] = {}

    def look(self) -> None:
        """Looks at all of them. Processor time is that since the last look, at first that since the start."""
        if time.monotonic() - self._configured > CONFIG_PAUSE:
            self._processes = self._environment.processes()[0]
            self._configured = time.monotonic()
        self._rows = [self._row(process.report()) for process in self._processes]

    def _row(self, report: Report) -> Row:
        from bpm.cli.record import since

        used, now = (report.usage.cpu_ns or 0) / 1e9, time.monotonic()
        name = report.status.name
        before = self._seen.get(name)
        self._seen[name] = (report.started_ns, used, now)
        if before is None or before[0] != report.started_ns:
            passed, used_before = since(report.started_ns), 0.0
        else:
            passed, used_before = now - before[2], before[1]
        return Row(report, max(0.0, used - used_before) / passed * 100 if passed > 0 else 0.0)

    def sorted_rows(self) -> list[Row]:
        """In the order that was asked for; what runs before what does not."""

        def rank(row: Row) -> tuple[object, ...]:
            status, memory = row.report.status, row.report.usage.memory_now or 0
            size = {"cpu": -row.cpu, "memory": -memory, "name": 0}[self.order]
            return (self.order != "name" and status.state != "running", size, status.name)

        return sorted(self._rows, key=rank)

    def lines(self, width: int | None) -> list[str]:
        """The heading and a line for each process; as wide as needed without a width."""
        rows = [row.cells() for row in self.sorted_rows()]
        from bpm.cli.style import width_of

        longest = max((width_of(row[0]) for row in (HEADING, *rows)), default=0)
        name = longest if width is None else max(LEAST_NAME, min(longest, width - sum(WIDTHS) - len(WIDTHS) + 1))
        return [line(cells, name) for cells in (HEADING, *rows)]

    def screen(self, height: int, width: int) -> list[str]:
        """One screen: a summary, the table as far as there is room, the keys."""
        heading, *lines = (cut(each, width) for each in self.lines(width))
        states = [row.report.status.state for row in self._rows]
        counts = ", ".join(f"{states.count(state)} {state}" for state in ("running", "failed", "stopped"))
        room = max(height - 3, 0)
        more = len(lines) - room
        shown = lines if more <= 0 else lines[: max(room - 1, 0)]
        if has_colours():
            heading = paint(heading, BOLD)
            rows = self.sorted_rows()
            shown = [
                paint(text, RED) if row.report.status.state == "failed" else text
                for text, row in zip(shown, rows, strict=False)
            ]
        if more > 0:
            shown.append(cut(f"and {len(lines) - len(shown)} more", width))
        foot = cut(f"sorted by {self.order}   q quit  c cpu  m memory  n name", width)
        return [cut(f"{time.strftime('%H:%M:%S')}  {counts}", width), heading, *shown, foot][:height]


def line(cells: tuple[str, ...], name: int) -> str:
    """One line of the table: the name and the state to the left, numbers to the right."""
    rest = [pad(cell, width, i > 0) for i, (cell, width) in enumerate(zip(cells[1:], WIDTHS[1:], strict=True))]
    return GAP.join((pad(cut(cells[0], name), name), *rest)).rstrip()
