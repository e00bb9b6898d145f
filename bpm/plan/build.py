"""make_plan: from what the operator said and one look at the host to all that will be done. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import evolve, fields, has

from bpm.config import JobConfig, ProcessConfig, Volume, validate_volume
from bpm.errors import ConfigError, PlanError, ProcessNotFound
from bpm.layout import Layout, container_id
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.cgroup import plan_cgroup
from bpm.plan.devices import plan_covers, plan_devices
from bpm.plan.environment import plan_environment, plan_workdir
from bpm.plan.facts import HostFacts
from bpm.plan.identity import plan_capabilities, plan_identity, plan_namespaces
from bpm.plan.limits import plan_rlimits
from bpm.plan.model import ProcessPlan
from bpm.plan.mounts import plan_mounts
from bpm.plan.preparation import plan_preparation
from bpm.plan.seccomp import DEFAULT_POLICY

SECCOMP_POLICY = evolve(DEFAULT_POLICY, because=reasons.SECCOMP)


def make_plan(
    job_config: JobConfig,
    process: str | ProcessConfig | None,
    facts: HostFacts,
    *,
    volumes: Sequence[Volume] = (),
    env: Mapping[str, str] | Sequence[tuple[str, str]] = (),
) -> ProcessPlan:
    """Everything that starting one process means on this host. Nothing is looked at, nothing is done.

    Args:
        job_config: A bpm.yml, from ``bpm.load()`` or built by hand.
        process: One of its processes, or the name of one; None for the one named like the job.
        facts: One look at the host, from ``bpm.observe()`` or written by hand.
        volumes: Further volumes, as ``bpm run -v`` has them, on top of ``additional_volumes``.
        env: Further variables, as ``bpm run -e`` has them; of equal names the last wins, over bpm.yml too.

    Returns:
        The plan.

    Raises:
        ProcessNotFound: bpm.yml has no such process.
        PlanError: It cannot be carried out on this host, or would not be safe; the error names the key.
    """
    index = find_process(job_config, process)
    asked = Asked(
        process=job_config.processes[index],
        index=index,
        paths=Layout(facts.root).job(job_config.job),
        facts=facts,
        flag_volumes=tuple(volumes),
        flag_env=tuple(env.items() if isinstance(env, Mapping) else env),
    )
    refuse_names(asked)
    refuse_strings(asked)
    refuse_flags(asked)
    config = asked.process
    identifier = container_id(job_config.job, config.name)
    mounts, dropped = plan_mounts(asked)
    nodes, links = plan_devices(asked, mounts)
    masked, read_only = plan_covers(asked)
    capabilities, notices = plan_capabilities(asked)
    cgroup, cgroup_notices = plan_cgroup(asked, identifier)
    return ProcessPlan(
        job=job_config.job,
        process=config.name,
        container_id=identifier,
        root=facts.root,
        argv=(config.executable, *config.args),
        env=plan_environment(asked),
        workdir=plan_workdir(asked),
        identity=plan_identity(asked),
        capabilities=capabilities,
        no_new_privs=not asked.privileged,
        seccomp=None if asked.privileged else SECCOMP_POLICY,
        namespaces=plan_namespaces(asked),
        hostname=None,
        mounts=mounts,
        nodes=nodes,
        links=links,
        masked=masked,
        read_only=read_only,
        rlimits=plan_rlimits(asked),
        cgroup=cgroup,
        preparation=plan_preparation(asked, mounts),
        shutdown_signal=config.shutdown_signal or "TERM",
        dropped=dropped,
        notices=notices + cgroup_notices,
    )


def find_process(job_config: JobConfig, process: str | ProcessConfig | None) -> int:
    """Where in ``processes`` it is; of several of one name, the first.

    Raises:
        ProcessNotFound: Nowhere; the error lists those there are.
    """
    wanted = job_config.job if process is None else process
    for i, config in enumerate(job_config.processes):
        if config is wanted or config == wanted or config.name == wanted:
            return i
    name = wanted.name if isinstance(wanted, ProcessConfig) else wanted
    there = ", ".join(config.name for config in job_config.processes) or "none"
    raise ProcessNotFound(f'process "{name}" not present in job configuration (processes there: {there})')


def refuse_names(asked: Asked) -> None:
    """Refuse names that would lead out of the job's own directories."""
    job, process = asked.paths.job, asked.process.name
    if not {"", ".", ".."}.isdisjoint(job.split("/")):
        raise PlanError("job", f"not a name for a job: {job!r}")
    if not process or ".." in process.split("/"):
        raise PlanError(asked.key("name"), f"not a name for a process: {process!r}")


def refuse_strings(asked: Asked) -> None:
    """Refuse what no system call could be handed."""
    said = (
        ("job", asked.paths.job),
        (f"processes[{asked.index}]", asked.process),
        ("flag -v", asked.flag_volumes),
        ("flag -e", asked.flag_env),
    )
    for key, value in said:
        for place, text in strings_of(value, key):
            if "\0" in text:
                raise PlanError(place, f"a NUL byte cannot be passed on: {text!r}")
            try:
                text.encode("utf-8", "surrogateescape")
            except UnicodeEncodeError:
                raise PlanError(place, f"not text that can be passed on: {text!r}") from None


def refuse_flags(asked: Asked) -> None:
    """Hold the volumes of flags to what the loader holds those of the file to."""
    for i, volume in enumerate(asked.flag_volumes):
        try:
            validate_volume(volume, asked.paths.job, asked.facts.root)
        except ConfigError as error:
            raise PlanError(f"flag -v[{i}]", error.problems[0].reason) from error


def strings_of(value: Any, key: str) -> Iterator[tuple[str, str]]:
    """Every string in a value, with its key: ``processes[0].args[1]``."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, tuple):
        for i, element in enumerate(value):
            yield from strings_of(element, f"{key}[{i}]")
    elif isinstance(value, Mapping):
        for name, element in value.items():
            yield f"{key}.{name}", name
            yield f"{key}.{name}", element
    elif has(type(value)):
        for field in fields(type(value)):
            yield from strings_of(getattr(value, field.name), f"{key}.{field.name}")
