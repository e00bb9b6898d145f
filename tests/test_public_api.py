"""The public interface: what is promised is there, and costs nothing until it is used."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import bpm
from bpm import AlreadyRunning, BpmError, Locked, Sandbox, aio
from tests.docstrings import promised, raised, sections


def test_all_names_nothing_twice():
    """__all__ names nothing twice; that it is in order, ruff sees to."""
    assert sorted(set(bpm.__all__)) == sorted(bpm.__all__)


@pytest.mark.parametrize("name", bpm.__all__)
def test_every_name_is_there_and_documented(name: str):
    """Every public name can be imported, and says what it is."""
    value = getattr(bpm, name)
    if name != "__version__":
        assert inspect.getdoc(value)
    assert [] == [member for member, found in members(value) if isinstance(found, property) and not found.__doc__]


def callables() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method, of bpm and of bpm.aio."""
    named = {f"bpm.{name}": getattr(bpm, name) for name in bpm.__all__}
    named |= {f"bpm.aio.{name}": getattr(aio, name) for name in aio.__all__}
    for name, value in named.items():
        if callable(value) and getattr(value, "__init__", None) is not Exception.__init__:
            yield name, value
        for member, found in members(value):
            function = getattr(found, "__func__", found)
            if inspect.isfunction(function):
                yield f"{name}.{member}", function


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """What is public of a class, inherited from classes of bpm or not."""
    for kind in value.__mro__ if inspect.isclass(value) else ():
        if kind.__module__.startswith("bpm."):
            yield from ((name, found) for name, found in vars(kind).items() if not name.startswith("_"))


documented = pytest.mark.parametrize(
    ("name", "value"), list(callables()), ids=lambda value: value if isinstance(value, str) else ""
)

# What a call that is followed promises, and never comes.
NEVER: dict[str, set[type[Exception]]] = {
    "bpm.start": {Locked},  # it waits for the lock, as the rest do
    "bpm.JobProcess.start": {Locked, AlreadyRunning},  # it has looked, under the lock
    "bpm.JobProcess.run": {Locked, AlreadyRunning},
    "bpm.JobProcess.stop": {Locked},
    "bpm.Container.stop": {Locked},
    "bpm.Container.kill": {Locked},
    "bpm.Container.remove": {Locked},
}


def arguments_told(value: Any) -> set[str]:
    """By Args, and by that of the method that the rest is left to."""
    left = re.findall(
        r"The other arguments.*?as in :\w+:`(?:bpm\.Sandbox\.)?(\w+)`", " ".join((value.__doc__ or "").split())
    )
    return set(sections(value).get("Args", ())).union(*(arguments_told(getattr(Sandbox, other)) for other in left))


@documented
def test_every_argument_is_documented(name: str, value: Any):
    """Each has an entry in Args, of what takes it, of a base, or of what it refers to."""
    classes = value.__mro__ if inspect.isclass(value) else (value,)
    told = {argument for one in classes for argument in arguments_told(one)}
    parameters = set(inspect.signature(value).parameters) - {"self", "cls"}

    assert inspect.getdoc(value)
    assert set() == parameters - told


@documented
def test_every_value_is_documented(name: str, value: Any):
    """What takes arguments and returns something has Returns; without arguments, the summary says what it gives."""
    signature = inspect.signature(value)
    nothing = inspect.isclass(value) or signature.return_annotation in (None, "None")
    text = " ".join((value.__doc__ or "").split())

    assert nothing or set(signature.parameters) <= {"self", "cls"} or "Returns: " in text or "what is returned" in text


@documented
def test_every_error_is_documented(name: str, value: Any):
    """What the code raises, followed through what it calls, is in Raises: bpm's own errors and ValueError."""
    code = vars(value).get("__init__") if inspect.isclass(value) else value
    if not inspect.isfunction(code) or not code.__module__.startswith("bpm"):
        return
    told = (*promised(value), *NEVER.get(name, ()))

    assert set() == {
        kind for kind in raised(code) if issubclass(kind, BpmError | ValueError) and not issubclass(kind, told)
    }


@documented
def test_units_are_told(name: str, value: Any):
    """Of seconds and processors, which are the numbers with fractions, and of bytes."""
    parameters = inspect.signature(value).parameters.values()
    args = sections(value).get("Args", {})
    counted = {p.name: "econds|rocessors" for p in parameters if "float" in str(p.annotation)}
    bytes_of = {"memory", "memory_high", "memory_peak", "swap", "max_rss", "core_file_size", "file_size", "size"}
    counted |= {p.name: "ytes|size" for p in parameters if p.name in bytes_of}

    assert set() == {p for p, unit in counted.items() if p in args and not re.search(unit, args[p])}


def test_everything_public_is_named():
    """What the package shows by dir() is __all__, and nothing else is given away."""
    assert sorted(bpm.__all__) == dir(bpm)
    with pytest.raises(AttributeError, match="module 'bpm' has no attribute 'nothing'"):
        bpm.nothing


def test_every_error_is_public():
    """Every exception of errors.py is in __all__."""
    from bpm import errors

    raised = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert {name for name in raised if not name.startswith("_") and name in errors.__doc__} <= set(bpm.__all__)


@pytest.mark.parametrize(
    ("program", "absent"),
    [
        ("import bpm; bpm.__version__", ["attr", "yaml", "json", "bpm.errors", "bpm._native"]),
        ("from bpm import ConfigError", ["yaml", "bpm._native", "bpm.plan"]),
        ("from bpm import load", ["bpm._native", "bpm.runtime", "subprocess"]),
        (
            "from bpm import Environment",
            ["bpm.insight", "subprocess", "asyncio", "dataclasses", "pathlib", "ctypes", "tempfile"],
        ),
        (
            "from bpm import Environment; Environment('/').process('nothing').status()",
            ["yaml", "hashlib", "bpm.plan.model", "bpm._native.binding", "bpm.config.models", "bpm.runtime.startup"],
        ),
    ],
)
def test_names_cost_what_they_need(program: str, absent: list[str]):
    """A name imports no more than it needs."""
    code = f"import sys\nold = set(sys.modules)\n{program}\nprint(*set({absent!r}) & set(sys.modules) - old)"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    # Up to 3.10, platform, which attrs imports, imports it.
    unavoidable = {"subprocess"} if sys.version_info < (3, 11) else set()
    assert set() == set(done.stdout.split()) - unavoidable
