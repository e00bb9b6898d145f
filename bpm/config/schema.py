"""What may stand where, read from the classes of `models`: so a new key is one field there."""

from __future__ import annotations

from functools import cache
from typing import Any, Union, get_args, get_origin, get_type_hints

from attrs import field, fields, frozen

from bpm.config.models import Variables


@frozen
class Text:
    """A string: any scalar, as it is written."""

    noun: str = "a string"


@frozen
class Flag:
    """A boolean."""

    noun: str = "true or false"


@frozen
class Number:
    """A whole number of 64 bits.

    Args:
        values: All that it may be.
    """

    values: range

    @property
    def noun(self) -> str:
        return f"a whole number from {self.values[0]} to {self.values[-1]}"


@frozen
class TextMap:
    """A map of strings to strings."""

    noun: str = "a map of strings"


@frozen
class Many:
    """A list.

    Args:
        entry: What each entry is.
        nulls: Whether a null entry is dropped; otherwise it is refused.
    """

    entry: Shape
    nulls: bool = True

    @property
    def noun(self) -> str:
        return "a list of strings" if isinstance(self.entry, Text) else "a list of maps"


@frozen
class Record:
    """A map with known keys, which becomes one value of a class of `models`.

    Args:
        make: The class.
        keys: What stands under each key.
    """

    make: type
    keys: dict[str, Shape] = field(hash=False)
    noun: str = "a map"


Shape = Text | Flag | Number | TextMap | Many | Record


@cache
def record_of(cls: type) -> Record:
    """The shape of a class of `models`: each of its fields that is a key, by its annotation."""
    hints = get_type_hints(cls, include_extras=True)
    keys = [f for f in fields(cls) if "doc" in f.metadata]
    return Record(cls, {f.name: _shape_of(hints[f.name], f.metadata["nulls"]) for f in keys})


def _shape_of(hint: Any, nulls: bool) -> Shape:
    if hint is str:
        return Text()
    if hint is bool:
        return Flag()
    if hint is Variables:
        return TextMap()
    if hasattr(hint, "__metadata__"):
        return Number(hint.__metadata__[0])
    if get_origin(hint) is tuple:
        return Many(_shape_of(get_args(hint)[0], nulls), nulls)
    if get_origin(hint) is Union or type(hint) is type(str | None):
        return _shape_of(next(part for part in get_args(hint) if part is not type(None)), nulls)
    return record_of(hint)
