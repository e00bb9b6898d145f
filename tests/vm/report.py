"""What the tests said on each host, for the terminal and as the table in docs/hosts.md."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from attrs import field, frozen

from tests.vm.hosts import HOSTS, Host

PAGE = Path("docs/hosts.md")
BEGIN, END = "<!-- tests: begin, written by make test-hosts -->", "<!-- tests: end -->"
TITLES = "| Host | What it is | Kernel | Hierarchy | Tests run | Failed | Skipped, and why |\n" + "| --- " * 7 + "|\n"


@frozen
class Tally:
    """What became of a suite's tests.

    Args:
        run: How many ran to an end, be it good or bad.
        failed: Those that failed, or could not be set up or cleaned up after, each as ``file::name``.
        skipped: How many were skipped, by the reason they gave.
    """

    run: int = 0
    failed: tuple[str, ...] = ()
    skipped: dict[str, int] = field(factory=dict)

    def __str__(self) -> str:
        skipped = f", {sum(self.skipped.values())} skipped: {name_reasons(self.skipped)}" if self.skipped else ""
        return f"{self.run} tests run, {len(self.failed)} failed{skipped}"


def read_tally(path: Path) -> Tally:
    """The tally of a JUnit file, as pytest writes it; an empty one where there is none."""
    if not path.exists():
        return Tally()
    run, failed, skipped = 0, [], Counter[str]()
    for case in ElementTree.parse(path).iter("testcase"):
        reason = case.find("skipped")
        if reason is not None:
            skipped[reason.get("message", "")] += 1
            continue
        run += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '').replace('.', '/')}.py::{case.get('name')}")
    return Tally(run, tuple(failed), dict(skipped))


def name_reasons(skipped: dict[str, int]) -> str:
    return "; ".join(f"{count} × {reason}" for reason, count in sorted(skipped.items()))


@frozen
class Result:
    """What one host showed."""

    host: Host
    kernel: str
    hierarchy: str
    tally: Tally


def render_row(result: Result) -> str:
    """One line of the table."""
    tally = result.tally
    figures = str(tally.run), str(len(tally.failed)), name_reasons(tally.skipped) or "none"
    cells = f"`{result.host.name}`", result.host.summary, result.kernel, result.hierarchy, *figures
    return "| {} |\n".format(" | ".join(cell.replace("|", "\\|") for cell in cells))


def write_table(results: list[Result], page: Path = PAGE) -> None:
    """Put a row for each of these hosts between the table's marks; rows of hosts that are not among them stay.

    Raises:
        ValueError: The page has no such marks.
    """
    before, begin, rest = page.read_text().partition(BEGIN)
    table, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no place for the table: {BEGIN} ... {END}")
    rows = {line.split()[1].strip("`"): line for line in table.splitlines(keepends=True) if line.startswith("| `")}
    rows.update((result.host.name, render_row(result)) for result in results)
    ordered = "".join(rows[name] for name in HOSTS if name in rows)
    page.write_text(f"{before}{BEGIN}\n{TITLES}{ordered}{END}{after}")
