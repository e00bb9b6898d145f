"""Command lines: what subprocess takes for one, as the kernel has it."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable, Mapping, Sequence

Argument = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Words = Sequence[Argument]

DEFAULT_PATH = b"/bin:/usr/bin"
"""Where execvp(3) looks when the environment has no PATH."""


def words_of(args: Words | Argument, *, shell: bool = False) -> tuple[bytes, ...]:
    """The program and its arguments.

    Raises:
        ValueError: There is no program, or a word holds a NUL.
        TypeError: A word is no word.
    """
    if isinstance(args, (str, bytes, os.PathLike)):
        words: tuple[bytes, ...] = (os.fsencode(args),)
    else:
        words = tuple(os.fsencode(word) for word in args)
    if shell:
        words = (b"/bin/sh", b"-c", *words)
    if not words or not words[0]:
        raise ValueError("no program: the arguments are empty")
    for i, word in enumerate(words):
        if 0 in word:
            raise ValueError(f"argument {i} holds a null byte: {word[:40]!r}")
    return words


def variables_of(env: Mapping[str, str]) -> tuple[bytes, ...]:
    """An environment, in the order of its names.

    Raises:
        ValueError: A name is empty or holds ``=``, or something holds a NUL.
    """
    found = []
    for name in sorted(env):
        text = os.fsencode(name) + b"=" + os.fsencode(env[name])
        if not name or "=" in name:
            raise ValueError(f"illegal environment variable name: {name!r}")
        if 0 in text:
            raise ValueError(f"the environment variable {name!r} holds a null byte")
        found.append(text)
    return tuple(found)


def candidates_of(program: bytes, variables: Iterable[bytes]) -> tuple[bytes, ...]:
    """The files tried as the program, in turn, as execvp(3) does."""
    if b"/" in program:
        return (program,)
    path = next((text[5:] for text in variables if text.startswith(b"PATH=")), DEFAULT_PATH)
    return tuple(posixpath.join(entry, program) for entry in path.split(b":"))
