"""Spawner: a sandbox of which all that can be done once has been done."""

from __future__ import annotations

import errno
import os
from types import TracebackType
from typing import TYPE_CHECKING

from attrs import evolve

from bpm import cgroup
from bpm._native import Layout, Plumbing, SpawnFailure, SpawnRequest
from bpm.errors import BpmError, ProgramNotFound, ProgramNotPermitted, SpawnError
from bpm.plan import ProcessPlan, compile_policy
from bpm.runtime import Descriptors, explain_failure, lower_plan, prepare_host
from bpm.sandbox import groups, namespaces, template
from bpm.sandbox.command import Command, candidates_of
from bpm.sandbox.facts import look_around
from bpm.sandbox.interrupts import Uninterrupted
from bpm.sandbox.planning import check_workdir, make_sandbox_plan
from bpm.sandbox.running import Running
from bpm.sandbox.streams import PIPE, descriptor_of

if TYPE_CHECKING:
    from bpm.sandbox.sandbox import Sandbox

NO_GROUP = cgroup.Group(())


class Spawner:
    """Runs programs in one sandbox, from any thread. It holds a descriptor for each source that is bound.

    Args:
        sandbox: What it is made from.
        once: Whether it is for a single program, which a template would not pay for; and closed as its ``with`` ends.

    Raises:
        PlanError, HostError: It cannot be had here.
        PrepareError: A source cannot be opened.
        SpawnError: The root cannot be built.
    """

    def __init__(self, sandbox: Sandbox, *, once: bool = False) -> None:
        self.sandbox = sandbox
        self._once = once
        self._around = look_around(sandbox)
        self.plan = make_sandbox_plan(sandbox, self._around, ["true"])
        self._owns_pids = any(namespace.kind == "pid" for namespace in self.plan.namespaces)
        helped = self.plan.embedded is not None and self.plan.embedded.maps_by_helper
        self._takes_steps = bool(self.plan.cgroup.directories) or helped
        with Uninterrupted():
            self._ready: Ready | None = Ready(self.plan, shared_root=self._around.root and not once)

    def running(self) -> Running:
        """One for which nothing has been made yet."""
        sandbox = self.sandbox
        return Running(sandbox.limits, owns_pids=self._owns_pids, dies_with_us=sandbox.die_with_parent)

    def start(self, running: Running, command: Command) -> None:
        """Make the pipes, the cgroup and the sandbox, and run the program. What was made is in ``running``.

        Raises:
            SpawnError, CgroupError: As in :meth:`bpm.Sandbox.run`.
            ValueError: It is closed.
        """
        if command.workdir is not None:
            check_workdir(os.fsdecode(command.workdir), "cwd")
        ready = self._ready
        if ready is None:
            raise ValueError("this prepared sandbox is closed")
        try:
            # Each call into C remembers what it makes, and may be interrupted anywhere.
            if not self._takes_steps:
                self._spawn(ready, running, command)
                return
            with Uninterrupted():
                self._spawn_in_steps(ready, running, command)
        except SpawnFailure as failure:
            raise self._explain(failure, ready, running.group or NO_GROUP, command) from None

    def _spawn_in_steps(self, ready: Ready, running: Running, command: Command) -> None:
        """With a cgroup, or with a helper for the ids."""
        if self.plan.cgroup.directories:
            running.group = groups.make_group(self.plan.cgroup)
        with groups.joined(running.group) as join, namespaces.mapping(self.plan, running.child) as pipes:
            self._spawn(ready, running, command, (join.unified_fd, join.tasks) if join else None, pipes)

    def _spawn(
        self,
        ready: Ready,
        running: Running,
        command: Command,
        join: tuple[int, tuple[int, ...]] | None = None,
        map_pipes: tuple[int, int] | None = None,
    ) -> None:
        streams = command.streams
        running.plumbing = plumbing = Plumbing([n for n in range(3) if streams[n] == PIPE])
        ready.layout.spawn(
            argv=command.words,
            candidates=candidates_of(command.program, ready.variables_for(command)),
            env=command.variables,
            workdir=command.workdir,
            stdio=tuple([descriptor_of(plumbing, ready.null, n, streams) for n in range(3)]),
            exit_fd=plumbing.exit_fd,
            cgroup=join,
            passed=command.passed,
            map_pipes=map_pipes,
            into=running.child,
        )
        plumbing.close_theirs()

    def _explain(self, failure: SpawnFailure, ready: Ready, group: cgroup.Group, command: Command) -> BpmError:
        """The error for a spawn that stopped: what the caller knows it by, with all that the plan knows."""
        refusal = namespaces.explain_refusal(failure, self._around.root)
        if refusal is not None:
            return refusal
        variables = ready.variables_for(command)
        plan = make_sandbox_plan(
            self.sandbox,
            self._around,
            [os.fsdecode(word) for word in (command.program, *command.words[1:])],
            env=dict(os.fsdecode(text).split("=", 1) for text in variables),
            workdir=None if command.workdir is None else os.fsdecode(command.workdir),
        )
        error = explain_failure(plan, group, failure)
        if not isinstance(error, SpawnError) or error.stage not in ("program", "workdir"):
            return error
        sentence = error.sentence
        if failure.number == errno.E2BIG:
            sentence += f"; {describe_size((*command.words, *variables))}"
        at = os.fsdecode(command.program if error.stage == "program" else command.workdir or self.sandbox.workdir)
        return ERRORS.get(failure.number, SpawnError)(error.stage, error.item, failure.number, sentence, at)

    def __enter__(self) -> Spawner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._once:
            self.close()

    def close(self) -> None:
        """Close the descriptors, as soon as no thread is in the middle of a spawn. What runs goes on."""
        self._ready = None


