"""From a tree of nodes to the values of `models`, as Go's yaml.v3 decodes into typed fields.

Null leaves a field at its default, aliases are followed, merge keys merged. What has the wrong type is noted and
the rest still read, so that one look finds it all; what makes the document as a whole unreadable ends it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field

from bpm.config import scalars
from bpm.config.models import Variables
from bpm.config.nodes import ALIAS, MAPPING, SCALAR, SEQUENCE, Node
from bpm.config.numbers import to_int64, to_uint64
from bpm.config.schema import Flag, Many, Number, Record, Shape, Text, TextMap
from bpm.config.words import format_key, quote, suggest
from bpm.errors import ConfigError, Problem

Path = tuple[str | int, ...]

MAX_PROBLEMS = 100
"""More than these nobody reads; a generated file can hold a hundred thousand."""

MAX_DECODED = 200_000
"""Values a document may come to with its aliases followed."""

_NOTHING: Any = object()  # null, or not what was expected: the field keeps its default


@define
class Decoder:
    """One decoding of one document.

    Args:
        problems: What has the wrong type, in the file's order.
        warnings: Keys that nobody knows.
        places: Where each value stands; by its path.
    """

    problems: list[Problem] = field(factory=list)
    warnings: list[Problem] = field(factory=list)
    places: dict[Path, Node] = field(factory=dict)
    _told: set[tuple[int, int, str]] = field(factory=set)
    _following: dict[int, Node] = field(factory=dict)
    _decoded: int = 0
    _decoded_in_aliases: int = 0

    def decode_document(self, root: Node, record: Record) -> Any:
        """The record that a document holds.

        Raises:
            ConfigError: It has ``problems``.
        """
        self.places[()] = root
        value = self._decode(root, record, ())
        if self.problems:
            raise ConfigError(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))
        return record.make() if value is _NOTHING else value

    def _decode(self, node: Node, shape: Shape, path: Path) -> Any:
        self._count()
        if node.kind == ALIAS:
            self._enter(node, path)
            value = self._decode(node.target, shape, path)
            self._following.popitem()
            return value
        if _is_null(node):
            return _NOTHING
        return _READERS[type(shape)](self, node, shape, path)

    # -- scalars

    def _read_text(self, node: Node, shape: Text, path: Path) -> Any:
        if node.kind != SCALAR:
            return self._mismatch(node, shape, path)
        if not node.tag:
            return node.text
        tag, value = self._resolve(node, path)
        return value if tag == scalars.BINARY else node.text

    def _read_flag(self, node: Node, shape: Flag, path: Path) -> Any:
        value = self._resolve(node, path)[1] if node.kind == SCALAR else None
        if isinstance(value, bool):
            return value
        if value in scalars.TRUE_WORDS:
            return True
        if value in scalars.FALSE_WORDS:
            return False
        return self._mismatch(node, shape, path)

    def _read_number(self, node: Node, shape: Number, path: Path) -> Any:
        value = self._resolve(node, path)[1] if node.kind == SCALAR else None
        if isinstance(value, float):
            value = to_uint64(value) if shape.values[0] == 0 else to_int64(value)
        if isinstance(value, int) and not isinstance(value, bool) and value in shape.values:
            return value
        return self._mismatch(node, shape, path)

    def _resolve(self, node: Node, path: Path) -> tuple[str, scalars.Value]:
        try:
            return scalars.resolve(node.tag, node.plain, node.text)
        except scalars.BadScalar as error:
            raise self._end(f"expected {error}, found {_describe(node)}", node, path) from None

    # -- lists and maps

    def _read_many(self, node: Node, shape: Many, path: Path) -> Any:
        if node.kind != SEQUENCE:
            return self._mismatch(node, shape, path)
        values: list[Any] = []
        for entry in node.children:
            here = (*path, len(values))  # null entries do not count: the path is that of the value
            self.places[here] = entry
            value = self._decode(entry, shape.entry, here)
            if value is not _NOTHING or not _is_null(entry.target):
                values.append(value)
            elif not shape.nulls:
                self._mismatch(entry, shape.entry, here)
        return tuple(values)

    def _read_text_map(self, node: Node, shape: TextMap, path: Path) -> Any:
        if node.kind != MAPPING:
            return self._mismatch(node, shape, path)
        values: dict[str, str] = {}
        for name, _, entry, is_own in self._entries(node, path):
            here = (*path, name)
            self.places.setdefault(here, entry)
            value = self._decode(entry, Text(), here)
            if value is not _NOTHING:
                values[name] = value
            elif _is_null(entry.target) and (is_own or name not in values):
                values[name] = ""
        return Variables(values)

    def _read_record(self, node: Node, shape: Record, path: Path) -> Any:
        if node.kind != MAPPING:
            return self._mismatch(node, shape, path)
        values: dict[str, Any] = {}
        for name, key, entry, _ in self._entries(node, path):
            here = (*path, name)
            if name not in shape.keys:
                self._warn_of(name, key, shape, here)
            elif name in values:
                self._note(f"expected each key once, found {quote(name)} again", key, here)
            else:
                self.places[here] = entry
                values[name] = self._decode(entry, shape.keys[name], here)
        return shape.make(**{name: value for name, value in values.items() if value is not _NOTHING})

    # -- keys

    def _entries(self, node: Node, path: Path) -> Iterator[tuple[str, Node, Node, bool]]:
        """A map's entries: name, key, value, and whether they are its own or merged in by ``<<``.

        Own ones come first, then each source's, then what that source merges in: the first of a name wins. A stack
        and no recursion, since maps of nothing but ``<<`` nest as deep as the text likes.
        """
        taken: set[scalars.Value] | None = None
        waiting: list[Node | None] = [node]
        while waiting:
            source = waiting.pop()
            if source is None:
                self._following.popitem()
                continue
            if taken is not None:
                self._count()
            if source.kind == ALIAS:
                self._enter(source, path)
                waiting += [None, source.target]
                continue
            merged = None
            for key, value in self._unique_pairs(source, path):
                if _is_merge(key):
                    merged = value
                    continue
                name = self._decode(key, Text(), path)
                if name is _NOTHING or (taken is not None and name in taken):
                    continue
                if taken is not None:
                    taken.add(name)
                yield name, key, value, taken is None
            if merged is not None:
                if taken is None:
                    taken = {self._value_of_key(key, path) for key, _ in source.pairs()}
                waiting += reversed(self._sources_of(merged, path))

    def _unique_pairs(self, node: Node, path: Path) -> list[tuple[Node, Node]]:
        """A map's keys and values; none of them where a key stands twice, which is a problem."""
        first: dict[tuple[str, str], Node] = {}
        twice = False
        for key, _ in node.pairs():
            earlier = first.setdefault((key.kind, key.text), key)
            if earlier is not key:
                twice = True
                where = f"line {earlier.line}, column {earlier.column}"
                self._note(f"expected each key once, found {quote(key.text)} again (first in {where})", key, path)
        return [] if twice else list(node.pairs())

    def _value_of_key(self, key: Node, path: Path) -> scalars.Value:
        """What an own key is to the merge: yaml.v3 compares values, so that a number never equals its text."""
        self._count()
        node = key.target
        tag, value = self._resolve(node, path) if node.kind == SCALAR else ("", None)
        return None if tag == scalars.TIMESTAMP else value

    def _sources_of(self, merged: Node, path: Path) -> list[Node]:
        sources = merged.children if merged.kind == SEQUENCE else [merged]
        for source in sources:
            if source.target.kind != MAPPING:
                raise self._end(f"expected a map, or a list of maps, to merge, found {_describe(source)}", source, path)
        return sources

    # -- aliases

    def _enter(self, alias: Node, path: Path) -> None:
        if id(alias) in self._following:
            raise self._end(f"expected a value, found &{alias.text} within itself", alias, path)
        self._following[id(alias)] = alias

    def _count(self) -> None:
        """Refuse what grows by aliases out of all proportion: the first bound is yaml.v3's, the second ours."""
        self._decoded += 1
        if self._following:
            self._decoded_in_aliases += 1
            if self._decoded > 1000 and self._decoded_in_aliases / self._decoded > 0.99:
                raise ConfigError([Problem("expected a document of values, found one that is nearly all aliases")])
        if self._decoded > MAX_DECODED:
            raise ConfigError([Problem(f"expected at most {MAX_DECODED} values, aliases followed, found more")])

    # -- telling

    def _mismatch(self, node: Node, shape: Shape, path: Path) -> Any:
        self._note(f"expected {shape.noun}, found {_describe(node)}", node, path)
        return _NOTHING

    def _note(self, reason: str, node: Node, path: Path) -> None:
        """Remember a problem; once, however many aliases lead to it."""
        if (node.line, node.column, reason) not in self._told:
            self._told.add((node.line, node.column, reason))
            self.problems.append(_problem(reason, node, path))
            if len(self.problems) == MAX_PROBLEMS:
                raise ConfigError(self.problems)

    def _end(self, reason: str, node: Node, path: Path) -> ConfigError:
        return ConfigError([*self.problems, _problem(reason, node, path)])

    def _warn_of(self, name: str, key: Node, shape: Record, path: Path) -> None:
        told = (key.line, key.column, "")
        if told not in self._told and len(self.warnings) < MAX_PROBLEMS:
            self._told.add(told)
            reason = f"unknown key {quote(name)}, which changes nothing{suggest(name, shape.keys)}"
            self.warnings.append(_problem(reason, key, path, "unknown-key"))


