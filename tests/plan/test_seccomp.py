"""The compiled filter, run in a simulator, against a direct reading of the policy."""

from __future__ import annotations

import errno
import struct
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from bpm.errors import PlanError
from bpm.plan.model import SeccompPolicy, SyscallRule
from bpm.plan.seccomp import DEFAULT_POLICY, compile_policy
from bpm.plan.syscalls import NEWEST, every_name, numbers_of
from tests.plan.bpf_simulator import (
    AARCH64,
    ABIS,
    ALLOW,
    ARM,
    ERRNO,
    FAR,
    JUMP,
    JUMP_IF,
    KILL_PROCESS,
    NEGATIVE,
    WORD,
    X86,
    X86_64,
    arguments_around,
    decode,
    run,
)

ABI_NAMES = [abi for _, abi, _, _ in ABIS]
NAMESPACE_BITS = [17, 25, 26, 27, 28, 29, 30]  # NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
EPERM = ERRNO | errno.EPERM
ENOSYS = ERRNO | errno.ENOSYS
ENOTTY = ERRNO | errno.ENOTTY


def refusal(word: str) -> int:
    """The answer that gives the caller this errno."""
    number: int = getattr(errno, word)
    return ERRNO | number


def read_policy(policy: SeccompPolicy, abi: str, number: int, arguments: tuple[int, ...]) -> int:
    """What the policy says of one call; ``number`` is counted within the ABI."""
    names = {number: name for name, number in numbers_of(abi).items()}
    name = names.get(number)
    if name is None:
        return refusal(policy.unknown if number > NEWEST else policy.default)
    seen = [argument & WORD for argument in arguments] if abi == "x86" else arguments
    rules = [rule for rule in policy.allow_if if rule.name == name]
    if name in policy.allow or any(seen[rule.argument] & rule.mask == rule.equals for rule in rules):
        return ALLOW
    return refusal(dict(policy.errno_of).get(name, policy.default))


def assert_same(policy: SeccompPolicy) -> None:
    """For every number of every ABI: where no argument is looked at, one run tells of all arguments."""
    for machine, abi, architecture, first in ABIS:
        program = compile_policy(policy, machine)
        names = {number: name for name, number in numbers_of(abi).items()}
        for number in (*range(max(names) + 100), *FAR, *(number - first for number in NEGATIVE)):
            call = (abi, names.get(number, number))
            for arguments in arguments_around(policy, names.get(number)):
                answer, looked = run(program, architecture, first + number, arguments)
                assert (call, read_policy(policy, abi, number, arguments)) == (call, answer), arguments
                if not looked and not any(rule.name == names.get(number) for rule in policy.allow_if):
                    break


def small_policy(**changes: Any) -> SeccompPolicy:
    """A policy that allows nothing but what is asked for."""
    nothing = SeccompPolicy("small", "EPERM", (), (), (), "ENOSYS", "a test")
    return evolve(nothing, **changes)


# Values whose halves are easily mixed up, and any other.
halves = st.sampled_from([0, 1, 2, WORD])
values = st.builds(lambda upper, lower: upper << 32 | lower, halves, halves) | st.integers(0, (1 << 64) - 1)
names = st.sampled_from(sorted(every_name()))
errnos = st.sampled_from(["EPERM", "ENOSYS", "EACCES", "EINVAL", "ENOTSUP"])


@st.composite
def rules(draw: st.DrawFn) -> SyscallRule:
    mask = draw(values)
    equals = draw(values)
    return SyscallRule(
        draw(names), draw(st.sampled_from([0, 1, 5])), equals & mask if draw(st.booleans()) else equals, mask
    )


policies = st.builds(
    SeccompPolicy,
    name=st.just("random"),
    default=errnos,
    allow=st.lists(names, max_size=200).map(tuple),
    # The first one's syscall under the other conditions too, as personality has several.
    allow_if=st.lists(rules(), max_size=6).map(
        lambda drawn: (*drawn, *(evolve(rule, name=drawn[0].name) for rule in drawn[1:]))
    ),
    errno_of=st.dictionaries(names, errnos, max_size=5).map(lambda pairs: tuple(pairs.items())),
    unknown=errnos,
    because=st.just("a test"),
)


