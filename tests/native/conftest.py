"""Every test of this room leaves its process and its host as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpm._native import init_descriptor
from tests.inside import World, wait_for
from tests.native.callers import leavings


@pytest.fixture(scope="session")
def _init_made() -> None:
    """Init's memfd is made once for a whole process, so it is no leaving of any test."""
    init_descriptor()


@pytest.fixture(autouse=True)
def _nothing_left(_init_made: None, request: pytest.FixtureRequest) -> Iterator[None]:
    """No descriptor, no child (dead or alive) and no mount is left over.

    Set up before the test's world, so that it looks when that has ended. The mounts are the whole host's, where
    others may be at work: what they are doing passes.
    """
    before = leavings()
    yield
    wait_for(lambda: leavings() == before, 5)

    assert before == leavings()


@pytest.fixture
def world(_nothing_left: None, world: World) -> World:
    """The small world, ended before its leavings are looked for."""
    return world
