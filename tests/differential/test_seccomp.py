"""What seccomp answers to every syscall number on each ABI: bpm's own compiler, and libseccomp as runc uses it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from attrs import evolve

from bpm import DEFAULT_POLICY
from bpm.plan.syscalls import NEWEST, numbers_of
from tests.differential.conftest import Lab
from tests.differential.filters import filters_of
from tests.differential.pair import Runc, run_both, started
from tests.inside import wait_for
from tests.plan.bpf_simulator import ABIS, ALLOW, ERRNO, FAR, NEGATIVE, WORD, X86, arguments_around, run

pytestmark = pytest.mark.needs_root

JOB = "processes: [{name: job, executable: /var/vcap/packages/probe/bin/probe, args: [%s]}]\n"
ENOSYS, EPERM = ERRNO | 38, ERRNO | 1


@pytest.fixture
def filters(lab: Lab, runc: Runc) -> tuple[bytes, bytes]:
    """The filter that each installed, as the kernel has it."""
    plan = lab.process(JOB % "'sleep:60000'").plan()
    with tempfile.TemporaryFile(dir=runc.place) as file:
        output = file.fileno()
        with started(plan, output) as container, runc.started(plan, output) as (name, _):
            assert container.program is not None
            pids = (container.program, runc.pid(name))
            assert wait_for(lambda: all(executes_probe(pid) for pid in pids))
            ours, theirs = (filters_of(pid, 1)[0] for pid in pids)
    return ours, theirs


def executes_probe(pid: int) -> bool:
    return Path(os.readlink(f"/proc/{pid}/exe")).name == "probe"


def every_call() -> list[tuple[str, int, int, str | None]]:
    """ABI, architecture, number and name of every call there is, of every gap, and of numbers far away."""
    calls = []
    for machine, abi, architecture, first in ABIS:
        if machine != os.uname().machine:
            continue
        names = {number: name for name, number in numbers_of(abi).items()}
        numbers = [*range(max(max(names), NEWEST) + 200), *FAR]
        calls += [(abi, architecture, first + number, names.get(number)) for number in numbers if number < 1 << 30]
        calls += [(abi, architecture, number & WORD, None) for number in NEGATIVE]
    return calls


def reason_of(abi: str, name: str | None, answers: tuple[int, int], narrowed: int) -> str | None:
    """Why bpm's answer and that of runc's filter may differ; None where they may not.

    Args:
        narrowed: bpm's answer to the same call with the lower half of each argument.
    """
    if name is None and set(answers) <= {EPERM, ENOSYS}:
        return "no syscall: runc's tables end elsewhere on each ABI, and the kernel would say ENOSYS, too"
    if abi == "x32" and answers == (EPERM, ALLOW) and narrowed == ALLOW:
        return "libseccomp takes x32's arguments for 32 bits wide; the kernel reads all 64, and so do we"
    return None


def test_every_number_gets_the_same_answer(filters: tuple[bytes, bytes]) -> None:
    """With arguments around every value that the policy compares with."""
    ours, theirs = filters
    different, reasons = [], set()
    for abi, architecture, number, name in every_call():
        for arguments in arguments_around(DEFAULT_POLICY, name):
            answers = (run(ours, architecture, number, arguments)[0], run(theirs, architecture, number, arguments)[0])
            if answers[0] == answers[1]:
                continue
            halves = tuple(argument & WORD for argument in arguments)
            reason = reason_of(abi, name, answers, run(ours, architecture, number, halves)[0])
            reasons.add(reason)
            if reason is None:
                different.append((abi, number, name, *map(hex, answers), arguments))

    assert [] == different
    assert 2 == len(reasons)


# uretprobe and uprobe of x86_64 (since 6.11 and 6.18): seccomp lets them by (since 6.14), and whoever calls them from
# elsewhere than the kernel's own trampoline ends by SIGILL.
UNFILTERED = {"syscall:335", "syscall:336"}


def test_what_is_refused_is_refused_by_the_kernel(lab: Lab, runc: Runc, filters: tuple[bytes, bytes]) -> None:
    """Each number that the filters refuse whatever its arguments, tried in both: the answer is the filter's errno."""
    ours, theirs = filters
    expected: dict[str, tuple[int, int]] = {}
    for _, architecture, number, _ in every_call():
        answers = (run(ours, architecture, number)[0], run(theirs, architecture, number)[0])
        name = f"{'int80' if architecture == X86 else 'syscall'}:{number}"
        if ALLOW not in answers and number < 1 << 31 and name not in UNFILTERED:
            expected[name] = (errno_of(answers[0]), errno_of(answers[1]))
    assert len(expected) > 900
    plan = lab.process(JOB % "").plan()
    pair = run_both(plan, runc, tuple(expected))
    found = {name: (pair.ours.attempts[name], pair.theirs.attempts[name]) for name in expected}

    assert {} == {name: (want, found[name]) for name, want in expected.items() if want != found[name]}


def errno_of(answer: int) -> int:
    """As a system call returns it."""
    assert answer & ~0xFFF == ERRNO
    return -(answer & 0xFFF)


def test_what_is_allowed_comes_through(lab: Lab, runc: Runc) -> None:
    """Harmless calls of each ABI do what they do; x32's only where the kernel has them."""
    names = ("getppid", "getuid", "sched_yield", "getpgrp")
    attempts = [f"syscall:{numbers_of('x86_64')[name]}" for name in names]
    attempts += [f"int80:{numbers_of('x86')[name]}" for name in names]
    attempts += [f"syscall:{numbers_of('x32')[name] | 1 << 30}" for name in names]
    seen = run_both(lab.process(JOB % "").plan(), runc, tuple(attempts))
    uid = lab.user.pw_uid
    x32 = seen.ours.attempts[attempts[9]]

    assert [1, uid, 0, 2] * 2 == [seen.ours.attempts[name] for name in attempts[:8]]
    assert [0, uid, 0, 1] * 2 == [seen.theirs.attempts[name] for name in attempts[:8]]
    assert x32 == seen.theirs.attempts[attempts[9]] and x32 in (uid, -38)


def test_a_privileged_job_has_no_filter(lab: Lab, runc: Runc) -> None:
    """In neither."""
    text = "processes: [{name: job, executable: /var/vcap/packages/probe/bin/probe, unsafe: {privileged: true}}]\n"
    pair = run_both(lab.process(text).plan(), runc)

    found = [(seen.status["Seccomp"], seen.status["Seccomp_filters"]) for seen in (pair.ours, pair.theirs)]

    assert [("0", "0")] * 2 == found


def test_the_comparison_would_notice(filters: tuple[bytes, bytes]) -> None:
    """A policy that allows one call more than runc's filter differs from it."""
    from bpm.plan import compile_policy

    _, theirs = filters
    other = compile_policy(evolve(DEFAULT_POLICY).allowing("bpf"), os.uname().machine)
    calls = [call for call in every_call() if call[3] == "bpf"]

    assert {ALLOW} == {run(other, architecture, number)[0] for _, architecture, number, _ in calls}
    assert {EPERM} == {run(theirs, architecture, number)[0] for _, architecture, number, _ in calls}
