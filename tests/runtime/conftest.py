"""An environment to start real processes in, which leaves nothing behind, whatever the test did."""

from __future__ import annotations

import pwd
from collections.abc import Callable, Iterator

import pytest

from bpm import Environment, JobProcess
from bpm.errors import RecordError
from bpm.plan import HostFacts, ProcessPlan, make_plan
from bpm.runtime.container import find_container
from bpm.runtime.startup import discard
from tests.conftest import BoshRoot


@pytest.fixture
def environment(bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> Iterator[Environment]:
    """An environment in an empty BOSH root, whose processes run as a user of the test's own."""
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
def web(environment: Environment, bosh_root: BoshRoot) -> Iterator[Callable[..., JobProcess]]:
    """Makes the job ``web`` with one process of that name, as a shell script and further keys of bpm.yml."""
    made: list[JobProcess] = []

    def make(script: str, keys: str = "") -> JobProcess:
        text = "".join(f"\n      {line}" for line in script.splitlines())
        config = f"processes:\n- name: web\n  executable: /bin/sh\n  args:\n  - -c\n  - |{text}\n"
        bosh_root.add_job("web", config + "".join(f"  {line}\n" for line in keys.splitlines()))
        made.append(environment.process("web"))
        return made[-1]

    yield make
    for process in made:
        discard(environment.records, process.plan())


def plan_of(config: str, facts: HostFacts | None = None, process: str = "web", **keys: object) -> ProcessPlan:
    """The plan of a bpm.yml's text, on a host made by hand."""
    from bpm.config import load

    return make_plan(load(config, job="web"), process, facts or HostFacts(), **keys)  # type: ignore[arg-type]
