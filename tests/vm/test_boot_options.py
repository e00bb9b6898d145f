"""What a kernel's command line takes away is told by name, on a real kernel that was booted so."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from tests.vm.__main__ import environment
from tests.vm.hosts import HOSTS
from tests.vm.kernels import explain_absence
from tests.vm.machine import run
from tests.vm.suite import pytest_command

pytestmark = [
    pytest.mark.timeout(300),  # the kernel may have to be fetched
    pytest.mark.skipif(explain_absence() is not None, reason=str(explain_absence())),
]


def test_a_controller_that_is_disabled(tmp_path: Path) -> None:
    """Without a memory controller, a job with a memory limit does not start, and says why; others do."""
    host = evolve(HOSTS["v2"], options=("cgroup_disable=memory",))
    lines: list[str] = []
    chosen = ["tests/runtime/test_hostile.py::test_no_controller_no_start"]
    command = pytest_command(chosen, tmp_path / "out/junit.xml")
    outcome = run(host, command, environment(), tmp_path, max(os.sched_getaffinity(0)), 120, lines.append)

    assert (0, ["v2 (cpu io pids)"]) == (outcome.status, outcome.found["hierarchies"]), "\n".join(lines)
    assert any("1 passed" in line for line in lines)
