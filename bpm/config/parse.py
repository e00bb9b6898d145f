"""From text to a tree: the first YAML document of a text.

libyaml finds the tokens; what they mean is decided elsewhere (`scalars`, `decode`). Nothing here recurses, so the
depth of a text costs memory, not stack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

from bpm.config.nodes import ALIAS, MAPPING, SCALAR, SEQUENCE, Node
from bpm.config.syntax import describe_character, describe_syntax, detect_codec
from bpm.errors import ConfigError, Problem

MAX_BYTES = 4 * 1024 * 1024
"""A bpm.yml holds a few KB; more than this is a mistake, and is refused before it is read."""

MAX_NODES = 100_000
"""Values and keys a document may hold: bounds time and memory, whatever the text."""

MAX_TAG_LINES = 100
"""Lines that define a prefix for tags: libyaml compares each with all before it."""

MAX_DEPTH = 10_000
"""How deep lists and maps may nest; yaml.v3 has the same bound."""

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*', re.DOTALL)
_ESCAPE = re.compile(r"\\.", re.DOTALL)


def read_document(text: str | bytes) -> Node | None:
    """The first document of a YAML text; None where there is none. What follows it is not looked at.

    Args:
        text: Bytes may be UTF-8, or UTF-16 that says so by its byte order mark.

    Raises:
        ConfigError: It is not YAML, or exceeds the bounds above; one Problem, with its position.
    """
    source = _encode(text)
    if len(source) > MAX_BYTES:
        raise refuse(f"expected at most {MAX_BYTES} bytes, found {len(source)}")
    if source.count(b"%TAG") > MAX_TAG_LINES:
        raise refuse(f"expected at most {MAX_TAG_LINES} lines with %TAG, found more")
    try:
        return _parse(source)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([describe_syntax(error)]) from None
    except yaml.reader.ReaderError as error:
        raise ConfigError([describe_character(error, source)]) from None
    except (ValueError, OverflowError):  # only of _PythonParser, for an escape such as "\UFFFFFFFF"
        raise refuse("not YAML: an escape in a quoted text names no character") from None


def _parse(source: bytes) -> Node | None:
    if not yaml.__with_libyaml__:
        return _build_tree(_read_events(_PythonParser(source)))
    budget = MAX_BYTES
    while True:
        try:
            return _build_tree(_read_events(yaml.CSafeLoader(source)))
        except yaml.scanner.ScannerError as error:
            mended = _mend(source, error)
            budget -= len(source)
            if mended == source or budget < 0:
                raise
            source = mended


def _mend(source: bytes, error: yaml.scanner.ScannerError) -> bytes:
    """The text again, where libyaml stopped at what yaml.v3 reads: as libyaml reads it too.

    Within double quotes ``\\'`` is ``'``; between brackets a ``:`` that nothing follows belongs to the text before it,
    as in ``{a:, b:}``, which has the keys ``a:`` and ``b:``. Columns after it, on its line, are off by a few.
    """
    text = source.decode(detect_codec(source), "surrogateescape")
    start = error.context_mark.index if error.context_mark else 0
    end = error.problem_mark.index + 1 if error.problem_mark else 0
    scalar = text[start:end]
    if "unexpected ':'" in str(error.problem) and "?" not in scalar:
        mended = " '" + scalar.replace("'", "''") + "'"
    elif "unknown escape" in str(error.problem):
        quoted = _QUOTED.match(text, start)
        scalar = quoted[0] if quoted else ""
        mended = _ESCAPE.sub(lambda escape: "'" if escape[0] == "\\'" else escape[0], scalar)
    else:
        return source
    return (text[:start] + mended + text[start + len(scalar) :]).encode("utf-8", "surrogateescape")


def refuse(reason: str, node: Node | None = None) -> ConfigError:
    """One thing wrong, at a node where one is to blame."""
    return ConfigError([Problem(reason, line=node.line, column=node.column) if node else Problem(reason)])


def _encode(text: str | bytes) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        line, column = text.count("\n", 0, error.start) + 1, error.start - text.rfind("\n", 0, error.start)
        raise ConfigError([Problem("half a character (a lone surrogate)", line=line, column=column)]) from None


def _read_events(parser: Any) -> Iterator[Any]:
    try:
        while parser.check_event():
            yield parser.get_event()
    finally:
        parser.dispose()


class _PythonParser(yaml.SafeLoader):
    """PyYAML's own parser, slower, with yaml.v3's escapes: ``\\'`` is one, ``\\/`` is none."""

    ESCAPE_REPLACEMENTS = {  # type: ignore[misc]  # noqa: RUF012 - PyYAML reads it from the class
        **{letter: text for letter, text in yaml.SafeLoader.ESCAPE_REPLACEMENTS.items() if letter != "/"},
        "'": "'",
    }

    def get_event(self) -> Any:
        event = super().get_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.ScalarEvent):
            event.value.encode()  # raises for half a character, which it lets an escape name
        return event


def _build_tree(events: Iterator[Any]) -> Node | None:
    root: list[Node] = []
    unfinished = [root]
    brackets = 0
    anchors: dict[str, Node] = {}
    count = 0
    for event in events:
        if isinstance(event, yaml.NodeEvent):
            node = _make_node(event, anchors)
            unfinished[-1].append(node)
            if isinstance(event, yaml.CollectionStartEvent):
                unfinished.append(node.children)
                brackets += 1 if event.flow_style or brackets else 0
            elif brackets and node.plain and "?" in node.text:
                # libyaml takes it since 0.2.3; to yaml.v3 it begins a key
                raise refuse("expected no ? between brackets; quote the text that holds it", node)
            count += 1
            _check_bounds(node, count, len(unfinished) - 1)
        elif isinstance(event, yaml.CollectionEndEvent):
            unfinished.pop()
            brackets -= 1 if brackets else 0
        elif isinstance(event, yaml.DocumentStartEvent) and event.version not in (None, (1, 1)):
            raise refuse(f"expected %YAML 1.1, or no such line, found {event.version[0]}.{event.version[1]}")
        elif isinstance(event, yaml.DocumentEndEvent):
            return root[0]
    return None


def _make_node(event: Any, anchors: dict[str, Node]) -> Node:
    line, column = event.start_mark.line + 1, event.start_mark.column + 1
    if isinstance(event, yaml.ScalarEvent):
        node = Node(SCALAR, event.tag, event.value, not event.style, line, column)
    elif isinstance(event, yaml.AliasEvent):
        node = Node(ALIAS, None, event.anchor or "", False, line, column)
        if event.anchor not in anchors:
            raise refuse(f"expected an anchor &{event.anchor} above this alias, found none", node)
        node.target = anchors[event.anchor]
        return node
    else:
        kind = SEQUENCE if isinstance(event, yaml.SequenceStartEvent) else MAPPING
        node = Node(kind, event.tag, "", False, line, column)
    if event.anchor is not None:
        anchors[event.anchor] = node
    return node


def _check_bounds(node: Node, count: int, depth: int) -> None:
    if count > MAX_NODES:
        raise refuse(f"expected at most {MAX_NODES} keys and values, found more", node)
    if depth > MAX_DEPTH:
        raise refuse(f"expected lists and maps at most {MAX_DEPTH} deep, found deeper ones", node)
