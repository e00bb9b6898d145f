"""What of a sandbox's root is the same for every program in it, and can be made once: its template.

A template is a mount namespace with all that programs only read. A spawn starts from a copy of it, and adds what
must be its own: /proc, which shows its processes, and what it can write to in memory.
"""

from __future__ import annotations

import posixpath

from attrs import evolve

from bpm._native import Cover, Layout, SpawnRequest, Step, StepKind
from bpm.plan import Mount, ProcessPlan

CLONE_NEWNS = 0x0002_0000

# File systems whose content depends on the namespaces, or on who has written to it.
OWN = {"proc", "devpts", "mqueue"}


def split(plan: ProcessPlan, request: SpawnRequest) -> tuple[SpawnRequest, SpawnRequest]:
    """The request for the template, and the one for each spawn from it, whose ``template_fd`` is still to be set."""
    shared = shared_targets(plan)
    once: list[Step] = []
    each: list[Step] = []
    for step in request.steps:
        (once if holder(step, shared, plan) in shared else each).append(step)
    covers_once = tuple(cover for cover in request.covers if home(path_of(cover), plan) in shared)
    covers_each = tuple(cover for cover in request.covers if cover not in covers_once)
    first = evolve(request, steps=tuple(once), covers=covers_once, namespaces=CLONE_NEWNS)
    then = evolve(request, steps=tuple(each), covers=covers_each, namespaces=request.namespaces & ~CLONE_NEWNS)
    return first, then


def make_template(request: SpawnRequest) -> int:
    """A descriptor of the template, which the caller closes.

    Raises:
        SpawnFailure: Its root cannot be made.
    """
    return Layout(request).make_template()


def shared_targets(plan: ProcessPlan) -> frozenset[str]:
    """Where the mounts are that all programs may share: of which neither itself nor one above is a program's own."""
    own = [mount.target for mount in plan.mounts if is_own(mount, plan)]
    return frozenset(
        mount.target for mount in plan.mounts if not any(is_within(mount.target, target) for target in own)
    )


def is_own(mount: Mount, plan: ProcessPlan) -> bool:
    """Whether every program must have its own."""
    if mount.kind == "tmpfs":
        return "ro" not in mount.options
    if mount.kind == "sysfs":
        return any(namespace.kind == "network" for namespace in plan.namespaces)
    return mount.kind in OWN


def holder(step: Step, shared: frozenset[str], plan: ProcessPlan) -> str:
    """The mount that a step changes: what it makes or seals, or where it makes a name."""
    path = "/" + step.path.decode("utf-8", "surrogateescape").strip("/")
    if step.kind in (StepKind.FILESYSTEM, StepKind.BIND, StepKind.SEAL):
        return path
    return home(path, plan)


def home(path: str, plan: ProcessPlan) -> str:
    """The mount that holds the name."""
    targets = {mount.target for mount in plan.mounts}
    while path != "/":
        path = posixpath.dirname(path)
        if path in targets:
            return path
    return "/"


def path_of(cover: Cover) -> str:
    """A covered path as the plan has it."""
    return "/" + cover.path.decode("utf-8", "surrogateescape").strip("/")


def is_within(path: str, directory: str) -> bool:
    """Whether it is that directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")
