"""Tables that say which tests hold what is promised, and whether there are such tests."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

TESTS = Path(__file__).parent.parent


def read_table(path: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """A table's entries: what is said, and the tests that hold it; an entry that is said twice is an error."""
    text = path.read_text()
    table = yaml.safe_load(text)
    assert len(table) == sum(1 for line in text.splitlines() if line and not line.startswith(("#", " "))), path
    return {
        str(key): (entry["says"], tuple(entry["by"])) if isinstance(entry, dict) else (str(key), tuple(entry))
        for key, entry in table.items()
    }


@cache
def names_in(file: str) -> frozenset[str]:
    """The tests of a file, by name, those of a class as ``Class::name``; none where there is no such file."""
    try:
        tree = ast.parse((TESTS / file).read_text())
    except FileNotFoundError:
        return frozenset()
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{child.name}" for child in node.body if isinstance(child, ast.FunctionDef)}
    return frozenset(name for name in found if name.rpartition("::")[2].startswith("test_"))


def missing(nodes: Iterable[str]) -> list[str]:
    """Those that are no test."""
    return [node for node in nodes if node.partition("::")[2] not in names_in(node.partition("::")[0])]
