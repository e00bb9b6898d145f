"""A job whose process is the probe, started as an operator starts it."""

from __future__ import annotations

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from bpm import Environment, ExitRecord, JobProcess, ProcessPlan, RecordError
from bpm.runtime.container import find_container
from tests.conftest import BoshRoot
from tests.inside import Seen, read_seen

PROBE = "/var/vcap/packages/probe/bin/probe"


@frozen
class Told:
    """A probe that ran to its end: the plan it ran by, what it saw, and how it was recorded."""

    plan: ProcessPlan
    output: bytes
    record: ExitRecord

    @property
    def seen(self) -> Seen:
        return read_seen(self.output)


class Probing:
    """Runs the probe as a job's process.

    Args:
        environment: The BOSH root, and who its processes run as.
    """

    def __init__(self, environment: Environment, root: BoshRoot) -> None:
        self.environment = environment
        self.root = root

    def process(self, *attempts: str, job: str = "web", executable: str = PROBE, **keys: Any) -> JobProcess:
        """A job with the probe as its process; keys are those of bpm.yml."""
        config = {"processes": [{"name": job, "executable": executable, "args": list(attempts), **keys}]}
        text = json.dumps(config, ensure_ascii=False)  # JSON is YAML but for escaped pairs of surrogates
        link = self.root.path / "jobs" / job
        if link.is_symlink():
            (link / "config/bpm.yml").write_text(text)
        else:
            self.root.add_job(job, text)
        return self.environment.process(job)

    def run(self, *attempts: str, **keys: Any) -> Told:
        """Run it in the foreground."""
        process = self.process(*attempts, **keys)
        plan = process.plan()
        output = os.memfd_create("output")
        try:
            record = process.run(stdout=output, stderr=output)
            assert record is not None
            return Told(plan, os.pread(output, 1 << 22, 0), record)
        finally:
            os.close(output)

    def see(self, *attempts: str, **keys: Any) -> Seen:
        """What it saw."""
        return self.run(*attempts, **keys).seen


@pytest.fixture
def environment(bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> Iterator[Environment]:
    """The empty BOSH root with a user of the test's own; whatever was started there is ended."""
    environment = Environment(str(bosh_root.path), job_user.pw_name)
    yield environment
    for identifier in environment.records.ids():
        try:
            container = find_container(environment.records, identifier)
        except RecordError:
            continue
        if container is not None:
            container.remove()
            container.close()


@pytest.fixture
def probing(environment: Environment, bosh_root: BoshRoot, probe: Path) -> Probing:
    """Runs the probe in that root, where it is a package."""
    shutil.copy(probe, bosh_root.add_package("probe") / "bin/probe")
    return Probing(environment, bosh_root)