def test_every_call_gets_what_the_default_policy_says() -> None:
    """For every number of every ABI and arguments around every bound, the filter answers as the policy reads."""
    assert_same(DEFAULT_POLICY)


@settings(max_examples=40, deadline=None)
@given(policies)
def test_every_call_gets_what_any_policy_says(policy: SeccompPolicy) -> None:
    """The same holds for any policy."""
    assert_same(policy)


def test_the_largest_tree_that_names_can_make_is_taken() -> None:
    """An errno of its own for each syscall, so that nothing merges, takes long jumps and stays within the bound."""
    words = sorted(word for word in dir(errno) if word.startswith("E"))
    policy = small_policy(
        errno_of=tuple((name, words[place % len(words)]) for place, name in enumerate(sorted(every_name())))
    )
    assert_same(policy)
    code = decode(compile_policy(policy, "x86_64"))
    assert any(opcode == JUMP for opcode, *_ in code)
    assert len(numbers_of("x86_64")) + len(numbers_of("x32")) + len(numbers_of("x86")) < len(code) < 4096


def test_returns_are_repeated_seldom() -> None:
    """In a tree too large for its jumps, nineteen instructions of twenty compare: jumps share a repeated return."""
    names = sorted(every_name())
    policy = small_policy(allow=tuple(names[::3]), errno_of=tuple((name, "ENOENT") for name in names[1::3]))
    code = decode(compile_policy(policy, "x86_64"))
    others = [opcode for opcode, *_ in code if opcode not in JUMP_IF]
    assert 255 < 20 * len(others) < len(code)


@pytest.mark.parametrize("count", [255, 256, 257, 500])
def test_conditions_longer_than_a_jump_are_followed(count: int) -> None:
    """A syscall under hundreds of conditions is compared with each of them."""
    rules = tuple(SyscallRule("ioctl", 1, value << 32 | value) for value in range(1, count + 1))
    policy = small_policy(allow_if=rules, allow=("read",))
    program = compile_policy(policy, "aarch64")
    ioctl = numbers_of("aarch64")["ioctl"]
    answers = [run(program, AARCH64, ioctl, (0, v << 32 | v, 0, 0, 0, 0))[0] for v in range(count + 2)]
    assert [EPERM, *[ALLOW] * count, EPERM] == answers
    for away in (1, -1):
        crossed = {run(program, AARCH64, ioctl, (0, v << 32 | v + away, 0, 0, 0, 0))[0] for v in range(2, count)}
        assert {EPERM} == crossed


def test_more_than_the_kernel_takes_is_refused() -> None:
    """A policy of too many conditions is a PlanError that gives the figure, before the kernel says EINVAL."""
    policy = small_policy(allow_if=tuple(SyscallRule("ioctl", 1, value << 32 | value) for value in range(1500)))
    with pytest.raises(PlanError, match=r"takes \d+ instructions, more than 4096"):
        compile_policy(policy, "x86_64")


@pytest.mark.parametrize(("machine", "abi", "architecture", "first"), ABIS, ids=ABI_NAMES)
def test_new_numbers_are_unknown_and_negative_ones_denied(
    machine: str, abi: str, architecture: int, first: int
) -> None:
    """The number after the newest gets ENOSYS, and so does any above; a negative one gets EPERM."""
    program = compile_policy(DEFAULT_POLICY, machine)
    newer = [run(program, architecture, first + number) for number in (NEWEST + 1, *FAR)]
    assert [(ENOSYS, False)] * len(newer) == newer
    negative = [run(program, architecture, number) for number in NEGATIVE]
    assert [(EPERM, False)] * len(negative) == negative


