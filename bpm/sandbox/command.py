"""Command: what one call of run() or popen() asks for, as the kernel has it."""

from __future__ import annotations

import os
import posixpath
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any

from attrs import frozen

Argument = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Arguments = Sequence[Argument] | Argument
EnvMapping = Mapping[str, str] | Mapping[bytes, bytes]
Stream = None | int | IO[Any]
"""What subprocess takes for stdin, stdout and stderr: None, PIPE, DEVNULL, STDOUT, a descriptor or a file object."""

DEFAULT_PATH = b"/bin:/usr/bin"
"""Where execvp(3) looks when the environment has no PATH."""


@frozen
class Command:
    """One program to run.

    Args:
        words: The program and its arguments.
        streams: Its standard input, output and error.
        variables: Its environment, as ``NAME=value``; None is the sandbox's.
        workdir: Where it starts; None is the sandbox's.
        passed: Descriptors that it inherits at their own numbers, in order.
        executable: The program, where it is not the first of the words.
    """

    words: tuple[bytes, ...]
    streams: tuple[Stream, Stream, Stream] = (None, None, None)
    variables: tuple[bytes, ...] | None = None
    workdir: bytes | None = None
    passed: tuple[int, ...] = ()
    executable: bytes | None = None

    @property
    def program(self) -> bytes:
        """What is looked for and executed."""
        return self.executable or self.words[0]


def make_command(
    args: Arguments,
    streams: tuple[Stream, Stream, Stream] = (None, None, None),
    *,
    env: EnvMapping | None = None,
    cwd: Argument | None = None,
    shell: bool = False,
    pass_fds: Iterable[int] = (),
    executable: Argument | None = None,
) -> Command:
    """What those arguments of subprocess.Popen mean.

    Raises:
        ValueError: There is no program, something holds a NUL, or no environment can hold a variable.
        TypeError: A word is no word.
    """
    passed = sorted(set(pass_fds)) if pass_fds else []
    if passed and passed[0] < 0:
        raise ValueError(f"not a descriptor, in pass_fds: {passed[0]}")
    words = words_of(args, shell=shell)
    program = None if executable is None else words_of(executable)[0]
    if program is not None and shell:
        words = (program, *words[1:])
    return Command(
        words,
        streams,
        None if env is None else variables_of(env),
        None if cwd is None else workdir_of(cwd),
        tuple([fd for fd in passed if fd > 2]),
        program,
    )


def words_of(args: Arguments, *, shell: bool = False) -> tuple[bytes, ...]:
    """The program and its arguments."""
    words: tuple[bytes, ...]
    if isinstance(args, (list, tuple)) or not isinstance(args, (str, bytes, os.PathLike)):
        words = tuple([os.fsencode(word) for word in args])
    else:
        words = (os.fsencode(args),)
    if shell:
        words = (b"/bin/sh", b"-c", *words)
    if not words or not words[0]:
        raise ValueError("no program: the arguments are empty")
    for i, word in enumerate(words):
        if 0 in word:
            raise ValueError(f"argument {i} holds a null byte: {word[:40]!r}")
    return words


def variables_of(env: EnvMapping) -> tuple[bytes, ...]:
    """An environment, in the order of its names."""
    found = []
    for key, value in env.items():
        name = os.fsencode(key)
        text = name + b"=" + os.fsencode(value)
        if not name or b"=" in name:
            raise ValueError(f"illegal environment variable name: {key!r}")
        if 0 in text:
            raise ValueError(f"the environment variable {key!r} holds a null byte")
        found.append(text)
    return tuple(sorted(found))


def workdir_of(cwd: Argument) -> bytes:
    """A directory inside."""
    path = os.fsencode(cwd)
    if 0 in path:
        raise ValueError(f"cwd holds a null byte: {path[:40]!r}")
    return path


def candidates_of(program: bytes, variables: Iterable[bytes]) -> tuple[bytes, ...]:
    """The files tried as the program, in turn, as execvp(3) does."""
    if b"/" in program:
        return (program,)
    path = next((text[5:] for text in variables if text.startswith(b"PATH=")), DEFAULT_PATH)
    return tuple(posixpath.join(entry, program) for entry in path.split(b":"))


def streams_of(
    stdin: Stream, input: str | bytes | None, stdout: Stream, stderr: Stream, capture_output: bool
) -> tuple[Stream, Stream, Stream]:
    """What ``run`` makes of these arguments, with the errors of subprocess."""
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        stdin = subprocess.PIPE
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = subprocess.PIPE
    return stdin, stdout, stderr
