"""What one scalar of YAML means: the rules of Go's yaml.v3, which are neither YAML 1.1 nor 1.2.

A tag here is in its short form (``!!int``); the empty tag means that the text itself decides.
"""

from __future__ import annotations

import re
from math import inf, nan

from bpm.config.numbers import INT64, parse_go_float, parse_integer, parse_yaml_float

NULL, BOOL, STR, INT, FLOAT = "!!null", "!!bool", "!!str", "!!int", "!!float"
TIMESTAMP, BINARY, MERGE = "!!timestamp", "!!binary", "!!merge"

NULLS = frozenset({"", "~", "null", "Null", "NULL"})
TRUE_WORDS = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON"})
FALSE_WORDS = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF"})

_WORDS: dict[str, tuple[str, bool | float | None]] = {
    **dict.fromkeys(NULLS, (NULL, None)),
    **dict.fromkeys(("true", "True", "TRUE"), (BOOL, True)),
    **dict.fromkeys(("false", "False", "FALSE"), (BOOL, False)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), (FLOAT, nan)),
    **{sign + word: (FLOAT, inf) for sign in ("", "+") for word in (".inf", ".Inf", ".INF")},
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), (FLOAT, -inf)),
}
_DECIDED_BY_TEXT = frozenset({"", BOOL, INT, FLOAT, NULL, TIMESTAMP})
_DATE = re.compile(r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})(.*)", re.DOTALL)
_CLOCK = r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]{1,9})?"
_TIMES = (re.compile(rf"[Tt]{_CLOCK}(?:Z|[+-]([0-9]{{2}}):([0-9]{{2}}))"), re.compile(rf" +{_CLOCK}"))
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")

Value = None | bool | int | float | str


class BadScalar(ValueError):
    """The text is not what its tag says; ``str()`` is what was expected."""


def resolve(tag: str, plain: bool, text: str) -> tuple[str, Value]:
    """The tag and the value of a scalar.

    Args:
        tag: Its short tag; empty where it has none.
        plain: Whether it stands without quotes and is no block.
        text: What stands there, escapes undone.

    Returns:
        The tag that holds, and the value; the text itself where that is no more than text. Bytes that are not
        UTF-8, which only ``!!binary`` can hold, are kept by ``surrogateescape``.

    Raises:
        BadScalar: The text is not what its tag says.
    """
    if tag == STR or (not tag and not plain):
        return STR, text
    if tag == BINARY:
        return BINARY, decode_base64(text)
    if tag not in _DECIDED_BY_TEXT:
        return tag, text
    found, value = _guess(text, dates=tag in ("", TIMESTAMP))
    if tag in ("", found):
        return found, value
    if tag == FLOAT and isinstance(value, int) and found == INT and value in INT64:
        return FLOAT, float(value)
    raise BadScalar(f"what its tag {tag} says")


def _guess(text: str, dates: bool) -> tuple[str, Value]:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] == ".":
        fraction = parse_go_float(text)
        return (STR, text) if fraction is None else (FLOAT, fraction)
    if text[0] not in "+-0123456789":
        return STR, text
    if dates and _is_timestamp(text):
        return TIMESTAMP, text
    digits = text.replace("_", "")
    integer = parse_integer(digits)
    if integer is not None:
        return INT, integer
    number = parse_yaml_float(digits)
    return (STR, text) if number is None else (FLOAT, number)


def decode_base64(text: str) -> str:
    """What ``!!binary`` holds; line ends between its digits do not count."""
    from binascii import a2b_base64

    digits = text.replace("\n", "").replace("\r", "")
    if not _BASE64.fullmatch(digits):
        raise BadScalar("base64, as its tag !!binary says")
    return a2b_base64(digits).decode("utf-8", "surrogateescape")


def _is_timestamp(text: str) -> bool:
    """Whether it is a date, or a date and a time, in one of the four forms that yaml.v3 knows."""
    date = _DATE.fullmatch(text)
    if not date or not _is_day(*(int(part) for part in date.groups()[:3])):
        return False
    if not date[4]:
        return True
    time = next((found for form in _TIMES if (found := form.fullmatch(date[4]))), None)
    return time is not None and all(
        int(part or 0) < limit for part, limit in zip(time.groups(), (24, 60, 60, 25, 61), strict=False)
    )


def _is_day(year: int, month: int, day: int) -> bool:
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    days = (31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
    return 1 <= month <= 12 and 1 <= day <= days[month - 1]
