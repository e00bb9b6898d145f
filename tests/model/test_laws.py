"""What any plan promises, told not by its entries but by what is seen inside, in the model: no root, and no kernel.

Links are the host's to make, and a plan does not know them: laws about what one volume does to another are about hosts
without.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from attrs import evolve, frozen
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bpm import ProcessPlan, load, make_plan
from bpm.config import JobConfig
from bpm.errors import ConfigError, PlanError
from bpm.plan import HostFacts, reasons
from bpm.plan import Mount as PlannedMount
from tests.effort import times
from tests.model.container import Inside, Refused, build, clean
from tests.model.layouts import BOSH, JOB, Layout, layouts, volumes
from tests.model.mounts import FileSystem, Namespace, Place
from tests.model.operations import outcome
from tests.plan.because import openings, resolve

law = settings(max_examples=times(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLAIN = layouts(links=False)


@frozen
class Case:
    """A layout's job and plan; its host, after a start; and the inside."""

    config: JobConfig
    plan: ProcessPlan
    host: Namespace
    inside: Inside

    def places(self) -> dict[str, Place]:
        """Every path inside."""
        return dict(self.inside.namespace.walk())

    def holder(self, place: Place) -> PlannedMount | None:
        """The plan's mount that shows a place; none for the container's own root, and for what is masked."""
        return self.inside.brought.get(place.mount)

    def asker(self, mount: PlannedMount) -> Any:
        return resolve(mount.because, self.config)


def carry_out(layout: Layout) -> Case:
    """The model's answer to a layout. One that cannot be read, planned or built is no example."""
    machine = FileSystem("ext4")
    for name in ("bin", "etc", "lib", "lib64", "sbin", "usr", "var", "srv", "proc"):
        machine.root.add(name, "directory")
    host = Namespace(machine.mounted())
    for operation in (*BOSH, *layout.operations):
        outcome(partial(operation.in_model, host))
    try:
        config = load(layout.bpm_yml(), job=JOB)
        patterns = {volume.path for volume in config.processes[0].unsafe.unrestricted_volumes}
        facts = HostFacts(globs=tuple((pattern, host.match(pattern)) for pattern in sorted(patterns)))
        plan = make_plan(config, None, facts)
        return Case(config, plan, host, build(plan, host, {}))
    except (ConfigError, PlanError, Refused):
        assume(False)
        raise


def shown(place: Place) -> tuple[str, str, str]:
    """What a place shows, in words: it is compared with another case's."""
    return place.mount.system.kind, place.inode.path, place.inode.kind


def is_at(path: str, targets: Iterable[str]) -> bool:
    """Whether a path is one of these, or below one."""
    return any(path == target or path.startswith(target.rstrip("/") + "/") for target in targets)


@law
@given(layouts())
def test_nothing_is_writable_or_executable_unless_asked(layout: Layout) -> None:
    """Where a path can be written, or executed from, a key or a named default of its own mount asked for that."""
    case = carry_out(layout)
    for path, place in case.places().items():
        holder = case.holder(place)
        open_for = {
            way for way, flag in (("writable", "ro"), ("executable", "noexec")) if flag not in place.mount.flags
        }

        assert holder is None or open_for <= openings(case.asker(holder)), path


@law
@given(layouts())
def test_no_setuid_and_no_devices(layout: Layout) -> None:
    """Of what the host shows inside, no setuid program works, but for a privileged process, and no device ever."""
    case = carry_out(layout)
    needed = {"nodev"} if layout.keys["unsafe"].get("privileged") else {"nosuid", "nodev"}
    for path, place in case.places().items():
        holder = case.holder(place)

        assert holder is None or holder.kind != "bind" or needed <= place.mount.flags, path


@law
@given(PLAIN)
def test_every_mount_of_the_plan_is_seen(layout: Layout) -> None:
    """At each destination is what the plan has there: nothing that is mounted later hides it."""
    case = carry_out(layout)
    last = {clean(mount.target): mount for mount in case.plan.mounts}

    assert last == {target: case.holder(case.inside.namespace.resolve(target)) for target in last}
    assert [mount for mount in case.plan.mounts if mount not in last.values()] == [
        mount
        for mount in case.plan.mounts
        if mount.because == reasons.KERNEL_MOUNTS and last[clean(mount.target)] is not mount
    ]


@law
@given(PLAIN)
def test_a_volume_shows_all_that_the_host_shows_there(layout: Layout) -> None:
    """With what is mounted below it, at any depth, but where another mount of the plan stands."""
    case = carry_out(layout)
    targets = {clean(mount.target) for mount in case.plan.mounts}
    for mount in case.plan.mounts:
        if "volumes[" not in mount.because and not mount.because.endswith("_disk"):
            continue
        top = clean(mount.target)
        for path, place in case.host.walk(clean(mount.source)):
            inside = clean(top + path[len(clean(mount.source)) :])
            if not is_at(inside, (target for target in targets if target != top and is_at(target, [top]))):
                assert case.inside.namespace.resolve(inside, follow=False).inode is place.inode, inside


@law
@given(PLAIN, st.data())
def test_adding_a_volume_never_loosens_another(layout: Layout, data: st.DataObject) -> None:
    """With one volume more, whatever is not seen through it is the same as before, and as closed."""
    before = carry_out(layout)
    unsafe = layout.keys["unsafe"]["unrestricted_volumes"]
    (volume,) = data.draw(volumes(["/srv/a", "/var/vcap/data/a", "/srv/a/b"]).filter(lambda drawn: len(drawn) == 1))
    keys = {**layout.keys, "unsafe": {**layout.keys["unsafe"], "unrestricted_volumes": [*unsafe, volume]}}
    after = carry_out(evolve(layout, keys=keys))
    places, taken = after.places(), {clean(mount.target) for mount in before.plan.mounts}
    for path, place in before.places().items():
        holder = after.holder(places[path]) if path in places else None
        is_new = holder is not None and holder.because.endswith(f"unrestricted_volumes[{len(unsafe)}]")
        if is_new and clean(volume["path"]) not in taken:
            continue
        now = after.inside.namespace.resolve(path, follow=False)

        assert (shown(now), now.mount.flags) == (shown(place), place.mount.flags), path


@law
@given(PLAIN)
def test_no_unrestricted_volume_shadows_one_of_the_jobs_own_mounts(layout: Layout) -> None:
    """At and below the job's own directories all is as it would be without any unrestricted volume."""
    case = carry_out(layout)
    without = carry_out(evolve(layout, keys={**layout.keys, "unsafe": {}}))
    askers = {reasons.JOB_MOUNTS, reasons.TEMPORARY, reasons.LOGS, True}
    own = [clean(mount.target) for mount in without.plan.mounts if without.asker(mount) in askers]
    for path, place in without.places().items():
        if is_at(path, own):
            now = case.inside.namespace.resolve(path, follow=False)

            assert (shown(now), now.mount.flags | {"nosuid"}) == (shown(place), place.mount.flags | {"nosuid"}), path
