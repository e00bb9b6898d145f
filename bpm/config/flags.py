"""What ``bpm run`` takes besides the file: ``-v PATH[:OPTION,...]`` and ``-e KEY=VALUE``."""

from __future__ import annotations

from bpm.config.models import Volume
from bpm.config.schema import Flag, record_of
from bpm.config.words import quote
from bpm.errors import ConfigError, Problem


def parse_volume(definition: str) -> Volume:
    """What a ``-v`` asks for; each option is one of the boolean keys of a volume.

    Args:
        definition: ``PATH`` or ``PATH:OPTION,OPTION``.

    Returns:
        The volume.

    Raises:
        ConfigError: There are more than two parts, or there is no such option. The path is not looked at: see
            ``validate_volume``.
    """
    path, *rest = definition.split(":")
    if len(rest) > 1:
        raise ConfigError([Problem(f"invalid volume definition (format: <path>[:<options>]): {definition}")])
    options = rest[0].split(",") if rest else []
    known = [name for name, shape in record_of(Volume).keys.items() if isinstance(shape, Flag)]
    for option in options:
        if option not in known:
            raise ConfigError([Problem(f"invalid volume option: {option}")])
    return Volume(path, **dict.fromkeys(options, True))


def parse_variable(definition: str) -> tuple[str, str]:
    """What a ``-e`` sets.

    Args:
        definition: ``NAME=VALUE``.

    Returns:
        The name, which may be empty, and the value, which may hold more ``=``.

    Raises:
        ConfigError: There is no ``=`` in it.
    """
    name, equals, value = definition.partition("=")
    if not equals:
        shown = quote(definition, longest=len(definition))
        # "envionment" is how the contract spells it, and people grep for it.
        reason = f"invalid envionment variable definition (format should be KEY=value): {shown}"
        raise ConfigError([Problem(reason)])
    return name, value
