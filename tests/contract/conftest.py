"""The real command line, on jobs of the test's own."""

from __future__ import annotations

from tests.acceptance.conftest import jobs
from tests.cli.conftest import bpm

__all__ = ["bpm", "jobs"]