@pytest.mark.parametrize(
    ("machine", "strange"), [("x86_64", AARCH64), ("x86_64", 0), ("aarch64", ARM), ("aarch64", X86_64)]
)
def test_a_strange_architecture_is_killed(machine: str, strange: int) -> None:
    """A call by another machine's convention ends the process, whatever its number."""
    program = compile_policy(DEFAULT_POLICY, machine)
    assert {(KILL_PROCESS, False)} == {run(program, strange, number) for number in range(-1, 600)}


@pytest.mark.parametrize(("machine", "abi", "architecture", "first"), ABIS, ids=ABI_NAMES)
def test_no_clone_makes_a_namespace(machine: str, abi: str, architecture: int, first: int) -> None:
    """Of the 64 flags of clone, those that make a namespace are denied, alone and among others; the rest is allowed."""
    program = compile_policy(DEFAULT_POLICY, machine)
    clone = first + numbers_of(abi)["clone"]
    denied = [bit for bit in range(64) if run(program, architecture, clone, (1 << bit | 17, 0, 0, 0, 0, 0))[0] != ALLOW]
    assert denied == NAMESPACE_BITS
    assert run(program, architecture, clone, ((1 << 64) - 1, 0, 0, 0, 0, 0))[0] == EPERM


REACHING_OUT = (
    "add_key bpf fsmount init_module io_uring_setup kexec_load keyctl mount move_mount open_by_handle_at open_tree "
    "perf_event_open pidfd_getfd pivot_root process_vm_writev ptrace reboot setns swapon umount2 unshare "
    "userfaultfd"
)


@pytest.mark.parametrize("name", REACHING_OUT.split())
def test_what_reaches_out_is_denied(name: str) -> None:
    """What changes the machine, reaches other processes or undoes the isolation is denied on every ABI that has it."""
    answers = {
        run(compile_policy(DEFAULT_POLICY, machine), architecture, first + numbers_of(abi)[name])
        for machine, abi, architecture, first in ABIS
        if name in numbers_of(abi)
    }
    assert {(EPERM, False)} == answers


def test_a_64_bit_value_is_compared_in_both_halves() -> None:
    """An upper half counts where the kernel reads it (x86_64, x32, aarch64), and not where it cannot (x86)."""
    answers = {}
    for machine, abi, architecture, first in ABIS:
        program = compile_policy(DEFAULT_POLICY, machine)
        personality = first + numbers_of(abi)["personality"]
        answers[abi] = [
            run(program, architecture, personality, (persona, 0, 0, 0, 0, 0))[0] == ALLOW
            for persona in (0, 8, WORD, 1 << 32, 8 | 1 << 63, (1 << 64) - 1, 0x4_0000, 9)
        ]
    whole = [True, True, True, False, False, False, False, False]
    lower = [True, True, True, True, True, True, False, False]
    assert {"x86_64": whole, "x32": whole, "x86": lower, "aarch64": whole} == answers


def test_a_rule_that_cannot_hold_allows_nothing() -> None:
    """Bits outside the mask, or above the 32 of an x86 argument, are never equal, rather than forgotten."""
    policy = small_policy(allow_if=(SyscallRule("ioctl", 0, equals=3, mask=1), SyscallRule("brk", 0, equals=1 << 32)))
    assert_same(policy)
    program = compile_policy(policy, "x86_64")
    for name in ("ioctl", "brk"):
        answer, looked = run(program, X86, numbers_of("x86")[name], (0,) * 6)
        assert (answer, looked) == (EPERM, False)


def test_allowed_outright_wins() -> None:
    """A syscall that is allowed outright is, though a condition or an errno is given for it too."""
    policy = small_policy(
        allow=("ioctl",), allow_if=(SyscallRule("ioctl", 0, equals=3),), errno_of=(("ioctl", "ENOTTY"),)
    )
    answer, looked = run(compile_policy(policy, "x86_64"), X86_64, numbers_of("x86_64")["ioctl"])
    assert (answer, looked) == (ALLOW, False)


def test_an_unmet_condition_gets_the_errno_of_its_syscall() -> None:
    """``errno_of`` takes the default's place also where a condition does not hold."""
    policy = small_policy(allow_if=(SyscallRule("ioctl", 0, equals=3),), errno_of=(("ioctl", "ENOTTY"),))
    answer, looked = run(compile_policy(policy, "x86_64"), X86_64, numbers_of("x86_64")["ioctl"])
    assert (answer, looked) == (ENOTTY, True)


