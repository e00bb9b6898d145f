"""The integration suite: what is run on each host, and what is left out there.

All of tests is in it, but for what is the same on every host: the rooms listed here, and the files and tests that are
marked ``same_everywhere``. So a test that nobody thought about is in it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

LEFT_OUT = {
    "bench": "measures, and such a machine is no measure",
    "config": "text in, values out",
    "data": "no tests",
    "differential": "compares every call of every ABI with runc's, and a user-mode kernel has no 32-bit ones",
    "insight": "judges values that it is given",
    "inside": "no tests",
    "model": "a model held against the machine's own kernel, by very many examples",
    "monit": "the real monit sees pidfiles and processes, and most of its minute is spent waiting for its next cycle",
    "oci": "writes bundles for other runtimes, from plans",
    "plan": "pure, but for the files below",
    "servers": "large programs that do on one kernel what they do on another",
    "typed": "no tests",
    "vm": "tests these very machines",
}
"""Directories of tests, and why the hosts do without them."""

IN_SPITE_OF_THAT = ["tests/plan/test_seccomp_kernel.py"]


def pytest_command(arguments: list[str], tally: Path) -> list[str]:
    """Pytest by the interpreter that runs this, on the whole suite unless the arguments have paths of tests."""
    chosen = arguments
    if not any(os.path.exists(argument.partition("::")[0]) for argument in arguments):
        chosen = ["-m", "not same_everywhere", *arguments, *integration_tests()]
    fixed = ["-q", "--color=no", "--tb=short", "-p", "no:cacheprovider", "--timeout=600", f"--junitxml={tally}"]
    # A machine is slow, and gets what CPU others leave it: who was starved may try again, and the summary says who did.
    fixed += ["-rfEsR", "--reruns=2"]
    return [sys.executable, "-m", "pytest", *fixed, *chosen]


def integration_tests() -> list[str]:
    """The directories and files of the suite."""
    rooms = [entry.name for entry in os.scandir("tests") if entry.is_dir() and "__" not in entry.name]
    return [*(f"tests/{room}" for room in sorted(rooms) if room not in LEFT_OUT), *IN_SPITE_OF_THAT]
