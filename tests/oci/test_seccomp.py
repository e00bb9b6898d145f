"""A seccomp policy in OCI's words allows what the policy does. (What runc makes of it: tests/differential.)"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from bpm import DEFAULT_POLICY, PlanError, SeccompPolicy, SyscallRule
from bpm.oci.seccomp import seccomp_section
from bpm.plan import compile_policy
from bpm.plan.syscalls import numbers_of
from tests.plan.bpf_simulator import ALLOW, ERRNO, KILL_PROCESS, WORD, X86_64, arguments_around, run

COMPARE: dict[str, Callable[[int, dict[str, int]], bool]] = {
    "SCMP_CMP_EQ": lambda value, test: value == test["value"],
    "SCMP_CMP_NE": lambda value, test: value != test["value"],
    "SCMP_CMP_MASKED_EQ": lambda value, test: value & test["value"] == test["valueTwo"],
}


def answer(section: dict[str, Any], name: str, arguments: tuple[int, ...]) -> int:
    """What a call gets, as a SECCOMP_RET value: the first entry of its name that holds, or the default."""
    default = {"action": section["defaultAction"], "errnoRet": section.get("defaultErrnoRet")}
    entries = [entry for entry in section["syscalls"] if name in entry["names"]]
    held = [
        entry
        for entry in entries
        if all(COMPARE[test["op"]](arguments[test["index"]], test) for test in entry.get("args", ()))
    ]
    chosen = held[0] if held else default
    return {
        "SCMP_ACT_ALLOW": lambda: ALLOW,
        "SCMP_ACT_ERRNO": lambda: ERRNO | chosen["errnoRet"],
        "SCMP_ACT_KILL_PROCESS": lambda: KILL_PROCESS,
        "SCMP_ACT_LOG": lambda: 0x7FFC_0000,
    }[chosen["action"]]()


POLICIES = {
    "default": DEFAULT_POLICY,
    "killing": DEFAULT_POLICY.killing(),
    "logging": DEFAULT_POLICY.logging(),
    "one call less": DEFAULT_POLICY.denying("socket", errno="EAFNOSUPPORT"),
    "one argument less": DEFAULT_POLICY.denying_if(SyscallRule("ioctl", argument=1, equals=0x5412)),
    "bits of an argument less": DEFAULT_POLICY.denying_if(SyscallRule("open", argument=1, equals=0x41, mask=0xC3)),
    "one argument more": DEFAULT_POLICY.allowing_if(SyscallRule("bpf", argument=0, equals=3)),
}


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_every_call_gets_the_same_answer(policy: SeccompPolicy) -> None:
    """For every syscall of x86_64 by name, and arguments around all that the policy compares with."""
    section, program = seccomp_section(policy, "x86_64"), compile_policy(policy, "x86_64")
    wrong = [
        (name, arguments)
        for name, number in numbers_of("x86_64").items()
        for arguments in arguments_around(evolve(policy, allow_if=policy.allow_if + policy.deny_if), name)
        if answer(section, name, arguments) != run(program, X86_64, number, arguments)[0]
    ]

    assert [] == wrong


@settings(max_examples=200, deadline=None)
@given(
    mask=st.integers(1, (1 << 64) - 1) | st.just((1 << 64) - 1) | st.sampled_from([1, 1 << 63, WORD]),
    bits=st.integers(0, (1 << 64) - 1),
    value=st.integers(0, (1 << 64) - 1),
    near=st.booleans(),
)
def test_the_opposite_of_any_condition(mask: int, bits: int, value: int, near: bool) -> None:
    """What is denied under a condition is allowed exactly where that does not hold."""
    rule = SyscallRule("open", argument=1, equals=bits & mask, mask=mask)
    section = seccomp_section(DEFAULT_POLICY.denying_if(rule), "x86_64")
    value = (value & ~mask) | rule.equals if near else value

    assert (value & mask == rule.equals) == (answer(section, "open", (0, value, 0, 0, 0, 0)) != ALLOW)


def test_every_syscall_is_named_once_or_under_conditions() -> None:
    """So a runtime that answers ENOSYS above the last one named does so where we do."""
    section = seccomp_section(DEFAULT_POLICY, "x86_64")
    plain = [name for entry in section["syscalls"] if "args" not in entry for name in entry["names"]]

    assert len(plain) == len(set(plain))
    assert {"clone", "personality"} == set(numbers_of("x86_64")) - set(plain)
    assert errno.EPERM == section["defaultErrnoRet"]


def test_what_oci_cannot_say_is_an_error() -> None:
    """Two conditions that each deny; an errno that holds only where none allows."""
    rules = tuple(SyscallRule("ioctl", argument=1, equals=value) for value in (1, 2))
    with pytest.raises(PlanError, match="any of several conditions denies ioctl"):
        seccomp_section(DEFAULT_POLICY.denying_if(*rules), "x86_64")
    policy = evolve(DEFAULT_POLICY, errno_of=(("clone", "ENOSYS"),))
    with pytest.raises(PlanError, match="what clone gets only under a condition"):
        seccomp_section(policy, "x86_64")


def test_aarch64_has_one_abi() -> None:
    """A filter for it names no other architecture."""
    assert ["SCMP_ARCH_AARCH64"] == seccomp_section(DEFAULT_POLICY, "aarch64")["architectures"]
