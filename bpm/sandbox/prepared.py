"""Prepared: a sandbox of which all that can be done once has been done."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

from attrs import evolve

from bpm import cgroup
from bpm._native import Child, Layout, Plumbing, SpawnFailure, SpawnRequest
from bpm.errors import BpmError, PlanError, ProgramNotFound, ProgramNotPermitted, SpawnError
from bpm.plan import ProcessPlan, compile_policy
from bpm.runtime import Descriptors, explain_failure, lower, prepare_host
from bpm.sandbox import groups, namespaces, template
from bpm.sandbox.facts import look_around
from bpm.sandbox.interrupts import Uninterrupted
from bpm.sandbox.planning import make_sandbox_plan
from bpm.sandbox.process import Process
from bpm.sandbox.result import Completed, ProcessTimeout
from bpm.sandbox.words import Argument, Words, candidates_of, variables_of, words_of

if TYPE_CHECKING:
    from bpm.sandbox.sandbox import Sandbox

Stream = None | int | IO[Any]


class Prepared:
    """A sandbox that is ready to run programs, any number of them, from any thread. A context manager.

    Made by :meth:`bpm.Sandbox.prepare`. It holds a descriptor for each source that is bound.

    Args:
        sandbox: What it is made from.
        once: Whether it is for a single program, which a template would not pay for.
    """

    def __init__(self, sandbox: Sandbox, *, once: bool = False) -> None:
        self.sandbox = sandbox
        self._lock = threading.Lock()
        self._users = 1  # ourselves, until closed
        self._closed = False
        self._joins: list[int] = []
        self._template = -1
        self._around = look_around(sandbox)
        self._plan = make_sandbox_plan(sandbox, self._around, ["true"])
        with Uninterrupted():
            self._opened = prepare_host(self._plan)
            try:
                self._open(once)
            except BaseException:
                self.close()
                raise

    def _open(self, once: bool) -> None:
        plan = self._plan
        seccomp = compile_policy(plan.seccomp, os.uname().machine) if plan.seccomp is not None else b""
        for join in plan.embedded.joins if plan.embedded else ():
            self._joins.append(namespaces.open_join(join))
        null = self._opened.null
        opened = Descriptors((null, null, null), tuple(self._opened.sources), joins=tuple(self._joins))
        request = lower(plan, opened, seccomp)
        self._variables = request.env
        if self._around.root and not once:
            request = self._from_template(request)
        self._layout = Layout(request)

    @property
    def plan(self) -> ProcessPlan:
        """What is done for each program, save its arguments; its cgroup gets a name of its own."""
        return self._plan

    @property
    def null(self) -> int:
        """A descriptor of /dev/null."""
        return self._opened.null

    def run(
        self,
        args: Words | Argument,
        *,
        stdin: Stream = None,
        input: str | bytes | None = None,
        stdout: Stream = None,
        stderr: Stream = None,
        capture_output: bool = False,
        timeout: float | None = None,
        check: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Argument | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        universal_newlines: bool | None = None,
        shell: bool = False,
        pass_fds: Iterable[int] = (),
    ) -> Completed:
        """Run a program to its end: see :meth:`bpm.Sandbox.run`."""
        stdin, stdout, stderr = streams_of(stdin, input, stdout, stderr, capture_output)
        process = self._make_process(args)
        try:
            self._start(process, stdin, stdout, stderr, env, cwd, shell, pass_fds)
            process.open_files(-1, text or universal_newlines, encoding, errors)
            out, err = process.communicate(input, timeout)
        except ProcessTimeout as error:
            process.kill()
            process.wait()
            error.ending = process.ending
            raise
        finally:
            process.abandon()
        completed = Completed(process.args, process.known_ending(), out, err)
        if check:
            completed.check_returncode()
        return completed

    def popen(
        self,
        args: Words | Argument,
        *,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        bufsize: int = -1,
        env: Mapping[str, str] | None = None,
        cwd: Argument | None = None,
        text: bool | None = None,
        encoding: str | None = None,
        errors: str | None = None,
        universal_newlines: bool | None = None,
        shell: bool = False,
        pass_fds: Iterable[int] = (),
    ) -> Process:
        """Start a program: see :meth:`bpm.Sandbox.popen`."""
        process = self._make_process(args)
        try:
            self._start(process, stdin, stdout, stderr, env, cwd, shell, pass_fds)
            process.open_files(bufsize, text or universal_newlines, encoding, errors)
        except BaseException:
            process.abandon()
            raise
        return process

    def launch(
        self,
        args: Words | Argument,
        stdin: Stream = None,
        stdout: Stream = None,
        stderr: Stream = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Argument | None = None,
        shell: bool = False,
        pass_fds: Iterable[int] = (),
    ) -> Process:
        """Start a program, and make no file objects of its pipes."""
        process = self._make_process(args)
        try:
            self._start(process, stdin, stdout, stderr, env, cwd, shell, pass_fds)
        except BaseException:
            process.abandon()
            raise
        return process

    def spawn(
        self,
        args: Words | Argument,
        plumbing: Plumbing,
        child: Child,
        stdio: tuple[int, int, int],
        *,
        group: cgroup.Group | None,
        env: Mapping[str, str] | None,
        cwd: Argument | None,
        shell: bool,
        pass_fds: Iterable[int],
    ) -> None:
        """Make the sandbox and run the program; what was made is in ``child``.

        Raises:
            SpawnError, ValueError: As in :meth:`bpm.Sandbox.run`.
        """
        words = words_of(args, shell=shell)
        variables = self._variables if env is None else variables_of(env)
        passed = tuple(sorted(set(pass_fds)))
        if passed and passed[0] < 3:
            raise PlanError("pass_fds", f"descriptor {passed[0]} is stdin, stdout or stderr, which are passed as such")
        workdir = os.fsencode(cwd) if cwd is not None else None
        if workdir is not None:
            make_sandbox_plan(self.sandbox, self._around, ["true"], workdir=os.fsdecode(workdir))
        try:
            with groups.joined(group) as join, namespaces.mapping(self._plan, child) as pipes:
                self._layout.spawn(
                    argv=words,
                    candidates=candidates_of(words[0], variables),
                    env=None if env is None else variables,
                    workdir=workdir,
                    stdio=stdio,
                    exit_fd=plumbing.exit_fd,
                    cgroup=(join.unified_fd, join.tasks) if join else None,
                    passed=passed,
                    map_pipes=pipes,
                    into=child,
                )
        except SpawnFailure as failure:
            raise self._explain(failure, words, variables, workdir, group) from None

    def make_group(self) -> cgroup.Group | None:
        """A cgroup for one spawn, where the plan has any."""
        return groups.make_group(self._plan.cgroup) if self._plan.cgroup.directories else None

    def close(self) -> None:
        """Close the descriptors, as soon as no thread is in the middle of a spawn. What runs goes on."""
        with Uninterrupted():
            with self._lock:
                if self._closed:
                    return
                self._closed = True
            self._release()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_opened"):
            self.close()

    def _make_process(self, args: Words | Argument) -> Process:
        """One that nothing has been made for yet, so that whoever holds it can clear away whatever is made."""
        return Process(args, self.sandbox, own_pids=self._has_own_pids())

    def _start(
        self,
        process: Process,
        stdin: Stream,
        stdout: Stream,
        stderr: Stream,
        env: Mapping[str, str] | None,
        cwd: Argument | None,
        shell: bool,
        pass_fds: Iterable[int],
    ) -> None:
        with Uninterrupted(), self._used():
            process.start(self, stdin, stdout, stderr, env=env, cwd=cwd, shell=shell, pass_fds=pass_fds)

    @contextmanager
    def _used(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise ValueError("this prepared sandbox is closed")
            self._users += 1
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last:
            self._opened.close()
            if self._template >= 0:
                os.close(self._template)
            while self._joins:
                os.close(self._joins.pop())

    def _from_template(self, request: SpawnRequest) -> SpawnRequest:
        """Make what all programs share, and leave of the request what each has of its own."""
        first, then = template.split(self._plan, request)
        try:
            self._template = template.make_template(first)
        except SpawnFailure as failure:
            raise explain_failure(self._plan, cgroup.Group(()), failure) from None
        return evolve(then, template_fd=self._template)

    def _has_own_pids(self) -> bool:
        return any(namespace.kind == "pid" for namespace in self._plan.namespaces)

    def _explain(
        self,
        failure: SpawnFailure,
        words: tuple[bytes, ...],
        variables: tuple[bytes, ...],
        workdir: bytes | None,
        group: cgroup.Group | None,
    ) -> BpmError:
        """The error for a spawn that stopped: what the caller knows it by, with all that the plan knows."""
        refusal = namespaces.explain_refusal(failure, self._around.root)
        if refusal is not None:
            return refusal
        env = dict(os.fsdecode(text).split("=", 1) for text in variables)
        plan = make_sandbox_plan(
            self.sandbox,
            self._around,
            [os.fsdecode(word) for word in words],
            env=env,
            workdir=None if workdir is None else os.fsdecode(workdir),
        )
        error = explain_failure(plan, group or cgroup.Group(()), failure)
        if not isinstance(error, SpawnError) or error.stage != "program":
            return error
        if isinstance(error, FileNotFoundError | PermissionError):
            return error
        if failure.number == errno.E2BIG:
            return SpawnError(
                error.stage, error.item, failure.number, f"{error.sentence}; {describe_size(words, variables)}"
            )
        kind = {2: ProgramNotFound, 20: ProgramNotFound, 13: ProgramNotPermitted, 1: ProgramNotPermitted}
        return kind.get(failure.number, SpawnError)(error.stage, error.item, failure.number, error.sentence)


def describe_size(words: tuple[bytes, ...], variables: tuple[bytes, ...]) -> str:
    """What a kernel says E2BIG to, see execve(2)."""
    sizes = [len(text) + 1 for text in (*words, *variables)]
    return (
        f"its arguments and environment take {sum(sizes)} bytes, the longest of them {max(sizes)}: "
        "the kernel takes 131072 for one, and a quarter of RLIMIT_STACK for all"
    )


def streams_of(
    stdin: Stream, input: str | bytes | None, stdout: Stream, stderr: Stream, capture_output: bool
) -> tuple[Stream, Stream, Stream]:
    """What ``run`` makes of its arguments, with the errors of subprocess."""
    if input is not None:
        if stdin is not None:
            raise ValueError("stdin and input arguments may not both be used.")
        stdin = -1
    if capture_output:
        if stdout is not None or stderr is not None:
            raise ValueError("stdout and stderr arguments may not be used with capture_output.")
        stdout = stderr = -1
    return stdin, stdout, stderr
