"""Every exception that bpm raises.

The tree::

    BpmError
    |- ConfigError(problems)                   the text is wrong
    |- PlanError(key, reason)                  the text is fine, but not on this host
    |- UnsafePathError(path, reason)           a path that an unprivileged user could have planted   (OSError)
    |- PrepareError(step, because)             a host-side step failed                                (OSError)
    |- CgroupError(file, value)                a limit was refused                                    (OSError)
    |- SpawnError(stage, item)                 the container was not built, or the program not run    (OSError)
    |  |- ProgramNotFound                      there is no such program inside               (FileNotFoundError)
    |  `- ProgramNotPermitted                  it may not be executed                        (PermissionError)
    |- HookError(status)                       `hooks.pre_start` ended badly
    |- JobNotFound / ProcessNotFound           there is no such thing in this root
    |- NotRunning / AlreadyRunning / Locked    it is not in the state that was asked for
    |- RecordError(path)                       a record on disk is not ours
    `- HostError(reason)                       this machine, or this user, cannot do it at all

Errors are values: each keeps what went wrong in fields, and words it only in ``str()``.
"""

from __future__ import annotations

import errno as _errno
import os
from collections.abc import Sequence
from typing import Any

from attrs import frozen


class BpmError(Exception):
    """The root of the tree: catch this to catch whatever bpm means to raise."""


@frozen
class Problem:
    """One thing wrong with (or, as a warning, remarkable about) a bpm.yml.

    Args:
        reason: What is wrong, a sentence without the place.
        key: The key's path, such as ``processes[0].limits.memory``; empty where no key is known.
        file: The file's path; empty for a text that came from no file.
        line: Counted from 1; 0 where unknown.
        column: Counted from 1, in characters; 0 where unknown.
        code: A stable word for this kind of problem, such as ``unknown-key``.
    """

    reason: str
    key: str = ""
    file: str = ""
    line: int = 0
    column: int = 0
    code: str = ""

    @property
    def place(self) -> str:
        """Where it stands, ``FILE:LINE:COLUMN``; without a file, ``line L, column C``."""
        if not self.line:
            return self.file
        if not self.file:
            return f"line {self.line}, column {self.column}"
        return f"{self.file}:{self.line}:{self.column}"

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.key, self.place) if part)
        return f"{self.reason} ({where})" if where else self.reason


class ConfigError(BpmError):
    """The text of a bpm.yml was rejected.

    Args:
        problems: All that was found, in the file's order.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class PlanError(BpmError):
    """What was asked for is well formed, but cannot be had on this host, or by this user.

    Args:
        key: The key of bpm.yml, or the field of a Sandbox, that asked for it.
        reason: Why not.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(key, reason)

    def __str__(self) -> str:
        return f"{self.reason} ({self.key})" if self.key else self.reason


def describe_errno(number: int) -> str:
    """The kernel's answer in words and by name: ``Permission denied (EACCES)``."""
    name = _errno.errorcode.get(number)
    return f"{os.strerror(number)} ({name})" if name else f"error {number}"


class _SystemError(BpmError, OSError):
    """An error that carries an errno; ``str()`` is the whole sentence, ``errno`` the kernel's answer."""

    def __init__(self, number: int, sentence: str, filename: str | None = None) -> None:
        # OSError keeps errno, strerror and filename; its own wording is replaced by ours.
        if filename is None:
            OSError.__init__(self, number, sentence)
        else:
            OSError.__init__(self, number, sentence, filename)
        self.sentence = sentence

    def __str__(self) -> str:
        return self.sentence

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError's own would call our constructors with its arguments; errors cross process borders too.
        return _restore, (type(self), self.errno, self.filename, self.__dict__)


def _restore(kind: type[_SystemError], number: int, filename: str | None, fields: dict[str, Any]) -> _SystemError:
    error = kind.__new__(kind)
    _SystemError.__init__(error, number, fields["sentence"], filename)
    error.__dict__.update(fields)
    return error


