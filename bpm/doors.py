"""Doors of rooms: a module is imported when something of its is first taken through the door."""

from __future__ import annotations

import sys
from collections.abc import Callable


def look_in(door: str, *modules: str, **renamed: str) -> Callable[[str], object]:
    """The ``__getattr__`` of a door, for the names in its ``__all__``.

    Args:
        door: The room, by its ``__name__``.
        modules: Its modules, in the order in which a name is looked for: those that cost the least first.
        renamed: ``NAME="MODULE.NAME"`` for what has another name inside.
    """

    def find(name: str) -> object:
        room = sys.modules[door]
        if name not in room.__all__:
            raise AttributeError(f"module {door!r} has no attribute {name!r}")
        from importlib import import_module

        home, _, known_as = renamed.get(name, "").rpartition(".")
        for module in (home,) if home else modules:
            there = vars(import_module(f"{door}.{module}"))
            if (known_as or name) in there:
                value: object = there[known_as or name]
                setattr(room, name, value)
                return value
        raise AttributeError(f"module {door!r} has no attribute {name!r}, which its __all__ lists")

    return find
