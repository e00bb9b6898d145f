"""The tree of a YAML document, every part of which knows where it stands."""

from __future__ import annotations

from collections.abc import Iterator

SCALAR, SEQUENCE, MAPPING, ALIAS = "scalar", "sequence", "mapping", "alias"

_LONG_TAG = "tag:yaml.org,2002:"


class Node:
    """One scalar, list, map or alias.

    Args:
        kind: SCALAR, SEQUENCE, MAPPING or ALIAS.
        tag: Its short tag, such as ``!!int`` or ``!mine``; empty where it has none that says anything.
        text: A scalar's text, escapes undone; an alias's anchor name; else empty.
        plain: Whether a scalar stands without quotes and is no block.
        line: Counted from 1.
        column: Counted from 1.
    """

    __slots__ = ("children", "column", "kind", "line", "plain", "tag", "target", "text")

    def __init__(self, kind: str, tag: str | None, text: str, plain: bool, line: int, column: int) -> None:
        self.kind = kind
        self.tag = _shorten_tag(tag or "")
        self.text = text
        self.plain = plain
        self.line = line
        self.column = column
        self.children: list[Node] = []
        """A list's entries; a map's keys and values in turn."""
        self.target: Node = self
        """What an alias stands for; for all others, themselves."""

    def pairs(self) -> Iterator[tuple[Node, Node]]:
        """A map's keys with their values."""
        children = iter(self.children)
        return zip(children, children, strict=True)


def _shorten_tag(tag: str) -> str:
    if tag == "!":
        return ""
    return "!!" + tag[len(_LONG_TAG) :] if tag.startswith(_LONG_TAG) else tag
