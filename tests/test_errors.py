"""Errors are values: they keep what went wrong, and word it in one place."""

from __future__ import annotations

import copy
import errno
import inspect
import pickle
import re

import pytest

from bpm import errors
from bpm.errors import (
    AlreadyRunning,
    BpmError,
    CgroupError,
    ConfigError,
    HookError,
    HostError,
    JobNotFound,
    Locked,
    NotRunning,
    PlanError,
    PrepareError,
    Problem,
    ProcessNotFound,
    ProgramNotFound,
    ProgramNotPermitted,
    RecordError,
    SpawnError,
    UnsafePathError,
    describe_errno,
)

LINE_3 = Problem("expected a size", "limits.memory", "/x/bpm.yml", 3, 7, "type")
NO_ENTRY = OSError(errno.ENOENT, "whatever")
LOOP = UnsafePathError("/x/log", "a symbolic link owned by uid 7")

BUILT_IN = {"OSError", "FileNotFoundError", "PermissionError"}
OSERRORS = "(?:" + "|".join(BUILT_IN) + ")"

# One of each, and what it says.
SENTENCES = [
    (ConfigError([LINE_3, Problem("no processes")]), "expected a size (limits.memory at /x/bpm.yml:3:7)\nno processes"),
    (PlanError("processes[0].limits", "too much"), "too much (processes[0].limits)"),
    (PlanError("", "too much"), "too much"),
    (LOOP, "refusing /x/log: a symbolic link owned by uid 7"),
    (
        PrepareError("create /x", "default: logs", NO_ENTRY),
        "cannot create /x (because default: logs): No such file or directory (ENOENT)",
    ),
    (
        PrepareError("open /x/log", "default: logs", LOOP),
        "cannot open /x/log (because default: logs): refusing /x/log: a symbolic link owned by uid 7",
    ),
    (
        CgroupError("/c/memory.max", "5", "limits.memory", errno.EBUSY),
        "cannot write 5 to /c/memory.max (because limits.memory): Device or resource busy (EBUSY)",
    ),
    (CgroupError("/c", "", "", errno.EROFS, "remount it"), "cannot use /c: Read-only file system (EROFS); remount it"),
    (SpawnError("mounts", 3, errno.EACCES, "cannot start web: mounts"), "cannot start web: mounts"),
    (ProgramNotFound("program", 0, errno.ENOENT, "there is no web"), "there is no web"),
    (ProgramNotPermitted("program", 0, errno.EACCES, "web is not executable"), "web is not executable"),
    (HookError("/bin/hook", 3), "prestart hook failed: exit status 3 (/bin/hook)"),
    (HookError("/bin/hook", -9), "prestart hook failed: signal 9 (/bin/hook)"),
    (
        HookError("/bin/hook", None, errno.ENOENT),
        "prestart hook failed: /bin/hook: No such file or directory (ENOENT)",
    ),
    (RecordError("/x/state.json", "not JSON"), "/x/state.json: not JSON"),
    (JobNotFound("no such job"), "no such job"),
    (ProcessNotFound("no such process"), "no such process"),
    (NotRunning("not running"), "not running"),
    (AlreadyRunning("running"), "running"),
    (Locked("held"), "held"),
    (HostError("no kernel"), "no kernel"),
]


@pytest.mark.parametrize(("error", "sentence"), SENTENCES)
def test_sentences(error: BpmError, sentence: str) -> None:
    """What an error says follows from what it keeps."""
    assert sentence == str(error)


def test_every_error_is_in_this_file() -> None:
    """No exception of bpm's is without a sentence here."""
    mine = {cls for _, cls in inspect.getmembers(errors, inspect.isclass) if issubclass(cls, BpmError)}
    abstract = {BpmError, errors._SystemError}
    assert mine - abstract == {type(error) for error, _ in SENTENCES}


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """The drawing names every error, says which are OSErrors, and no others."""
    drawing = errors.__doc__ or ""
    drawn = set(re.findall(r"\b[A-Z]\w+Error\b|\b[A-Z][a-z]+Not[A-Z][a-z]+\b|\b\w+Running\b|\bLocked\b", drawing))
    assert drawn - BUILT_IN == {type(error).__name__ for error, _ in SENTENCES} | {"BpmError"}
    oserrors = {re.findall(r"\w+", line)[0] for line in drawing.splitlines() if re.search(rf"\({OSERRORS}\)$", line)}
    assert oserrors == {type(error).__name__ for error, _ in SENTENCES if isinstance(error, OSError)}


@pytest.mark.parametrize("error", [error for error, _ in SENTENCES if isinstance(error, OSError)])
def test_errors_of_the_kernel_are_oserrors(error: OSError) -> None:
    """What carries an errno can be caught as an OSError, and its errno is the kernel's."""
    assert error.errno in (errno.ENOENT, errno.ELOOP, errno.EBUSY, errno.EROFS, errno.EACCES)


def test_paths_are_file_names() -> None:
    """Where an error is about a file, `filename` is that file, as OSError has it."""
    assert "/x/log" == LOOP.filename == LOOP.path
    assert "/c" == CgroupError("/c", "", "", errno.EROFS).filename
    assert SpawnError("mounts", 3, errno.EACCES, "x").filename is None


@pytest.mark.parametrize("error", [error for error, _ in SENTENCES])
@pytest.mark.parametrize("duplicate", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_errors_can_be_sent(error: BpmError, duplicate: object) -> None:
    """A copy, or one that crossed to another process, says and keeps the same."""
    assert callable(duplicate)
    again = duplicate(error)
    assert (type(error), str(error), vars(error)) == (type(again), str(again), vars(again))
    if isinstance(error, OSError):
        assert (error.errno, error.filename) == (again.errno, again.filename)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("bad"), "bad"),
        (Problem("bad", "a.b"), "bad (a.b)"),
        (Problem("bad", line=2, column=5), "bad (line 2, column 5)"),
        (Problem("bad", file="/f"), "bad (/f)"),
        (Problem("bad", "a.b", "/f", 2, 5), "bad (a.b at /f:2:5)"),
    ],
)
def test_problems_say_where(problem: Problem, text: str) -> None:
    """A problem names its key and its place, as far as they are known."""
    assert text == str(problem)


def test_errnos_by_name() -> None:
    """An errno is worded and named; a number that is none is still said."""
    assert "Permission denied (EACCES)" == describe_errno(errno.EACCES)
    assert "error 99999" == describe_errno(99999)
