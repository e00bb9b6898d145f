"""What docstrings promise, and what the code behind them raises, as far as one can read it there."""

from __future__ import annotations

import ast
import builtins
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import bpm
from bpm import errors

Raised = frozenset[type[BaseException]]

_looked_into: list[Any] = []


def sections(value: Any) -> dict[str, dict[str, str]]:
    """The sections of a docstring (Args, Returns, Raises...), each with its entries: name and words."""
    found: dict[str, dict[str, str]] = {}
    entries: dict[str, str] | None = None
    names: list[str] = []
    for line in inspect.cleandoc(value.__doc__ or "").splitlines():
        if line and not line.startswith(" "):
            entries, names = (found.setdefault(line[:-1], {}) if re.fullmatch(r"[A-Z]\w+:", line) else None), []
        elif entries is not None and (entry := re.match(r"    (\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)", line)):
            names = entry[1].replace("*", "").split(", ")
            entries |= dict.fromkeys(names, entry[2])
        elif entries is not None and line:
            entries |= {name: f"{entries.get(name, '')} {line.strip()}" for name in names or [""]}
    return found


def promised(function: Any) -> Raised:
    """The exceptions in its Raises, and in those of the Sandbox's method that it refers to."""
    space = vars(sys.modules[function.__module__])
    names = set(sections(function).get("Raises", ()))
    kinds = {kind for name in names if isinstance(kind := lookup(name, space), type)}
    for other in re.findall(
        r"what is raised: as in :meth:`(?:bpm\.Sandbox\.)?(\w+)`", " ".join((function.__doc__ or "").split())
    ):
        kinds |= promised(getattr(bpm.Sandbox, other))
    return frozenset(kinds)


def lookup(name: str, space: dict[str, Any]) -> Any:
    """What a dotted name means there; an exception of bpm's is known everywhere."""
    first, *rest = name.split(".")
    value = space.get(first) or vars(builtins).get(first) or vars(errors).get(first)
    for part in rest:
        value = getattr(value, part, None)
    return value


@cache
def raised(function: Callable[..., Any]) -> Raised:
    """What its own code raises, and what those promise that it calls by names which can be followed.

    Who promises nothing is looked into.
    """
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef)
    _looked_into.append(function)
    try:
        return frozenset(_raised(definition.body, _space(function, definition), _owner(function), ()))
    finally:
        _looked_into.pop()


def _space(function: Any, definition: ast.AST) -> dict[str, Any]:
    """The names of its module, and those that it imports itself."""
    space = dict(vars(sys.modules[function.__module__]))
    for node in ast.walk(definition):
        if isinstance(node, ast.ImportFrom) and node.module:
            module = importlib.import_module(node.module)
            space |= {name.asname or name.name: getattr(module, name.name) for name in node.names}
    return space


def _owner(function: Any) -> Any:
    *way, _ = function.__qualname__.split(".")
    value: Any = sys.modules[function.__module__]
    for name in way:
        value = getattr(value, name, None)
    return value


def _raised(
    nodes: list[Any], space: dict[str, Any], owner: Any, caught: tuple[type, ...]
) -> Iterator[type[BaseException]]:
    for node in nodes:
        kinds: tuple[Any, ...] = ()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue  # It is run by somebody else, or later.
        if isinstance(node, ast.Try):
            handled = tuple(kind for handler in node.handlers for kind in _kinds(handler.type, space))
            yield from _raised(node.body, space, owner, (*caught, *handled))
            yield from _raised([*node.handlers, *node.orelse, *node.finalbody], space, owner, caught)
            continue
        if isinstance(node, ast.Raise) and node.exc is not None:
            kinds = _kinds(node.exc.func if isinstance(node.exc, ast.Call) else node.exc, space)
        elif isinstance(node, ast.Call):
            kinds = tuple(_promises(node.func, space, owner))
        yield from (kind for kind in kinds if not issubclass(kind, caught))
        yield from _raised(list(ast.iter_child_nodes(node)), space, owner, caught)


def _kinds(node: ast.expr | None, space: dict[str, Any]) -> tuple[Any, ...]:
    if node is None:
        return (BaseException,)
    parts = node.elts if isinstance(node, ast.Tuple) else [node]
    values = [lookup(ast.unparse(part), space) for part in parts]
    return tuple(value for value in values if isinstance(value, type) and issubclass(value, BaseException))


def _promises(node: ast.expr, space: dict[str, Any], owner: Any) -> Raised:
    name = ast.unparse(node)
    if owner is not None and name.startswith(("self.", "cls.")):
        value = inspect.getattr_static(owner, name.split(".", 1)[1], None)
        value = getattr(value, "__func__", value)
    elif re.fullmatch(r"[\w.]+", name):
        value = lookup(name, space)
    else:
        return frozenset()
    value = inspect.unwrap(getattr(value, "func", value)) if callable(value) else None
    if not str(getattr(value, "__module__", "")).startswith("bpm"):
        return frozenset()
    told = promised(value)
    return told if told or inspect.isclass(value) or value in _looked_into else raised(value)