class Ready:
    """What one sandbox's spawns use, closed when none of them needs it any more.

    Args:
        plan: What each spawn does.
        shared_root: Whether what all of them share of the root is made now.
    """

    def __init__(self, plan: ProcessPlan, *, shared_root: bool) -> None:
        self._joins: list[int] = []
        self._template = -1
        self._opened = prepare_host(plan)
        self.null = self._opened.null
        seccomp = compile_policy(plan.seccomp, os.uname().machine) if plan.seccomp is not None else b""
        for join in plan.embedded.joins if plan.embedded else ():
            self._joins.append(namespaces.open_join(join))
        stdio = (self.null, self.null, self.null)
        request = lower_plan(plan, Descriptors(stdio, tuple(self._opened.sources), joins=tuple(self._joins)), seccomp)
        self.variables = request.env
        self.layout = Layout(self._from_template(plan, request) if shared_root else request)

    def variables_for(self, command: Command) -> tuple[bytes, ...]:
        """The environment that a command runs in."""
        return self.variables if command.variables is None else command.variables

    def _from_template(self, plan: ProcessPlan, request: SpawnRequest) -> SpawnRequest:
        """Make what all programs share, and leave of the request what each has of its own."""
        first, then = template.split(plan, request)
        try:
            self._template = template.make_template(first)
        except SpawnFailure as failure:
            raise explain_failure(plan, NO_GROUP, failure) from None
        return evolve(then, template_fd=self._template)

    def __del__(self) -> None:
        with Uninterrupted():
            if hasattr(self, "_opened"):
                self._opened.close()
            if self._template >= 0:
                os.close(self._template)
            while self._joins:
                os.close(self._joins.pop())


# What subprocess raises where a program cannot be executed.
ERRORS: dict[int, type[SpawnError]] = {
    errno.ENOENT: ProgramNotFound,
    errno.ENOTDIR: ProgramNotFound,
    errno.EACCES: ProgramNotPermitted,
    errno.EPERM: ProgramNotPermitted,
}


def describe_size(texts: tuple[bytes, ...]) -> str:
    """What a kernel says E2BIG to, see execve(2)."""
    sizes = [len(text) + 1 for text in texts]
    return (
        f"its arguments and environment take {sum(sizes)} bytes, the longest of them {max(sizes)}: "
        "the kernel takes 131072 for one, and a quarter of RLIMIT_STACK for all"
    )
