"""Tells why a path is visible, read-only, hidden or absent inside a job's container, and which key would change that.

PATH is what the process would open: from the root of its container, or from its working directory.
"""

from __future__ import annotations

from bpm.cli.flags import Arguments, Flag, UsageError
from bpm.cli.job import PROCESS, find_known_process
from bpm.cli.output import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Explanation

WORDS = "JOB PATH"
FLAGS = (Flag("json", help="print a JSON object"), PROCESS)


def run(arguments: Arguments) -> int:
    """`bpm explain`."""
    process = find_known_process(arguments)
    if len(arguments.words) != 2 or not arguments.words[1]:
        raise UsageError("must specify a job and one path")
    from bpm import explain_path

    told = explain_path(process.environment, process.job, process.process, arguments.words[1])
    if arguments.switch("json"):
        show_json(told)
    else:
        show(told, process.environment.layout.job(process.job).config)
    return 0


def show(told: Explanation, file: str) -> None:
    """Prints it for people."""
    from bpm.cli.style import BOLD, align, has_colours, paint, plain

    verdict = paint(told.verdict, BOLD) if has_colours() else told.verdict
    print_line(f"{plain(told.path)}: {verdict}, since {plain(told.reason)}")
    for line in align([(name, plain(value)) for name, value in facts(told)]):
        print_line(f"  {line}")
    for remedy in told.remedies:
        if remedy.key:
            print_line(f"To {remedy.wish}: set {remedy.key}: {plain(remedy.text)}")
            print_line(f"  in {plain(file)}")
        else:
            print_line(f"To {remedy.wish}: {plain(remedy.text)}")


def facts(told: Explanation) -> list[tuple[str, str]]:
    """What is known of it, a name and a value each."""
    rows = [("leads to", told.leads_to), ("on the host", told.outside or ""), ("kind", told.kind)]
    if told.mount is not None:
        mount = told.mount
        source = f" of {mount.source}" if mount.kind == "bind" and mount.source != mount.target else ""
        words = [*([] if mount.kind == "bind" else [mount.kind]), *mount.options]
        rows.append(("mount", f"{mount.target}{source} ({', '.join(words)})"))
        rows.append(("because", mount.because))
    rows += [("dropped", reason) for reason in told.dropped]
    rows += [("below it", f"{mount.target} (because {mount.because})") for mount in told.covers]
    rows += [(each.what, f"{'yes' if each.allowed else 'no'}: {each.why}") for each in told.access]
    return [(name, value) for name, value in rows if value]


def show_json(told: Explanation) -> None:
    """Prints it for machines."""
    from json import dumps

    from attrs import asdict

    print_line(dumps(asdict(told), indent=2))
