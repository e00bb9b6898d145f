"""Checking a bpm.yml without running anything: what a start would refuse, and what it should make one wonder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator

from attrs import frozen

from bpm.config import JobConfig, ProcessConfig, codes, is_below, load_located
from bpm.errors import ConfigError, JobNotFound, PlanError, Problem
from bpm.insight.lint import lint
from bpm.insight.volumes import lint_globs, lint_mounts
from bpm.plan import CGROUP_ROOT, Controller, HostFacts, ProcessPlan, make_plan
from bpm.runtime import LARGEST_CONFIG, Environment, examine_program, find_inside


def _unified(name: str) -> Controller:
    return Controller(name, 2, CGROUP_ROOT)


# A BOSH VM of the newest kind, for what is checked without one.
STEMCELL = HostFacts(controllers=tuple(map(_unified, ("cpu", "memory", "pids"))), unified=_unified("unified"))


@frozen
class Findings:
    """What was found in one bpm.yml, each in the file's order, with its code.

    Args:
        errors: What a start would refuse.
        warnings: What it would go on with.
    """

    errors: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def of(cls, problems: Iterator[Problem]) -> Findings:
        """These problems, put in order.

        Args:
            problems: What was found, in any order.

        Returns:
            Errors and warnings, each in the file's order.
        """
        found = sorted(dict.fromkeys(problems), key=lambda problem: (problem.line, problem.column))
        return cls(
            tuple(problem for problem in found if problem.code in codes.ERRORS),
            tuple(problem for problem in found if problem.code not in codes.ERRORS),
        )


def check_text(text: str | bytes, *, job: str = "job", file: str = "") -> Findings:
    """Checks a bpm.yml that belongs to no machine in reach: as on a BOSH VM, without looking for any file.

    Args:
        text: Its text.
        job: The job it belongs to.
        file: What the findings call it.

    Returns:
        What is wrong, and what is remarkable.
    """

    def check(config: JobConfig, index: int, facts: HostFacts) -> Iterator[Problem]:
        return lint_plan(make_plan(config, config.processes[index], facts))

    return _check(text, job, file, STEMCELL.root, lambda config: STEMCELL, check)


def check_job(environment: Environment, job: str) -> Findings:
    """Checks a job where it is, with its files, on this host.

    Args:
        environment: The BOSH root.
        job: The job's name.

    Returns:
        What is wrong, and what is remarkable.

    Raises:
        JobNotFound: It has no bpm.yml.
        PlanError: No job can have such a name.
        HostError: The user does not exist.
    """

    def check(config: JobConfig, index: int, facts: HostFacts) -> Iterator[Problem]:
        process, key = config.processes[index], f"processes[{index}]"
        environment.process(job, process.name)
        plan = make_plan(config, process, facts)
        yield from lint_plan(plan)
        yield from lint_globs(process, key, facts)
        yield from look_around(process, key, plan)

    environment.process(job)
    path = environment.layout.job(job).config
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_CONFIG + 1)
    except OSError as error:
        raise JobNotFound(f"open {path}: {os.strerror(error.errno or 0).lower()}") from error
    return _check(text, job, path, environment.root, environment.facts, check)


def _check(
    text: str | bytes,
    job: str,
    file: str,
    root: str,
    observe: Callable[[JobConfig], HostFacts],
    check: Callable[[JobConfig, int, HostFacts], Iterator[Problem]],
) -> Findings:
    try:
        config, places = load_located(text, job=job, root=root, file=file)
    except ConfigError as error:
        return Findings(errors=error.problems)
    found = list(lint(config))
    try:
        facts = observe(config)
    except PlanError as error:
        found.append(_refusal(error))
    else:
        for index in range(len(config.processes)):
            try:
                found += check(config, index, facts)
            except PlanError as error:
                found.append(_refusal(error))
    return Findings.of(iter([*config.warnings, *map(places.locate, found)]))


def lint_plan(plan: ProcessPlan) -> Iterator[Problem]:
    """What can be told from the plan alone."""
    for notice in plan.notices:
        code = codes.UNKNOWN_CAPABILITY if ".capabilities[" in notice.because else codes.NOT_ENFORCED
        yield Problem(notice.text, notice.because, code=code)
    for setting in plan.cgroup.settings:
        if setting.optional and ".limits." in setting.because:
            reason = f"this host has no {setting.file}, so that swap comes on top of this limit"
            yield Problem(reason, setting.because, code=codes.NOT_ENFORCED)
    yield from lint_mounts(plan)


def _refusal(error: PlanError) -> Problem:
    return Problem(error.reason, error.key, code=codes.CANNOT_PLAN)


# What only the host's files tell


def look_around(process: ProcessConfig, key: str, plan: ProcessPlan) -> Iterator[Problem]:
    """What the process needs and does not find. What we may not look at is taken to be there."""
    for requirement in plan.preparation.requirements:
        if is_missing(requirement.path):
            reason = f"{requirement.reason} ({requirement.path})"
            yield Problem(reason, requirement.because, code=codes.MISSING_DISK)
    yield from _missing_sources(plan)
    hook = plan.preparation.pre_start
    if hook is not None and hook.executable.startswith("/") and is_missing(hook.executable):
        yield Problem(f"{hook.executable} does not exist on the host", hook.because, code=codes.MISSING_HOOK)
    try:
        if process.workdir and (problem := find_inside(plan, plan.workdir.path).problem):
            yield Problem(problem, plan.workdir.because, code=codes.MISSING_WORKDIR)
        if problem := examine_program(plan):
            code = codes.MISSING_INTERPRETER if "cannot find its interpreter" in problem else codes.MISSING_EXECUTABLE
            yield Problem(problem, f"{key}.executable", code=code)
    except OSError:
        pass


def _missing_sources(plan: ProcessPlan) -> Iterator[Problem]:
    """What is to be mounted and does not exist, nor is made before; a hook may make anything."""
    if plan.preparation.pre_start is not None:
        return
    made = [directory.path for directory in plan.preparation.directories]
    for mount in plan.mounts:
        if mount.kind != "bind" or not is_missing(mount.source):
            continue
        if not any(path == mount.source or is_below(path, mount.source) for path in made):
            reason = f"{mount.source} does not exist on the host (because {mount.because})"
            yield Problem(reason, mount.because, code=codes.MISSING_SOURCE)


def is_missing(path: str) -> bool:
    """Whether there is certainly nothing."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENOTDIR)
    return False
