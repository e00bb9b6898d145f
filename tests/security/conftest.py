"""The real command line, on jobs whose user is up to something."""

from __future__ import annotations

from tests.acceptance.conftest import jobs
from tests.cli.conftest import bpm

__all__ = ["bpm", "jobs"]
