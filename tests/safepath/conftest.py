"""A tree with root's secrets and a hostile user's home in it, and the sentence that all attacks end with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from bpm.errors import UnsafePathError
from tests.safepath.trees import HOSTILE, Operation, mkdir, plant_secrets, snapshot


@pytest.fixture
def tree(tmp_path: object) -> str:
    return str(tmp_path)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """Every test leaves as many descriptors as it found."""
    before = os.listdir("/proc/self/fd")
    yield
    assert before == os.listdir("/proc/self/fd")


@pytest.fixture
def outside(tree: str) -> str:
    """Root's directory, with secrets in it."""
    return plant_secrets(tree)


@pytest.fixture
def home(tree: str) -> str:
    """The hostile user's own directory, in root's."""
    return mkdir(f"{tree}/home", HOSTILE)


@pytest.fixture
def refused(tree: str) -> Callable[[Operation, str], str]:
    """Runs an operation, sees to it that it is refused and nothing changed, and returns the message."""

    def check(operation: Operation, path: str) -> str:
        before = snapshot(tree)
        with pytest.raises(UnsafePathError) as caught:
            operation(path)
        assert before == snapshot(tree)
        assert str(caught.value).startswith(f"refusing {caught.value.path}: ")
        return str(caught.value)

    return check
