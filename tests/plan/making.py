"""Short ways to make a plan in a test."""

from __future__ import annotations

from typing import Any

from bpm.config import JobConfig, ProcessConfig
from bpm.plan import HostFacts, Mount, ProcessPlan, make_plan


def plan_of(facts: HostFacts | None = None, /, **keys: Any) -> ProcessPlan:
    """The plan of a job ``web`` whose only process has these keys."""
    process = ProcessConfig(**{"name": "web", "executable": "/bin/true", **keys})
    return make_plan(JobConfig((process,), job="web"), None, facts or HostFacts())


def mount_at(plan: ProcessPlan, target: str) -> Mount:
    """The last mount at a destination."""
    return [mount for mount in plan.mounts if mount.target == target][-1]
