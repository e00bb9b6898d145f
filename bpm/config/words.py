"""Putting keys, texts and guesses into words, for people."""

from __future__ import annotations

from collections.abc import Iterable

_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"
}  # fmt: skip
_LONGEST = 60


def format_key(path: Iterable[str | int]) -> str:
    """A key's path as problems show it: ``processes[1].limits.memory``."""
    return "".join(_format_part(part) for part in path).removeprefix(".")


def _format_part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    is_word = part.isascii() and part.replace("-", "_").replace("_", "a").isalnum() and len(part) <= _LONGEST
    return f".{part}" if is_word else f"[{quote(part)}]"


def quote(text: str, longest: int = _LONGEST) -> str:
    """A text in double quotes, what cannot be seen escaped as Go's ``%q`` does, the end of a long one left out."""
    shown = text if len(text) <= longest else text[:longest] + "..."
    return '"' + "".join(letter if _is_plain(letter) else _escape(letter) for letter in shown) + '"'


def _is_plain(letter: str) -> bool:
    return letter.isprintable() and letter not in _ESCAPES


def _escape(letter: str) -> str:
    number = ord(letter)
    if letter in _ESCAPES:
        return _ESCAPES[letter]
    if 0xDC80 <= number <= 0xDCFF:  # a byte that is no UTF-8, kept by surrogateescape
        return f"\\x{number - 0xDC00:02x}"
    if number < 0x80:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def suggest(name: str, known: Iterable[str]) -> str:
    """``; did you mean "limits"?``, or nothing where no known name is near."""
    from difflib import get_close_matches

    near = get_close_matches(name.lower(), list(known), 1) if len(name) <= _LONGEST else []
    return f"; did you mean {quote(near[0])}?" if near else ""