@pytest.mark.parametrize(
    ("changes", "machine", "sentence"),
    [
        ({"allow": ("read", "raed", "wriet")}, "x86_64", "no ABI has a syscall named raed, wriet (a test)"),
        ({"allow_if": (SyscallRule("raed", 0, 0),)}, "x86_64", "no ABI has a syscall named raed (a test)"),
        ({"errno_of": (("raed", "EPERM"),)}, "aarch64", "no ABI has a syscall named raed (a test)"),
        ({"errno_of": (("read", "EPREM"),)}, "x86_64", "no errno is named EPREM (a test)"),
        ({"default": "errorcode"}, "x86_64", "no errno is named errorcode (a test)"),
        ({"unknown": ""}, "x86_64", "no errno is named  (a test)"),
        ({"allow_if": (SyscallRule("read", 6, 0),)}, "x86_64", "read: a syscall has arguments 0 to 5, not 6 (a test)"),
        ({"allow_if": (SyscallRule("read", 0, -1),)}, "x86_64", "read: -1 is no 64-bit value without sign (a test)"),
        ({"allow_if": (SyscallRule("read", 0, 0, 1 << 64),)}, "x86_64", "18446744073709551616 is no 64-bit value"),
        ({}, "riscv64", "no seccomp filter can be made for the machine riscv64 (a test)"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes: dict[str, object], machine: str, sentence: str) -> None:
    """A wrong name, errno, argument, value or machine is a PlanError that names it and what asked for it."""
    with pytest.raises(PlanError) as caught:
        compile_policy(small_policy(**changes), machine)
    assert sentence in str(caught.value)


def test_other_machines_names_are_passed_over() -> None:
    """A policy for all machines can name what one of them does not have."""
    policy = small_policy(allow=("socketcall", "read"))
    assert_same(policy)


def test_equal_policies_give_the_same_bytes() -> None:
    """The order in which a policy names things, and naming them twice, makes no difference."""
    turned = evolve(
        DEFAULT_POLICY, allow=(*DEFAULT_POLICY.allow[::-1], "read"), allow_if=DEFAULT_POLICY.allow_if[::-1] * 2
    )
    assert compile_policy(DEFAULT_POLICY, "x86_64") == compile_policy(turned, "x86_64")


def test_the_default_policy_is_sorted_and_each_name_counts() -> None:
    """The default policy is in order, without repetition, and without a name that no ABI has."""
    named = [*DEFAULT_POLICY.allow, "clone", "personality", "clone3"]
    assert (sorted(set(DEFAULT_POLICY.allow)), set()) == (list(DEFAULT_POLICY.allow), set(named) - every_name())


def test_the_default_filter_stays_small() -> None:
    """For three ABIs it takes fewer than 200 instructions, where an instruction a syscall would take a thousand."""
    assert len(decode(compile_policy(DEFAULT_POLICY, "x86_64"))) < 200


@pytest.mark.parametrize(
    "instructions",
    [
        [],
        [(0x20, 0, 0, 0)],
        [(0x20, 0, 0, 2), (0x06, 0, 0, 0)],
        [(0x20, 0, 0, 64), (0x06, 0, 0, 0)],
        [(0x15, 0, 1, 0), (0x06, 0, 0, 0)],
        [(0x35, 1, 0, 0), (0x06, 0, 0, 0)],
        [(0x05, 0, 0, 1), (0x06, 0, 0, 0)],
        [(0x28, 0, 0, 0), (0x06, 0, 0, 0)],
        [(0x06, 0, 0, 0)] * 4097,
    ],
)
def test_the_simulator_takes_no_broken_program(instructions: list[tuple[int, int, int, int]]) -> None:
    """No end, a load beside or beyond the data, a jump beyond the end, an unknown opcode, a word too many: refused."""
    with pytest.raises(ValueError):
        decode(b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions))
