"""The benchmarks still run. What they say is for an idle machine: make bench."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.needs_root


def test_it_measures() -> None:
    """Every ratio is printed with its bound, whichever way it went."""
    command = [sys.executable, "-m", "tests.bench", "--runs", "2", "--gap", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert "" == done.stderr and done.returncode in (0, 1)
    assert ["bpm against bare C", "1 GiB against small"] == [
        line.partition("  ")[0] for line in done.stdout.splitlines() if " bound " in line
    ]
