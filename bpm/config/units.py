"""Sizes with a unit, such as ``743M`` or ``1.5GiB``."""

from __future__ import annotations

from bpm.config.numbers import parse_go_float, wrap_uint64
from bpm.errors import ConfigError, Problem

_REFUSAL = "byte quantity must be a positive integer with a unit of measurement like M, MB, MiB, G, GiB, or GB"
_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_FACTORS = {"B": 1} | {
    letter + tail: 1024**power for power, letter in enumerate("KMGTPE", start=1) for tail in ("", "B", "IB")
}


def parse_size(text: str) -> int:
    """How many bytes a size is.

    Args:
        text: A number, fractions allowed, and a unit: B, or one of K M G T P E, alone or followed by B or iB,
            in any case. All are powers of 1024: this is cloudfoundry's ``bytefmt``.

    Raises:
        ConfigError: It is no such thing, with the sentence of ``bytefmt`` as the reason.
    """
    size = text.strip(_SPACES).upper()
    start = next((index for index, letter in enumerate(size) if letter.isalpha()), len(size))
    number, factor = parse_go_float(size[:start]), _FACTORS.get(size[start:])
    if number is None or number < 0 or factor is None:
        raise ConfigError([Problem(_REFUSAL)])
    return wrap_uint64(number * factor)
