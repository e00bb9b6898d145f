"""How things look: colours where they are seen and wanted, columns that line up, and nothing that moves the cursor.

Names come from file systems and bpm.yml, so they can hold anything: what is no plain letter is shown as an escape.
"""

from __future__ import annotations

import os

from bpm.cli.output import STDOUT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"

# What a window has that does not say how wide it is.
WIDTH = 80

CUT = ".."


def has_colours(fd: int = STDOUT) -> bool:
    """Whether colours are seen there and wanted: a terminal that knows them, and no NO_COLOR (no-color.org)."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb" and os.isatty(fd)


def paint(text: str, *codes: str) -> str:
    """The text in these colours."""
    return f"\x1b[{';'.join(codes)}m{text}\x1b[0m"


def terminal_width(fd: int = STDOUT) -> int | None:
    """How many columns the terminal has; None for what is none."""
    try:
        return os.get_terminal_size(fd).columns or WIDTH
    except OSError:
        return None


def plain(text: str) -> str:
    """The text on one line, with escapes for what a terminal would not show, or would obey."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escape(letter) for letter in text)


def _escape(letter: str) -> str:
    number = ord(letter)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8, kept by surrogateescape
        return f"\\x{number - 0xDC00:02x}"
    known = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return known.get(letter) or (f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}")


def width_of(text: str) -> int:
    """How many columns a plain text takes: two a letter of East Asia, none a mark that stands upon another letter."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(letter) else 2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def cut(text: str, width: int) -> str:
    """As much of a plain text as fits."""
    if width_of(text) <= width:
        return text
    while text and width_of(text) > width - len(CUT):
        text = text[:-1]
    return text + CUT[:width]


def pad(text: str, width: int, right: bool = False) -> str:
    """A plain text, with spaces to this width."""
    spaces = " " * (width - width_of(text))
    return spaces + text if right else text + spaces


def align(rows: Sequence[Sequence[str]], gap: int = 2, right: Iterable[int] = ()) -> list[str]:
    """Columns as wide as their widest entry; nothing after the last entry of a line. A row may be a short one.

    Args:
        right: The columns that are aligned to the right: numbers.
    """
    count = max(map(len, rows), default=0)
    widths = [max((width_of(row[i]) for row in rows if i < len(row)), default=0) for i in range(count)]
    numbers = frozenset(right)
    return [(" " * gap).join(pad(cell, widths[i], i in numbers) for i, cell in enumerate(row)).rstrip() for row in rows]
