"""The jobs of public releases: each process as bpm starts it, and as runc does where the script prepared."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest
from attrs import evolve

from bpm import JobConfig, ProcessConfig, Volume, load
from bpm.plan import make_plan
from tests.differential.allowed import unmeant
from tests.differential.configs import PROBE
from tests.differential.conftest import Lab
from tests.differential.facts import attempts_of
from tests.differential.pair import Runc, run_both

SHARED = Path(__file__).parents[3] / "shared/jobs"
JOBS = {file.stem: file for file in sorted(SHARED.rglob("*.yml"))}

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.skipif(not JOBS, reason="the jobs of public releases are not beside this checkout"),
]


def here(process: ProcessConfig, root: Path) -> ProcessConfig:
    """The process with the probe for its program, its volumes in this root, and a hook that does nothing.

    Nobody can be given more open files than whoever runs this may have.
    """
    unsafe, limits = process.unsafe, process.limits
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return evolve(
        process,
        executable=PROBE,
        args=(),
        limits=evolve(limits, open_files=limits.open_files and min(limits.open_files, most)),
        workdir="/" if process.workdir else "",
        hooks=evolve(process.hooks, pre_start="/bin/true" if process.hooks.pre_start else ""),
        additional_volumes=tuple(move(volume, root) for volume in process.additional_volumes),
        unsafe=evolve(
            unsafe, unrestricted_volumes=tuple(there(move(volume, root)) for volume in unsafe.unrestricted_volumes)
        ),
    )


def move(volume: Volume, root: Path) -> Volume:
    """The volume, in this root."""
    return evolve(volume, path=volume.path.replace("/var/vcap", str(root), 1))


def there(volume: Volume) -> Volume:
    """The volume, which exists on this host."""
    return volume if os.path.lexists(volume.path) else evolve(volume, path="/mnt")


@pytest.mark.parametrize("job", JOBS)
def test_runc_makes_the_same_of_it(lab: Lab, runc: Runc, job: str) -> None:
    """Every process of it; the first to run finds the host as the bundle's script left it."""
    config = load(JOBS[job].read_bytes(), job=job)
    for process in config.processes:
        text = f"processes: [{{name: {process.name}, executable: /bin/true}}]\n"
        environment = lab.process(text, job).environment
        root = Path(environment.root)
        for volume in process.additional_volumes:
            if volume.mount_only:
                Path(move(volume, root).path).mkdir(parents=True, exist_ok=True)
        placed = JobConfig((here(process, root),), job=job)
        plan = make_plan(placed, process.name, environment.facts(placed))
        pair = run_both(plan, runc, attempts_of(plan), prepared=False)

        assert ([], 0, 0) == (unmeant(pair), *pair.ends)
