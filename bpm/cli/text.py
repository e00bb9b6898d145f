"""Sections of lines with reasons, as wide as the terminal and no wider; of any width where there is no terminal."""

from __future__ import annotations

from bpm.cli.output import print_line
from bpm.cli.style import BOLD, DIM, GREEN, RED, align, has_colours, paint, plain, terminal_width, width_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

Line = tuple[str, tuple[str, ...], str]
"""A sign (``-``, ``+`` or empty), the columns, the reason."""

REASON = "# "
FURTHER = "      "


def lay_out(title: str, lines: Sequence[Line]) -> None:
    """Prints a section: its title, and below it the columns, each line's reason after ``#``.

    A line that a terminal cannot hold goes on below, a column or the reason at a time; nothing is cut off.
    """
    colours, width = has_colours(), terminal_width()
    print_line(paint(title, BOLD) if colours else title)
    table = align([tuple(map(plain, cells)) for _, cells, _ in lines])
    longest = max(map(width_of, table))
    for (sign, cells, because), text in zip(lines, table, strict=True):
        reason = f"{REASON}{plain(because)}" if because else ""
        start = f"{sign or ' '} "
        whole = f"{start}{text}{' ' * (longest - width_of(text))}  {reason}".rstrip()
        if width is None or width_of(whole) <= width:
            shown = [(whole[: len(whole) - len(reason)], reason)]
        elif width_of(start + text) <= width:
            shown = [(start + text, ""), (FURTHER, reason)]
        else:
            shown = [(start + plain(cells[0]), ""), *((FURTHER + plain(cell), "") for cell in cells[1:])]
            shown.append((FURTHER, reason))
        for left, right in shown:
            if left.strip() or right:
                print_line(colour(sign, left) + (paint(right, DIM) if right else "") if colours else left + right)


def colour(sign: str, text: str) -> str:
    """What is gone in red, what is new in green."""
    return paint(text, GREEN if sign == "+" else RED) if sign else text
