"""File name patterns as Go's filepath.Glob has them, which the paths of ``unrestricted_volumes`` are.

``*`` is any characters, ``?`` one, ``[a-z]`` one of a set, ``[^a-z]`` one that is not in it, and ``\\`` takes the next
character as it is. None matches a slash; all match a leading dot; ``**`` is nothing special. From the first
component with one of these on, each is compared with what the directory lists: so ``.``, ``..`` and an empty one
(a trailing slash) match nothing there, and what cannot be read holds nothing.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator

# One character of a pattern: whether the ranges are what it is not, and the ranges.
_Term = tuple[bool, tuple[tuple[str, str], ...]]
_ANY: _Term = (True, ())


class BadPattern(ValueError):
    """A pattern is malformed; the text says how."""


def has_pattern(path: str) -> bool:
    """Whether a path is a pattern, and not literal."""
    return any(character in path for character in "*?[\\")


def expand(pattern: str) -> tuple[str, ...]:
    """The paths that match, sorted. A literal path matches itself, where it exists, be it a dangling link.

    Raises:
        BadPattern: It is malformed.
    """
    if not has_pattern(pattern):
        return (pattern,) if _exists(pattern) else ()
    components = pattern.split("/")
    first = next(i for i, component in enumerate(components) if has_pattern(component))
    parsed = [_parse(component) for component in components[first:]]
    found = ["/".join(components[:first]) or ("/" if first else ".")]
    for pieces in parsed:
        found = [_join(path, name) for path in found for name in _list(path) if _matches(pieces, name)]
    return tuple(sorted(found))


def _exists(path: str) -> bool:
    try:
        os.lstat(path)
    except (OSError, ValueError):
        return False
    return True


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except (OSError, ValueError):
        return []


def _join(path: str, name: str) -> str:
    joined = posixpath.normpath(posixpath.join(path, name))
    return joined[1:] if joined.startswith("//") else joined


def _parse(pattern: str) -> list[list[_Term]]:
    """A component's pieces, which the stars separate: ``a*b?`` has two."""
    pieces: list[list[_Term]] = [[]]
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            pieces.append([])
        elif character == "?":
            pieces[-1].append(_ANY)
        elif character == "[":
            pieces[-1].append(_parse_set(characters))
        else:
            plain = _next(characters, "nothing follows the backslash") if character == "\\" else character
            pieces[-1].append((False, ((plain, plain),)))
    return pieces


def _parse_set(characters: Iterator[str]) -> _Term:
    character = _next(characters)
    negated = character == "^"
    if negated:
        character = _next(characters)
    ranges: list[tuple[str, str]] = []
    while character != "]" or not ranges:
        low = high = _bound(character, characters)
        character = _next(characters)
        if character == "-":
            high = _bound(_next(characters), characters)
            character = _next(characters)
        ranges.append((low, high))
    return negated, tuple(ranges)


def _bound(character: str, characters: Iterator[str]) -> str:
    if character in "]-":
        raise BadPattern(f"a plain {character} stands where a set needs a character")
    return _next(characters) if character == "\\" else character


def _next(characters: Iterator[str], reason: str = "the [ is not closed") -> str:
    for character in characters:
        return character
    raise BadPattern(reason)


def _matches(pieces: list[list[_Term]], name: str) -> bool:
    """Whether a name is the first piece, then the others with anything between them, and the last at its end.

    To take each piece where it fits first is enough, since what a star leaves out, the next one takes.
    """
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return len(name) == len(first) and _fits(first, name, 0)
    end = len(name) - len(last)
    position = len(first)
    if position > end or not _fits(first, name, 0) or not _fits(last, name, end):
        return False
    for piece in pieces[1:-1]:
        places = range(position, end - len(piece) + 1)
        place = next((place for place in places if _fits(piece, name, place)), None)
        if place is None:
            return False
        position = place + len(piece)
    return True


def _fits(piece: list[_Term], name: str, place: int) -> bool:
    if place + len(piece) > len(name):
        return False
    return all(
        negated != any(low <= character <= high for low, high in ranges)
        for (negated, ranges), character in zip(piece, name[place:], strict=False)
    )
