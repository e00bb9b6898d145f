"""The laws of planning, for any job on any host."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import evolve, frozen
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bpm.config import JobConfig, Limits, Unsafe, Volume
from bpm.errors import PlanError
from bpm.plan import INSIDE_OWN_MOUNT, HostFacts, Mount, ProcessPlan, from_json, make_plan, reasons, to_json
from bpm.plan.limits import CGROUP_LIMITS
from bpm.plan.mounts import clean, is_within
from tests.plan.because import every_because, openings, resolve
from tests.strategies import NAMES, PATHS, SIZES, TEXT, host_facts, job_configs, values

law = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


@frozen
class Case:
    """A plan, and all that it was made from."""

    job: JobConfig
    process: int
    facts: HostFacts
    volumes: tuple[Volume, ...]
    env: tuple[tuple[str, str], ...]

    def plan(self) -> ProcessPlan:
        process = self.job.processes[self.process]
        return make_plan(self.job, process, self.facts, volumes=self.volumes, env=self.env)

    @property
    def flags(self) -> dict[str, tuple[Any, ...]]:
        return {"-v": self.volumes, "-e": self.env}

    def asks(self, mount: Mount) -> Any:
        """What asked for a mount: a Volume, True for a disk, or the name of a default."""
        return resolve(mount.because, self.job, self.flags)


FLAG_VOLUMES = st.lists(
    st.builds(
        Volume,
        path=st.builds("/var/vcap/data/{}".format, NAMES),
        writable=st.booleans(),
        allow_executions=st.booleans(),
        mount_only=st.booleans(),
        shared=st.booleans(),
    ),
    max_size=2,
).map(tuple)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any job and host, its root that of the flags' volumes."""
    job = draw(job_configs())
    process = draw(st.integers(0, len(job.processes) - 1))
    # An equal process earlier in the file would be found first.
    process = job.processes.index(job.processes[process])
    facts = draw(host_facts())
    volumes = draw(FLAG_VOLUMES) if facts.root == "/var/vcap" else ()
    return Case(job, process, facts, volumes, draw(st.lists(st.tuples(NAMES, TEXT), max_size=2).map(tuple)))


@st.composite
def plannable(draw: st.DrawFn) -> tuple[Case, ProcessPlan]:
    """Any of those that can be planned."""
    case = draw(cases())
    answer = outcome(case)
    assume(isinstance(answer, ProcessPlan))
    return case, answer  # type: ignore[return-value]


def outcome(case: Case) -> ProcessPlan | PlanError:
    """The plan, or why there is none."""
    try:
        return case.plan()
    except PlanError as error:
        return error


@law
@given(cases())
def test_only_plan_error(case: Case) -> None:
    """Whatever the job and the host, make_plan() gives a plan or raises PlanError."""
    answer = outcome(case)

    assert isinstance(answer, ProcessPlan) or (answer.key and answer.reason)


@law
@given(plannable())
def test_parents_are_mounted_before_what_lies_under_them(made: tuple[Case, ProcessPlan]) -> None:
    """Parents are mounted before what lies under them: a mount hides no other, but for a volume over the kernel's."""
    _, plan = made

    hidden = [
        (earlier.target, later.target)
        for i, later in enumerate(plan.mounts)
        for earlier in plan.mounts[:i]
        if is_within(earlier.target, later.target)
        and not (earlier.because == reasons.KERNEL_MOUNTS and clean(earlier.target) == clean(later.target))
    ]

    assert hidden == []


@law
@given(cases())
def test_planning_twice_gives_the_same_bytes(case: Case) -> None:
    """Planning from equal values, built anew, gives the same bytes."""
    again = from_json(to_json(case), Case)

    assert case == again
    assert described(outcome(case)) == described(outcome(again))


def described(answer: ProcessPlan | PlanError) -> str:
    return to_json(answer) if isinstance(answer, ProcessPlan) else str(answer)


@law
@given(plannable())
def test_from_json_reads_what_to_json_wrote(made: tuple[Case, ProcessPlan]) -> None:
    """from_json(to_json(p)) == p."""
    _, plan = made

    assert plan == from_json(to_json(plan))


def loosened(mount: Mount) -> set[str]:
    """In which ways a mount is open."""
    return {way for way, strict in (("writable", "ro"), ("executable", "noexec")) if strict not in mount.options}


@law
@given(plannable())
def test_nothing_is_writable_or_executable_unless_asked(made: tuple[Case, ProcessPlan]) -> None:
    """Nothing is writable or executable unless a key or a named default asked for it."""
    case, plan = made
    for mount in plan.mounts:
        assert loosened(mount) <= openings(case.asks(mount))


@law
@given(plannable(), values(Volume), st.booleans(), st.integers(0, 4))
def test_adding_a_volume_never_loosens_another(
    made: tuple[Case, ProcessPlan], volume: Volume, unrestricted: bool, place: int
) -> None:
    """With one volume more, wherever it is put in, every other destination is mounted as before."""
    case, before = made
    assume(not set(volume.path) & set("*?[") and not is_within(volume.path, "/proc"))
    assume(volume.path not in dict(case.facts.globs))
    process = case.job.processes[case.process]
    if unrestricted:
        unsafe = evolve(process.unsafe, unrestricted_volumes=put(process.unsafe.unrestricted_volumes, place, volume))
        process = evolve(process, unsafe=unsafe)
    else:
        process = evolve(process, additional_volumes=put(process.additional_volumes, place, volume))
    after = make_plan(JobConfig((process,), job=case.job.job), process, case.facts, volumes=case.volumes)

    def others(plan: ProcessPlan) -> dict[str, tuple[str, str, tuple[str, ...]]]:
        return {
            clean(m.target): (m.source, m.kind, m.options) for m in plan.mounts if clean(m.target) != clean(volume.path)
        }

    assert others(before) == others(after)


