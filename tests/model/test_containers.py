"""The plan is carried out: what a probe sees and may do inside is what the model predicts from the plan's entries."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings

from bpm import ProcessPlan
from bpm.errors import ConfigError, HostError, PlanError, PrepareError, SpawnError
from bpm.insight.explain import tell
from tests.effort import times
from tests.model.container import Refused
from tests.model.layouts import ALONE, INTO_PROC, PROBE, SHARED, STRICT_BELOW, Layout, layouts
from tests.model.linux import flags_of, read_mounts
from tests.model.mounts import Namespace
from tests.model.views import comparable, of_kernel, of_model
from tests.model.world import World, laid_out

# Shrinking takes up to five minutes, and is worth it.
pytestmark = [pytest.mark.needs_root, pytest.mark.timeout(900)]

MOST_PATHS = 200


@settings(max_examples=times(80), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layout=layouts())
@example(layout=STRICT_BELOW)
@example(layout=INTO_PROC)
@example(layout=ALONE)
@example(layout=SHARED)
def test_the_inside_is_as_predicted(probe: Path, layout: Layout) -> None:
    """Every mount, its flags, its propagation; where every path leads, what may be done there; what explain says."""
    with laid_out(layout, probe.read_bytes()) as world:
        try:
            plan = world.write()
        except (ConfigError, HostError, PlanError):
            event("not planned")  # or /proc is hidden
            return
        try:
            inside = world.predict(plan).namespace
        except Refused as refused:
            event(f"refused at {refused.stage}")
            # What preparing makes, and through which links, are rules of its own.
            assert refused.stage == "prepare" or refusal(world) in (str(refused), "prepare")
            return
        if not can_run(inside):
            event("no program")  # A volume beyond a link is above it.
            with pytest.raises((PrepareError, SpawnError)):
                world.see()
            return
        try:
            differences = compare(world, inside)
        except PrepareError:
            event("refused before")  # for what could be planted there, or a read-only disk: no matter of mounts
        else:
            event("compared")
            assert differences == []


def can_run(inside: Namespace) -> bool:
    """Whether the probe is there, and may be executed."""
    try:
        place = inside.resolve(PROBE)
    except OSError:
        return False
    return place.inode.kind == "file" and "noexec" not in place.mount.flags


def refusal(world: World) -> str:
    """How a start fails."""
    try:
        world.see()
    except SpawnError as error:
        return str(Refused(error.stage, error.item, error.errno or 0))
    except PrepareError:
        return "prepare"
    return "it runs"


def compare(world: World, inside: Namespace) -> list[str]:
    """Every way in which prediction and container differ; none where they agree."""
    paths = interesting_paths(world, inside)

    def predictions() -> dict[str, int | None]:
        return {
            name: answer for i, path in enumerate(paths) for name, answer in predict(world, inside, path, i).items()
        }

    plan = world.write(*predictions())
    seen = world.see()
    for directory in plan.preparation.directories:
        world.both.meet(directory.path)  # which a start makes
    found = [
        f"{attempt}: predicted {answer}, seen {seen.attempts[attempt]}"
        for attempt, answer in predictions().items()
        if answer is not None and answer != seen.attempts[attempt]
    ]
    found += misleading(world, plan, inside, paths)
    expected = comparable([of_model(inside), of_model(world.both.namespace)])
    actual = comparable([of_kernel(seen.mounts), of_kernel(read_mounts())])
    for where, model, kernel in zip(("inside", "outside"), expected, actual, strict=True):
        for chain in sorted({*model, *kernel}):
            # What else is mounted outside is others' to change.
            ours = where == "inside" or chain[1:2] in (("/var",), ("/srv",))
            if ours and model.get(chain) != kernel.get(chain):
                found.append(f"{where}, {' '.join(chain)}: predicted {model.get(chain)}, seen {kernel.get(chain)}")
    return found


def misleading(world: World, plan: ProcessPlan, inside: Namespace, paths: list[str]) -> Iterator[str]:
    """Where `bpm explain` would tell something else: whether it is there, written to, executed from."""
    for path in paths:
        told = tell(plan, path)
        is_told = told.verdict not in ("absent", "hidden")
        try:
            place = inside.resolve(path)
        except OSError as error:
            if is_told:
                yield f"explain {path}: {told.verdict}, but {errno.errorcode[error.errno or 0]}"
            continue
        # Something is there, and not what the host has there.
        is_covered = told.reason.split(" is masked ")[0] in (cover.path for cover in plan.masked)
        if not is_told and not is_covered and "does not come along" not in told.reason:
            yield f"explain {path}: {told.verdict}, since {told.reason}, but it is there"
        if place.mount.system in world.machine or len(told.access) != 3:
            continue
        _, write, execute = told.access
        if write.mounted != ("ro" not in place.mount.flags):
            yield f"explain {path}: {write.why}, but its mount is {sorted(place.mount.flags)}"
        if place.inode.kind == "file" and execute.mounted != ("noexec" not in place.mount.flags):
            yield f"explain {path}: {execute.why}, but its mount is {sorted(place.mount.flags)}"


def interesting_paths(world: World, inside: Namespace) -> list[str]:
    """All that there is inside but for what is the machine's; what there is outside; and where links lead on."""
    paths: list[str] = []
    for path, place in inside.walk(skip=world.machine):
        is_link = place.inode.kind == "link"
        if is_link and path.startswith("/dev/"):
            continue  # into /proc, of which the model knows little
        paths += [path, *(f"{path}/{more}" for more in ("..", "a", "b/../c") if is_link)]
    paths += [operation.path for operation in world.layout.operations]
    return [*dict.fromkeys(paths)][:MOST_PATHS]


def predict(world: World, inside: Namespace, path: str, number: int) -> dict[str, int | None]:
    """What is attempted at a path, and its answer; None where only the mount table tells."""
    names = (f"flags:{path}", f"device:{path}", f"inode:{path}")
    try:
        place = inside.resolve(path)
    except OSError as error:
        return dict.fromkeys(names, -(error.errno or 0))
    flags = place.mount.flags
    device, inode = next((pair for pair, known in world.both.known.items() if known is place.inode), (None, None))
    answers = dict(zip(names, (flags_of(flags), device, inode), strict=True))
    read_only = -errno.EROFS if "ro" in flags else 0
    if place.mount.system in world.machine or place.mount.system.kind != "tmpfs":
        return answers
    if place.inode.kind == "directory":
        answers[f"create:{path}/probe{number}"] = read_only
    elif place.inode in world.laid:
        if place.inode.kind == "device":
            answers[f"read:{path}"] = -errno.EACCES if "nodev" in flags else 0
        else:
            answers[f"write:{path}"] = read_only
            answers[f"exec:{path}"] = -errno.EACCES if "noexec" in flags else -errno.ENOEXEC  # it is empty
    return answers
