"""A seccomp policy in OCI's words: ``linux.seccomp`` of a config.json. Pure."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from bpm.errors import PlanError
from bpm.plan import SeccompPolicy, SyscallRule, compile_policy, names_left

# By uname(2)'s machine: the ABIs of whose calls the kernel takes, as our own filter has them.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64",),
}

ALLOW = {"action": "SCMP_ACT_ALLOW"}
WHOLE = (1 << 64) - 1

Config = dict[str, Any]


def seccomp_section(policy: SeccompPolicy, machine: str) -> Config:
    """The policy, by name.

    Every syscall of our tables is in it, those too that get the default's answer: runc answers ENOSYS to numbers above
    the last one that is named, as our own filter does above the end of the tables.

    Raises:
        PlanError: The policy is none (see :func:`compile_policy`), or OCI has no words for it.
    """
    compile_policy(policy, machine)
    default = refusal(policy.default)
    named = {*policy.allow, *(rule.name for rule in (*policy.allow_if, *policy.deny_if))}
    refused = {name: refusal(word) for name, word in policy.errno_of if name not in policy.allow}
    for name in refused:
        if name in named and refused[name] != default:
            raise PlanError(policy.because, f"OCI cannot say what {name} gets only under a condition")
    return {
        "defaultAction": default["action"],
        **({"defaultErrnoRet": default["errnoRet"]} if "errnoRet" in default else {}),
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": [
            {"names": list(policy.allow), **ALLOW},
            *conditional_rules(policy),
            *({"names": [name], **answer} for name, answer in refused.items() if name not in named),
            {"names": list(names_left(policy)), **default},
        ],
    }


def refusal(word: str) -> Config:
    """What a call gets: an errno by name, KILL or LOG."""
    if word in ("KILL", "LOG"):
        return {"action": {"KILL": "SCMP_ACT_KILL_PROCESS", "LOG": "SCMP_ACT_LOG"}[word]}
    return {"action": "SCMP_ACT_ERRNO", "errnoRet": getattr(errno, word)}


def conditional_rules(policy: SeccompPolicy) -> Iterator[Config]:
    """One entry a condition, any of which allows the syscall. What denies it is turned into its opposites first."""
    for rule in policy.allow_if:
        yield {"names": [rule.name], **ALLOW, "args": [condition(rule.argument, rule.mask, rule.equals)]}
    denied = [rule.name for rule in policy.deny_if]
    for rule in policy.deny_if:
        if denied.count(rule.name) > 1:
            raise PlanError(policy.because, f"OCI cannot say that any of several conditions denies {rule.name}")
        for argument in opposites(rule):
            yield {"names": [rule.name], **ALLOW, "args": [argument]}


def condition(index: int, mask: int, equals: int) -> Config:
    """``(argument & mask) == equals``."""
    if mask == WHOLE:
        return {"index": index, "value": equals, "op": "SCMP_CMP_EQ"}
    return {"index": index, "value": mask, "valueTwo": equals, "op": "SCMP_CMP_MASKED_EQ"}


def opposites(rule: SyscallRule) -> Iterator[Config]:
    """``(argument & mask) != equals`` in parts, any of which makes it true: one bit of the mask is the other way."""
    if rule.mask == WHOLE:
        yield {"index": rule.argument, "value": rule.equals, "op": "SCMP_CMP_NE"}
        return
    for bit in (1 << i for i in range(64) if rule.mask >> i & 1):
        yield condition(rule.argument, bit, ~rule.equals & bit)
