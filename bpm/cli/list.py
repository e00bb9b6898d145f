"""Shows every process of every job, with its pid and its state: running, failed (it ended by itself) or stopped."""

from __future__ import annotations

from bpm.cli.failure import describe
from bpm.cli.flags import Arguments, Flag
from bpm.cli.output import complain, print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import BrokenConfig, ExitRecord, Listing, Status

WORDS = ""
FLAGS = (
    Flag("json", help="print a JSON object"),
    Flag("long", "l", help="show how failed ones ended, too"),
)


def run(arguments: Arguments) -> int:
    """`bpm list`."""
    from bpm import Environment

    listing = Environment().list()
    for broken in listing.broken:
        complain_of(broken)
    for stranger in listing.strangers:
        complain(f"{stranger.name} is running with pid {stranger.pid}, but no job's configuration has it")
    if arguments.switch("json"):
        print_json(listing)
        return 0
    for line in align(rows(listing.processes, arguments.switch("long"))):
        print_line(line)
    return 0


def print_json(listing: Listing) -> None:
    """The same for machines, with what stderr tells."""
    from json import dumps

    from bpm.cli.record import status_to_record

    record = {
        "processes": [status_to_record(status) for status in listing.processes],
        "strangers": [status_to_record(status) for status in listing.strangers],
        "broken": [{"job": broken.job, "error": describe(broken.error)} for broken in listing.broken],
    }
    print_line(dumps(record, indent=2))


def rows(statuses: tuple[Status, ...], long: bool) -> list[list[str]]:
    """The table, its heading first."""
    table = [["Name", "Pid", "Status"]]
    table += [[status.name, str(status.pid or "-"), status.state] for status in statuses]
    if long:
        ends = ["Last exit", *(describe_exit(status.last_exit) for status in statuses)]
        table = [[*row, end] for row, end in zip(table, ends, strict=True)]
    return table


def align(table: list[list[str]]) -> list[str]:
    """Columns as wide as their widest entry; nothing after the last entry of a line."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [" ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def describe_exit(record: ExitRecord | None) -> str:
    """How a process ended, in a few words."""
    if record is None:
        return "-"
    if record.spawn_failure is not None:
        return f"could not be started: {record.spawn_failure.stage}"
    words = [_describe_status(record)]
    if record.core_dumped:
        words.append("core dumped")
    if record.oom_killed:
        words.append("out of memory")
    elif record.oom_killed is None:
        words.append("what its cgroup had counted is lost")
    if record.limit:
        words.append(f"by {record.limit}")
    if record.ended_ns:
        import time

        words.append(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.ended_ns // 1_000_000_000)))
    return ", ".join(words)


def complain_of(broken: BrokenConfig) -> None:
    """A line on stderr for each thing that is wrong with a job's bpm.yml."""
    for line in describe(broken.error).splitlines():
        complain(f"invalid config for {broken.job}: {line}")


def _describe_status(record: ExitRecord) -> str:
    if record.signal is not None:
        import signal

        try:
            return f"killed by {signal.Signals(record.signal).name}"
        except ValueError:
            return f"killed by signal {record.signal}"
    return "killed together with its init" if record.exit_code is None else f"exit status {record.exit_code}"
