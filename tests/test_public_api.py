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
from bpm import aio


def test_all_names_nothing_twice():
    """__all__ names nothing twice; that it is in order, ruff sees to."""
    assert sorted(set(bpm.__all__)) == sorted(bpm.__all__)


@pytest.mark.parametrize("name", bpm.__all__)
def test_every_name_is_there_and_documented(name: str):
    """Every public name can be imported, and says what it is."""
    value = getattr(bpm, name)
    if name != "__version__":
        assert inspect.getdoc(value)


def callables() -> Iterator[tuple[str, Any]]:
    """Every public function, class and method, of bpm and of bpm.aio."""
    named = {f"bpm.{name}": getattr(bpm, name) for name in bpm.__all__}
    named |= {f"bpm.aio.{name}": getattr(aio, name) for name in aio.__all__}
    for name, value in named.items():
        if callable(value) and getattr(value, "__init__", None) is not Exception.__init__:
            yield name, value
        for member, found in vars(value).items() if inspect.isclass(value) else ():
            function = getattr(found, "__func__", found)
            if inspect.isfunction(function) and not member.startswith("_"):
                yield f"{name}.{member}", function


@pytest.mark.parametrize(
    ("name", "value"), list(callables()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_argument_is_documented(name: str, value: Any):
    """Every parameter of what is public is named in its docstring, a base's, or the doc of a key of bpm.yml."""
    classes = value.__mro__ if inspect.isclass(value) else (value,)
    text = " ".join(inspect.cleandoc(one.__doc__ or "") for one in classes)
    keys = {a.name for a in getattr(value, "__attrs_attrs__", ()) if a.metadata.get("doc")}
    parameters = set(inspect.signature(value).parameters) - {"self", "cls", *keys}
    unnamed = sorted(parameter for parameter in parameters if not re.search(rf"\b{parameter}\b", text))

    assert text
    assert unnamed == [] or "The other arguments" in text


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
