"""The lock of a shared volume."""

from __future__ import annotations

import subprocess
import time

import pytest

from bpm.layout import Layout
from bpm.runtime.lock import locked
from tests.acceptance.jobs import Jobs
from tests.inside import parse_mounts

pytestmark = pytest.mark.needs_root


def test_sharing_a_volume_waits_for_its_lock(jobs: Jobs) -> None:
    """While someone else holds the volume's lock, a start that shares it waits, and goes on afterwards."""
    volume = jobs.path / "data/shared"
    jobs.define("/bin/true", additional_volumes=[{"path": str(volume), "shared": True}])

    def is_mounted() -> bool:
        with open("/proc/self/mountinfo") as file:
            return any(line.target == str(volume) for line in parse_mounts(file.read()))

    with locked(Layout(str(jobs.path)).volume_lock(str(volume))):
        start = subprocess.Popen(jobs.bpm.argv("start", "web"), env=jobs.bpm.environment)
        end = time.monotonic() + 10
        while not volume.exists() and time.monotonic() < end:
            time.sleep(0.01)
        with pytest.raises(subprocess.TimeoutExpired):
            start.wait(0.5)
        before = is_mounted()
    try:
        assert (0, False, True) == (start.wait(20), before, is_mounted())
    finally:
        jobs.bpm.stop_all()
        subprocess.run(["umount", volume], check=True)