_READERS: dict[type, Callable[[Decoder, Node, Any, Path], Any]] = {
    Text: Decoder._read_text,
    Flag: Decoder._read_flag,
    Number: Decoder._read_number,
    Many: Decoder._read_many,
    TextMap: Decoder._read_text_map,
    Record: Decoder._read_record,
}


def _problem(reason: str, node: Node, path: Path, code: str = "") -> Problem:
    return Problem(reason, format_key(path), line=node.line, column=node.column, code=code)


def _is_null(node: Node) -> bool:
    if node.kind != SCALAR or node.text not in scalars.NULLS:
        return False
    return node.tag == scalars.NULL or (node.plain and not node.tag)


def _is_merge(key: Node) -> bool:
    if key.kind != SCALAR or key.text != "<<":
        return False
    return key.tag == scalars.MERGE or (key.plain and not key.tag)


def _describe(node: Node) -> str:
    node = node.target
    if node.kind != SCALAR:
        return "a list" if node.kind == SEQUENCE else "a map"
    if _is_null(node):
        return "nothing"
    try:
        tag, _ = scalars.resolve(node.tag, node.plain, node.text)
    except scalars.BadScalar:
        tag = scalars.STR
    return f"the {_NOUNS.get(tag, 'string')} {quote(node.text)}"


_NOUNS = {scalars.INT: "number", scalars.FLOAT: "number", scalars.BOOL: "boolean", scalars.TIMESTAMP: "date"}
