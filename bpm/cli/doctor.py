"""Tells what this host can do, what that means for jobs, and which knob would change it.

Each line is ok; less, where bpm does what it can; or missing, without which nothing can be started. The exit status
is 1 when something is missing.
"""

from __future__ import annotations

from bpm.cli.flags import Arguments, Flag, UsageError
from bpm.cli.output import print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Diagnosis

WORDS = ""
FLAGS = (Flag("json", help="print a JSON list"),)


def run(arguments: Arguments) -> int:
    """`bpm doctor`."""
    if arguments.words:
        raise UsageError("it takes no argument")
    from bpm import examine_host

    diagnoses = examine_host()
    if arguments.switch("json"):
        from json import dumps

        from attrs import asdict

        print_line(dumps([asdict(diagnosis) for diagnosis in diagnoses], indent=2))
    else:
        show(diagnoses)
    return 1 if any(diagnosis.state == "missing" for diagnosis in diagnoses) else 0


def show(diagnoses: tuple[Diagnosis, ...]) -> None:
    """Prints a paragraph each."""
    from bpm.cli.style import GREEN, RED, YELLOW, has_colours, pad, paint, plain, width_of

    colours = {"ok": GREEN, "less": YELLOW, "missing": RED} if has_colours() else {}
    width = max(width_of(diagnosis.subject) for diagnosis in diagnoses)
    states = max(len(diagnosis.state) for diagnosis in diagnoses)
    margin = " " * (width + states + 4)
    for each in diagnoses:
        state = pad(each.state, states)
        state = paint(state, colours[each.state]) if colours else state
        first, *rest = fold(plain(each.found), margin)
        print_line(f"{pad(each.subject, width)}  {state}  {first.lstrip()}")
        for line in rest:
            print_line(line)
        for line in fold(each.consequence, margin):
            print_line(line)
        for line in fold(f"knob: {each.knob}", margin) if each.knob else ():
            print_line(line)


def fold(text: str, margin: str) -> list[str]:
    """A sentence between a margin and the terminal's edge; on one line where there is no terminal."""
    from bpm.cli.style import terminal_width, width_of

    edge = terminal_width()
    if edge is None:
        return [margin + text]
    width = max(edge - len(margin), 20)
    lines = [""]
    for word in text.split():
        if lines[-1] and width_of(lines[-1]) + 1 + width_of(word) > width:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return [margin + line for line in lines]
