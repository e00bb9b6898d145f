"""Numbers as Go reads and converts them, since the contract was written by Go.

Only ASCII digits count, integers have 64 bits, and what a float that fits nowhere becomes is what an x86_64
machine makes of it.
"""

from __future__ import annotations

import re
from math import inf, isnan

INT64 = range(-(1 << 63), 1 << 63)
UINT64 = range(1 << 64)

_INTEGER = re.compile(r"([+-]?)(?:0[xX]([0-9a-fA-F]+)|0[bB]([01]+)|0[oO]?([0-7]+)|(0)|([1-9][0-9]*))")
_SIGNED_AFTER_PREFIX = re.compile(r"0(?:b([+-][01]+)|o([+-][0-7]+))")
_YAML_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_DIGITS = r"[0-9](?:_?[0-9])*"
_GO_FLOAT = re.compile(rf"[-+]?(?:{_DIGITS}(?:\.(?:{_DIGITS})?)?|\.{_DIGITS})(?:[eE][-+]?{_DIGITS})?")
_BASES = (16, 2, 8, 8, 10)


def parse_integer(text: str) -> int | None:
    """An integer as yaml.v3 takes it: decimal, 0x, 0o, 0b or leading-zero octal; None for anything else.

    A number with a sign has 63 bits, one without has 64.
    """
    found = _INTEGER.fullmatch(text)
    if not found:
        return _parse_signed_after_prefix(text)
    sign, *digits = found.groups()
    base, number = next((base, number) for base, number in zip(_BASES, digits, strict=True) if number)
    if base == 10 and len(number) > 20:  # more than 64 bits, and CPython refuses to convert thousands of digits
        return None
    value = int(f"{sign}{number}", base)
    return value if value in (INT64 if sign else UINT64) else None


def _parse_signed_after_prefix(text: str) -> int | None:
    """``0b-11`` and ``0o-17``, which yaml.v3 takes for -3 and -15."""
    found = _SIGNED_AFTER_PREFIX.fullmatch(text)
    if not found:
        return None
    binary, octal = found.groups()
    value = int(binary, 2) if binary else int(octal, 8)
    return value if value in INT64 else None


def parse_yaml_float(text: str) -> float | None:
    """A float of digits, a point and an exponent; None for anything else and for what is too large."""
    return _finite(text) if _YAML_FLOAT.fullmatch(text) else None


def parse_go_float(text: str) -> float | None:
    """The same, but ``_`` may stand between two digits."""
    return _finite(text.replace("_", "")) if _GO_FLOAT.fullmatch(text) else None


def _finite(text: str) -> float | None:
    value = float(text)
    return None if abs(value) == inf else value


def to_int64(value: float) -> int | None:
    """A float as an int64 field takes it: the fraction cut off; None where it is refused."""
    if isnan(value) or value > INT64.stop:
        return None
    return int(value) if INT64.start <= value < INT64.stop else INT64.start


def to_uint64(value: float) -> int | None:
    """A float as a uint64 field takes it: the fraction cut off, a negative one wrapped; None where it is refused."""
    return None if isnan(value) or value > UINT64.stop else wrap_uint64(value)


def wrap_uint64(value: float) -> int:
    """Go's ``uint64(value)`` on x86_64: the low 64 bits, or 2**63 where even those are not to be had."""
    if not INT64.start <= value < UINT64.stop:
        return 1 << 63
    return int(value) % UINT64.stop
