"""Starting a container: from a plan to something that runs.

    heal what a dead or killed predecessor left   (container.py)
    prepare the host, open what is needed         (prepare.py)
    write the record ahead                        (records.py)
    make the cgroup, lower the plan, spawn        (lower.py, _native)
    write the record again, now with the pid

Whatever fails on the way, nothing is left of it but what preparing made.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from attrs import evolve

from bpm import cgroup, host
from bpm._native import Spawned, SpawnFailure, spawn
from bpm.errors import AlreadyRunning, BpmError, RecordError
from bpm.layout import Layout
from bpm.plan import ProcessPlan, Rlimit, compile_policy, digest
from bpm.runtime.container import Container, find_container, read_boot_id, read_start_time
from bpm.runtime.failure import explain_failure
from bpm.runtime.lock import locked
from bpm.runtime.lower import Descriptors, lower
from bpm.runtime.prepare import Prepared, prepare
from bpm.runtime.records import RUNNING, STARTING, History, Records, StateRecord
from bpm.runtime.room import room_for

# How many seconds what a predecessor left in the cgroup has to die.
LEFTOVER_GRACE = 10.0


def start(plan: ProcessPlan) -> Container:
    """Starts what the plan says, detached: its output goes to the log files, and it outlives the caller.

    Args:
        plan: A job's, from :func:`make_plan`.

    Returns:
        The running container: its program has been executed.

    Raises:
        AlreadyRunning: A container of the plan's name runs.
        UnsafePathError: Somebody else than root could have made what its records lie in.
        PlanError, PrepareError, HookError: The host could not be prepared.
        CgroupError: A limit was refused.
        SpawnError: The container was not built, or its program could not be executed.
        HostError: This kernel lacks something that bpm needs.
    """
    with locked(Layout(plan.root).process_lock(plan.container_id)):
        history = heal(Records(Layout(plan.root)), plan)
        return start_cleared(plan, history=history)


def start_cleared(
    plan: ProcessPlan, report: Callable[[str], None] = lambda event: None, history: History | None = None
) -> Container:
    """Starts it where nothing stands in the way. For a caller who holds the lock, and may want to hear what happens."""
    report("creating-job-prerequisites")
    with room_for(len(plan.mounts)) as limits, prepare(plan) as prepared:
        return launch(plan, prepared, prepared.stdio, limits, report=report, history=history)


def heal(records: Records, plan: ProcessPlan) -> History:
    """Clears away what a predecessor left: a dead container, or one whose start or record was cut short.

    Returns:
        What is to be remembered of it.

    Raises:
        AlreadyRunning: It is alive.
        CgroupError: Something of it does not die.
    """
    try:
        found = find_container(records, plan.container_id)
    except RecordError:
        found = None  # The plan knows where its cgroup would be.
    history = History()
    if found is not None:
        try:
            if found.running:
                raise AlreadyRunning(f"{plan.container_id} is running already, with pid {found.pid}")
            history = found.history
            found.remove()
        finally:
            found.close()
    discard(records, plan)
    return history


def discard(records: Records, plan: ProcessPlan) -> None:
    """Ends whatever is in the plan's cgroup, and removes that and the records."""
    group = cgroup.Group.from_paths(directory.path for directory in plan.cgroup.directories)
    if group.populated:
        group.kill(time.monotonic() + LEFTOVER_GRACE)
    group.remove()
    records.remove(plan.container_id)


def launch(
    plan: ProcessPlan,
    prepared: Prepared,
    stdio: tuple[int, int, int],
    inherited: tuple[Rlimit, ...] = (),
    *,
    die_with_parent: bool = False,
    report: Callable[[str], None] = lambda event: None,
    history: History | None = None,
) -> Container:
    """Makes the cgroup, spawns, and keeps the records, on a prepared host.

    Args:
        stdio: What become the program's descriptors 0, 1 and 2.
        inherited: Limits that the program has where the plan sets none.
        die_with_parent: Whether it ends with the thread that calls this.
        report: Is told what happens next.
        history: What came before.
    """
    report("building-spec")
    policy = plan.seccomp
    seccomp_filter = compile_policy(policy, os.uname().machine) if policy is not None else b""
    records = Records(Layout(plan.root))
    state = record_ahead(plan, history)
    records.write(state)
    try:
        report("creating-bundle")
        records.write_plan(plan)
        group = cgroup.create(plan.cgroup)
        for setting in group.skipped:
            report(f"not-enforced.{setting.file}")
        with group.open_for_join() as join, cgroup.opened_counters(plan.cgroup) as counters:
            exit_record = records.open_exit(plan.container_id)
            try:
                sources, files = tuple(prepared.sources), tuple(counters.values())
                opened = Descriptors(stdio, sources, join.unified_fd, join.tasks, exit_record, files)
                limited = evolve(plan, rlimits=complete(plan.rlimits, inherited))
                request = lower(limited, opened, seccomp_filter, die_with_parent=die_with_parent)
                report("running-container")
                try:
                    spawned = spawn(request)
                except SpawnFailure as failure:
                    raise explain_failure(limited, group, failure) from None
            finally:
                os.close(exit_record)
        return take_over(records, evolve(state, counters=tuple(counters)), spawned)
    except BaseException as error:
        try:
            discard(records, plan)
        except BpmError:
            pass  # The record stays where this failed, and the next start or stop tries again.
        if isinstance(error, OSError) and not isinstance(error, BpmError):
            host.check_kernel()
        raise


def take_over(records: Records, state: StateRecord, spawned: Spawned) -> Container:
    """The container of what was just spawned, with its pid on record; what cannot be recorded is ended."""
    state = evolve(
        state,
        phase=RUNNING,
        pid=spawned.pid,
        start_time=read_start_time(spawned.pid) or 0,
        pidfd_inode=os.fstat(spawned.pidfd).st_ino,
    )
    container = Container(records, state, spawned.pidfd)
    try:
        records.write(state)
    except BaseException:
        container.kill()
        container.close()
        raise
    return container


def complete(limits: tuple[Rlimit, ...], inherited: tuple[Rlimit, ...]) -> tuple[Rlimit, ...]:
    """The limits, and those inherited ones that they leave open."""
    named = {limit.name for limit in limits}
    return limits + tuple(limit for limit in inherited if limit.name not in named)


def record_ahead(plan: ProcessPlan, history: History | None = None) -> StateRecord:
    """The record of a start that is about to happen."""
    past = history or History()
    return StateRecord(
        container_id=plan.container_id,
        job=plan.job,
        process=plan.process,
        phase=STARTING,
        boot_id=read_boot_id(),
        pid=0,
        start_time=0,
        pidfd_inode=0,
        cgroup=tuple(directory.path for directory in plan.cgroup.directories),
        plan_digest=digest(plan),
        shutdown_signal=plan.shutdown_signal,
        started_ns=time.time_ns(),
        restarts=past.restarts,
        last_exit=past.last_exit,
    )
