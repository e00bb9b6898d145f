"""Sizes and times for people, in few letters."""

from __future__ import annotations

LETTERS = "BKMGTPE"


def size(count: int | None) -> str:
    """Bytes, in powers of 1024 as bpm.yml has them: ``743M``, ``1.5G``; ``-`` for none."""
    if count is None:
        return "-"
    amount, power = float(count), 0
    while amount >= 999.5 and power < len(LETTERS) - 1:
        amount, power = amount / 1024, power + 1
    return f"{amount:.0f}{LETTERS[power]}" if power == 0 or amount >= 99.5 else f"{amount:.1f}{LETTERS[power]}"


def duration(seconds: float) -> str:
    """A time that passes, in its two largest units: ``3d 4h``, ``5m 2s``, ``1.25s``."""
    if seconds < 60:
        return f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.0f}s"
    whole = int(seconds)
    for letter, length, smaller, part in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= length:
            return f"{whole // length}{letter} {whole % length // part}{smaller}"
    return f"{whole}s"


def time_of(nanoseconds: int) -> str:
    """A moment, in UTC."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(nanoseconds // 1_000_000_000))
