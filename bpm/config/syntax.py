"""What libyaml has against a text, in words for whoever wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpm.errors import Problem

if TYPE_CHECKING:
    from yaml import MarkedYAMLError
    from yaml.reader import ReaderError

# What libyaml's message holds, and what to say instead. The first that fits counts.
_WORDS = (
    ("mapping values are not allowed", "a second `: ` where only one can be; quote the text that holds it"),
    ("could not find expected ':'", "expected a `:` after this key, found none"),
    ("found a tab character that violates indentation", "a tab cannot indent; use spaces"),
    ("cannot start any token", "a value cannot begin with this character; quote it, and indent with spaces only"),
    ("found unexpected end of stream", "this quoted text has no end"),
    ("found unexpected document indicator", "this quoted text has no end in its document"),
    ("expected ',' or ']'", "expected `,` or `]`"),
    ("expected ',' or '}'", "expected `,` or `}`"),
    ("found unexpected ':'", "between brackets a `:` needs a space after it"),
    ("did not find expected key", "expected a key, indented like those before it"),
    ("did not find expected '-' indicator", "expected `- `, indented like the entries before it"),
    ("did not find expected node content", "expected a value"),
    ("block sequence entries are not allowed", "a list cannot begin on the line of its key"),
    ("mapping keys are not allowed", "a key cannot stand here"),
    ("found incompatible YAML document", "expected %YAML 1.1, or no such line"),
    ("found unknown directive name", "a line that begins with % and is neither %YAML nor %TAG"),
    ("found unknown escape character", "an unknown escape; within double quotes a backslash is written \\\\"),
    ("found undefined tag handle", "a tag with a prefix that no %TAG line defines"),
    ("did not find expected <document start>", "expected nothing after the document but --- or ..."),
)


def describe_syntax(error: MarkedYAMLError) -> Problem:
    """A text that is not YAML, where libyaml noticed; what has no end is placed where it begins."""
    message = str(error.problem or error.context or "libyaml does not say why")
    words = next((words for fragment, words in _WORDS if fragment in message), message)
    unfinished = "has no end" in words
    mark = (unfinished and error.context_mark) or error.problem_mark or error.context_mark
    if mark is None:
        return Problem(f"not YAML: {words}")
    if not unfinished and error.context_mark is not None and error.context_mark.line != mark.line:
        words += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    return Problem(f"not YAML: {words}", line=mark.line + 1, column=mark.column + 1)


def describe_character(error: ReaderError, source: bytes) -> Problem:
    """A character, or a byte, that no YAML text may hold."""
    before = source[: error.position].decode(detect_codec(source), "replace")
    what = "a control character" if "not allowed" in error.reason else f"bytes that are not text ({error.reason})"
    return Problem(
        f"not YAML: {what}",
        line=before.count("\n") + 1,
        column=len(before) - before.rfind("\n"),
    )


def detect_codec(source: bytes) -> str:
    """How the bytes of a YAML text are characters: UTF-16 by its byte order mark, else UTF-8."""
    return "utf-16" if source[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
