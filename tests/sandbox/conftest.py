"""Every test of this room leaves its process and its host as they were."""

from __future__ import annotations

import gc
import pwd
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bpm import Prepared, Sandbox
from bpm._native import init_descriptor, life_descriptor
from tests.inside import wait_for
from tests.native.callers import in_child
from tests.sandbox.leavings import leavings
from tests.sandbox.ordinary import become, made_user


@pytest.fixture(scope="session")
def _files_made() -> None:
    """What is made once for a whole process is no leaving of any test."""
    init_descriptor()
    life_descriptor()


@pytest.fixture(autouse=True)
def _nothing_left(_files_made: None) -> Iterator[None]:
    """No descriptor, no child (dead or alive) and no cgroup is left over."""
    before = leavings()
    yield
    gc.collect()
    wait_for(lambda: leavings() == before, 5)

    assert before == leavings()


@pytest.fixture
def system() -> Sandbox:
    """The host's system, read-only."""
    return Sandbox.system()


@pytest.fixture
def prepared(_nothing_left: None, system: Sandbox) -> Iterator[Prepared]:
    """The same, ready to spawn."""
    with system.prepare() as prepared:
        yield prepared


@pytest.fixture(scope="session")
def user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user, with ranges of ids for newuidmap(1)."""
    with made_user() as user:
        yield user


@pytest.fixture
def as_user(user: pwd.struct_passwd) -> Any:
    """Run a function as that user."""

    def run(function: Any, groups: Sequence[int] = ()) -> Any:
        def inside() -> Any:
            become(user, groups)
            return function()

        return in_child(inside)

    return run