class UnsafePathError(_SystemError):
    """A path was refused because someone other than root could have planted it.

    Args:
        path: The path as far as it was followed, up to and including what was refused.
        reason: What stands there and who owns it, such as ``a symbolic link owned by uid 1000``.
        number: The errno.
    """

    def __init__(self, path: str, reason: str, number: int = _errno.ELOOP) -> None:
        self.path = path
        self.reason = reason
        super().__init__(number, f"refusing {path}: {reason}", path)


class PrepareError(_SystemError):
    """A step on the host, before the clone, failed.

    Args:
        step: What was being done, such as ``create the directory /var/vcap/data/web``.
        because: The key of bpm.yml, or the named default, that asked for it.
        cause: The error that it met.
    """

    def __init__(self, step: str, because: str, cause: OSError) -> None:
        self.step = step
        self.because = because
        reason = str(cause) if isinstance(cause, BpmError) else describe_errno(cause.errno or 0)
        super().__init__(cause.errno or 0, f"cannot {step} (because {because}): {reason}")


class CgroupError(_SystemError):
    """A cgroup could not be made, joined or limited.

    Args:
        file: The file or directory of the cgroup file system.
        value: What was to be written there; empty for a directory.
        because: The key of bpm.yml, or the named default, that asked for it.
        number: The errno.
        hint: What that means here.
    """

    def __init__(self, file: str, value: str, because: str, number: int, hint: str = "") -> None:
        self.file = file
        self.value = value
        self.because = because
        what = f"write {value} to {file}" if value else f"use {file}"
        why = f" (because {because})" if because else ""
        tail = f"; {hint}" if hint else ""
        super().__init__(number, f"cannot {what}{why}: {describe_errno(number)}{tail}", file)


class SpawnError(_SystemError):
    """The container was not built, or its program could not be run. Never an exit code of the program.

    Args:
        stage: The stage's name, as in docs/stages.md.
        item: Which entry of that stage, counted from 0; -1 where the stage has no entries.
        number: The errno, 0 where the kernel gave none.
        sentence: The whole story, for a person.
        filename: The program, or the directory that it was to start in, where that is what was wrong.
    """

    def __init__(self, stage: str, item: int, number: int, sentence: str, filename: str | None = None) -> None:
        self.stage = stage
        self.item = item
        super().__init__(number, sentence, filename)


class ProgramNotFound(SpawnError, FileNotFoundError):
    """The program, or what it needs to be executed, does not exist inside."""


class ProgramNotPermitted(SpawnError, PermissionError):
    """The program may not be executed inside."""


class HookError(BpmError):
    """`hooks.pre_start` ended with a status other than 0.

    Args:
        executable: The hook.
        status: As ``subprocess`` has it: the exit status, or minus the signal's number; None when it never ran.
        number: The errno where it never ran.
    """

    def __init__(self, executable: str, status: int | None, number: int = 0) -> None:
        self.executable = executable
        self.status = status
        self.number = number
        super().__init__(executable, status, number)

    def __str__(self) -> str:
        if self.status is None:
            return f"prestart hook failed: {self.executable}: {describe_errno(self.number)}"
        how = f"exit status {self.status}" if self.status >= 0 else f"signal {-self.status}"
        return f"prestart hook failed: {how} ({self.executable})"


class JobNotFound(BpmError):
    """There is no such job below the root."""


class ProcessNotFound(BpmError):
    """The job's bpm.yml has no process of that name."""


class NotRunning(BpmError):
    """The process is not running, or could not be found."""


class AlreadyRunning(BpmError):
    """The process is running already."""


class Locked(BpmError):
    """Someone else holds the lock, and waiting was not asked for."""


class RecordError(BpmError):
    """A record on disk cannot be read, or was not written by us.

    Args:
        path: The record's file.
        reason: What is wrong with it.
    """

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(path, reason)

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class HostError(BpmError):
    """This machine, or this user, cannot run containers; the text says what is missing."""