def put(values: Sequence[Volume], place: int, volume: Volume) -> tuple[Volume, ...]:
    """The same with one more."""
    return (*values[:place], volume, *values[place:])


@law
@given(plannable())
def test_no_unrestricted_volume_shadows_one_of_the_jobs_own_mounts(made: tuple[Case, ProcessPlan]) -> None:
    """No unrestricted volume is mounted at or below one of the job's own mounts, and each left out is named."""
    _, plan = made
    everything = (*plan.mounts, *(dropped.mount for dropped in plan.dropped))
    own = [
        mount
        for mount in everything
        if mount.because in (reasons.JOB_MOUNTS, reasons.TEMPORARY, reasons.LOGS) or mount.because.endswith("_disk")
    ]
    unrestricted = [mount for mount in everything if ".unrestricted_volumes[" in mount.because]
    intruders = [u for u in unrestricted if any(is_within(u.target, mount.target) for mount in own)]

    assert not set(intruders) & set(plan.mounts)
    assert intruders == [dropped.mount for dropped in plan.dropped if dropped.reason == INSIDE_OWN_MOUNT]


@law
@given(plannable())
def test_every_because_resolves(made: tuple[Case, ProcessPlan]) -> None:
    """Every ``because`` is a key that this bpm.yml has, a flag that was given, or a named default."""
    case, plan = made
    for because in every_because(plan):
        resolve(because, case.job, case.flags)


PROC = st.builds(
    "{}{}".format, st.sampled_from(["/proc", "//proc/", "/sys/../proc", "/proc/.", "proc"]), st.sampled_from(["", "/1"])
)


@law
@given(job_configs(), host_facts(), PROC, st.booleans(), values(Volume))
def test_no_volume_is_at_or_below_proc(
    job: JobConfig, facts: HostFacts, path: str, unrestricted: bool, volume: Volume
) -> None:
    """A volume at or below /proc is refused, however it is spelt, and the error names its key."""
    volume = evolve(volume, path=path)
    process = evolve(
        job.processes[0],
        additional_volumes=() if unrestricted else (volume,),
        unsafe=Unsafe(unrestricted_volumes=(volume,) if unrestricted else ()),
    )
    key = "unsafe.unrestricted_volumes" if unrestricted else "additional_volumes"

    with pytest.raises(PlanError) as raised:
        make_plan(evolve(job, processes=(process,)), process, facts)

    assert f"processes[0].{key}[0]" == raised.value.key


BYTES = re.compile(r"\d{1,19}")
PIDS = re.compile(r"max|\d{1,7}")

# What the kernel accepts in each file: memparse() up to LONG_MAX, kstrtoll() up to PID_MAX_LIMIT.
GRAMMAR = {
    "memory.limit_in_bytes": (BYTES, 2**63 - 1),
    "memory.memsw.limit_in_bytes": (BYTES, 2**63 - 1),
    "memory.max": (BYTES, 2**63 - 1),
    "memory.swap.max": (BYTES, 2**63 - 1),
    "pids.max": (PIDS, 4194304),
    "cpu.cfs_quota_us": (BYTES, 2**44 // 1000),  # max_cfs_runtime
    "cpu.max": (re.compile(r"\d+ 100000"), 2**44 // 1000),
    "cpu.shares": (BYTES, 262144),
    "cpu.weight": (BYTES, 10000),
    "memory.high": (BYTES, 2**63 - 1),
}


@law
@given(
    st.builds(
        Limits,
        memory=st.none() | SIZES,
        processes=st.none() | st.integers() | st.sampled_from([-1, 0, 1, 4194304, 4194305, 2**63 - 1]),
        cpu=st.none() | st.sampled_from(["0.01", "1.5", "8192", "9" * 30]),
        cpu_weight=st.none() | st.integers(1, 10_000),
    )
)
def test_both_versions_of_a_limit_are_of_the_kernels_grammar(limits: Limits) -> None:
    """For any value, each row gives text that the kernel accepts in its file, in v1 and in v2."""
    for row in CGROUP_LIMITS:
        if row.asked(limits) is None:
            continue
        for file in (row.v1, row.v2):
            if file is None:
                continue
            text = file.write(limits)
            grammar, most = GRAMMAR[file.name]
            assert grammar.fullmatch(text), text
            assert text == "max" or int(text.split()[0]) <= most


@law
@given(plannable(), PATHS)
def test_flags_add_to_the_file(made: tuple[Case, ProcessPlan], path: str) -> None:
    """A volume of a flag is planned just as one more additional volume is."""
    case, _ = made
    facts = evolve(case.facts, root="/var/vcap")
    volume = Volume(f"/var/vcap/data/flag{clean(path)}".rstrip("/"), writable=True)
    process = case.job.processes[case.process]
    longer = evolve(process, additional_volumes=(*process.additional_volumes, volume))

    by_flag = make_plan(case.job, process, facts, volumes=[volume])
    by_key = make_plan(JobConfig((longer,), job=case.job.job), longer, facts)

    def shown(plan: ProcessPlan) -> list[tuple[str, str, tuple[str, ...]]]:
        return [(mount.target, mount.source, mount.options) for mount in plan.mounts]

    assert shown(by_key) == shown(by_flag)
