"""A machine does what it is told, says how that went, and ends."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cgroup.hosts import eventually
from tests.vm.hosts import HOSTS
from tests.vm.kernels import explain_absence
from tests.vm.machine import Outcome, run

pytestmark = [
    pytest.mark.timeout(300),  # the kernel may have to be fetched
    pytest.mark.skipif(explain_absence() is not None, reason=str(explain_absence())),
]


def boot(directory: Path, script: str, timeout: float = 60) -> tuple[Outcome, list[str]]:
    lines: list[str] = []
    cpu = max(os.sched_getaffinity(0))
    environment = {"PATH": os.environ["PATH"], "GREETING": "hello"}
    command = ["/bin/sh", "-c", script]
    return run(HOSTS["v2"], command, environment, directory, cpu, timeout, lines.append), lines


def test_output_status_and_files_come_out(tmp_path: Path) -> None:
    """A command's lines on both outputs, its exit status, what it wrote below ``out``, and what the host is."""
    outcome, lines = boot(tmp_path, f"echo $GREETING; pwd >&2; echo written > {tmp_path}/out/file; exit 7")

    assert (7, ["hello", os.getcwd()]) == (outcome.status, lines)
    assert "written\n" == (tmp_path / "out/file").read_text()
    assert ["v2 (cpu io memory pids)"] == outcome.found["hierarchies"]


def test_a_command_ended_by_a_signal_is_told_as_a_shell_does(tmp_path: Path) -> None:
    """SIGKILL is 137."""
    assert 137 == boot(tmp_path, "kill -KILL $$")[0].status


def test_what_is_written_elsewhere_is_lost(tmp_path: Path) -> None:
    """The machine's root is a view of ours; writing to it changes ours in nothing."""
    (tmp_path / "kept").write_text("ours")
    outcome, lines = boot(tmp_path, f"cd {tmp_path} && echo theirs > kept && cat kept && touch more")

    assert (0, ["theirs"], "ours") == (outcome.status, lines, (tmp_path / "kept").read_text())
    assert not (tmp_path / "more").exists()


def test_a_machine_that_does_not_end_is_ended(tmp_path: Path) -> None:
    """It has no status then, and none of its processes is left."""
    outcome, _ = boot(tmp_path, "sleep 1000", timeout=5)

    assert outcome.status is None
    assert eventually(lambda: not any(str(tmp_path).encode() in line for line in command_lines()))


def command_lines() -> Iterator[bytes]:
    """Those of all processes; one may be gone before it is looked at."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            pass
