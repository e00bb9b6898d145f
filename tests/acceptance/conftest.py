"""The real command line, on jobs of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.jobs import Jobs
from tests.cli.conftest import CommandLine, bpm

__all__ = ["bpm"]


@pytest.fixture
def jobs(bpm: CommandLine, probe: Path) -> Jobs:
    """Jobs on an empty BOSH root."""
    return Jobs(bpm, probe)
