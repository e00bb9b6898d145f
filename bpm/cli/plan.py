"""Shows all that starting a process would do, each line with its reason: a key of bpm.yml, or a named default.

With --diff, what would change against what is running now; the exit status is then 1 when anything would, and 2 when it
is not known. Everyone may see a plan, of any root directory; for --diff one must be root.
"""

from __future__ import annotations

import os

from bpm.cli.failure import Failure
from bpm.cli.flags import TEXTS, Arguments, Flag
from bpm.cli.job import PROCESS, find_known_process, warn
from bpm.cli.output import complain, print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import JobProcess, ProcessPlan
    from bpm.cli.text import Line

WORDS = "JOB"
FLAGS = (
    Flag("diff", "d", help="show what would change against what is running now"),
    Flag("env", "e", kind=TEXTS, value="KEY=VALUE", help="one more environment variable, as of run"),
    Flag("json", help="print the plan as JSON, see docs/plan.schema.json"),
    PROCESS,
    Flag("volume", "v", kind=TEXTS, value="PATH[:OPTION,...]", help="one more volume, as of run"),
)


SAME, DIFFERS, UNKNOWN = 0, 1, 2  # diff(1)


def run(arguments: Arguments) -> int:
    """`bpm plan`."""
    process = find_known_process(arguments)
    from bpm import parse_variable, parse_volume

    volumes = [parse_volume(text) for text in arguments.texts("volume")]
    env = [parse_variable(text) for text in arguments.texts("env")]
    plan = process.plan(volumes, env, warn)
    for notice in plan.notices:
        complain(f"bpm: note: {notice.text} ({notice.because})")
    if arguments.switch("diff"):
        return show_changes(running_plan(process), plan, json=arguments.switch("json"))
    if arguments.switch("json"):
        print_line(to_text(plan.to_json()))
    else:
        show(plan)
    return 0


def running_plan(process: JobProcess) -> ProcessPlan:
    """What was carried out when the running process was started."""
    from bpm import NotRunning, RecordError

    if os.geteuid() != 0:
        raise Failure("only root can see what is running", UNKNOWN)
    try:
        container = process.running()
        try:
            return container.plan
        finally:
            container.close()
    except (NotRunning, RecordError) as error:
        raise Failure(str(error), UNKNOWN) from error


def to_text(json: str) -> str:
    """JSON as people read it."""
    from json import dumps, loads

    return dumps(loads(json), indent=2)


def show(plan: ProcessPlan) -> None:
    """Prints all sections."""
    from bpm import describe_plan
    from bpm.cli.text import lay_out

    for number, section in enumerate(describe_plan(plan)):
        if number:
            print_line()
        lines: list[Line] = [("", row.cells, row.because) for row in section.rows]
        lay_out(section.title, lines)


def show_changes(before: ProcessPlan, after: ProcessPlan, *, json: bool) -> int:
    """Prints what differs; whether anything does is the exit status."""
    from bpm import compare_plans

    changes = compare_plans(before, after)
    if before != after and not changes:
        raise Failure("it would differ in what only --json shows", DIFFERS)
    if json:
        from json import dumps

        records = [
            {"change": change.sign, "section": change.title, "cells": change.row.cells, "because": change.row.because}
            for change in changes
        ]
        print_line(dumps(records, indent=2))
        return DIFFERS if changes else SAME
    from bpm.cli.text import lay_out

    titles = dict.fromkeys(change.title for change in changes)
    for number, title in enumerate(titles):
        if number:
            print_line()
        lay_out(title, [(each.sign, each.row.cells, each.row.because) for each in changes if each.title == title])
    return DIFFERS if changes else SAME
