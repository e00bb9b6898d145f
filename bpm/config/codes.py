"""The code of each kind of problem: what people grep for, and switch on. docs/checks.md says what to do about each."""

from __future__ import annotations

# What a start would refuse.
SYNTAX = "syntax"
WRONG_TYPE = "wrong-type"
INVALID = "invalid"
CANNOT_PLAN = "cannot-plan"
MISSING_DISK = "missing-disk"
MISSING_SOURCE = "missing-source"
MISSING_HOOK = "missing-hook"

# What a start would go on with.
UNKNOWN_KEY = "unknown-key"
UNKNOWN_CAPABILITY = "unknown-capability"
DUPLICATE_PROCESS = "duplicate-process"
DUPLICATE_VOLUME = "duplicate-volume"
DROPPED_VOLUME = "dropped-volume"
REDUNDANT_VOLUME = "redundant-volume"
HIDING_VOLUME = "hiding-volume"
WRITABLE_EXECUTABLE = "writable-executable"
EMPTY_GLOB = "empty-glob"
WIDE_GLOB = "wide-glob"
NEEDLESS_PRIVILEGE = "needless-privilege"
REDUNDANT_CAPABILITY = "redundant-capability"
RELATIVE_HOOK = "relative-hook"
LOW_LIMIT = "low-limit"
NO_LIMIT = "no-limit"
NOT_ENFORCED = "not-enforced"
MISSING_EXECUTABLE = "missing-executable"
MISSING_INTERPRETER = "missing-interpreter"
MISSING_WORKDIR = "missing-workdir"

ERRORS = frozenset({SYNTAX, WRONG_TYPE, INVALID, CANNOT_PLAN, MISSING_DISK, MISSING_SOURCE, MISSING_HOOK})

CODES = frozenset(
    value for name, value in tuple(globals().items()) if name.isupper() and isinstance(value, str) and name[0] != "_"
)
"""All of them."""
