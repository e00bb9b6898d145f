"""The compiled filter against the one that libseccomp makes of the same policy, both run in the simulator."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from functools import lru_cache

import pytest
from attrs import evolve, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

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
    KILL_PROCESS,
    NEGATIVE,
    WORD,
    X86,
    X86_64,
    arguments_around,
    run,
)

# libseccomp counts x32 as an architecture of its own: x86-64's without the 64-bit flag of linux/audit.h.
X32 = 0x4000_003E
WORDS = {"x86_64": X86_64, "x32": X32, "x86": X86, "aarch64": AARCH64}

# seccomp.h: SCMP_FLTATR_ACT_BADARCH, SCMP_CMP_MASKED_EQ
BAD_ARCHITECTURE = 2
MASKED_EQUAL = 7

# On x86 libseccomp lets these in through socketcall or ipc too, by the number that those take as first argument.
# We take a policy by its word: socketcall is what it says of socketcall.
MULTIPLEXED = """
accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmsg send sendmmsg
sendmsg sendto setsockopt shutdown socket socketcall socketpair
ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop shmat shmctl shmdt shmget
"""


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp: for SCMP_CMP_MASKED_EQ the first datum is the mask."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("mask", ctypes.c_uint64),
        ("equals", ctypes.c_uint64),
    )


@lru_cache
def libseccomp() -> ctypes.CDLL:
    """The library that a Debian has for systemd's sake, its functions declared."""
    try:
        library = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    except OSError as error:
        pytest.skip(f"the oracle is not installed: {error}")
    handle = ctypes.c_void_p
    library.seccomp_init.restype = handle
    library.seccomp_init.argtypes = (ctypes.c_uint32,)
    library.seccomp_release.argtypes = (handle,)
    library.seccomp_arch_native.restype = ctypes.c_uint32
    library.seccomp_arch_add.argtypes = (handle, ctypes.c_uint32)
    library.seccomp_arch_remove.argtypes = (handle, ctypes.c_uint32)
    library.seccomp_attr_set.argtypes = (handle, ctypes.c_int, ctypes.c_uint32)
    library.seccomp_rule_add_array.argtypes = (
        handle,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(Comparison),
    )
    library.seccomp_export_bpf.argtypes = (handle, ctypes.c_int)
    library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
    library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    return library


def must(result: int) -> None:
    """Raise what libseccomp answered, a negative errno."""
    if result < 0:
        raise OSError(-result, os.strerror(-result))


@lru_cache(maxsize=8)
def oracle(policy: SeccompPolicy, machine: str) -> bytes:
    """The same policy as libseccomp compiles it."""
    library = libseccomp()
    context = library.seccomp_init(ERRNO | getattr(errno, policy.default))
    try:
        architectures = {WORDS[abi] for of, abi, _, _ in ABIS if of == machine}
        native = library.seccomp_arch_native()
        for architecture in architectures - {native}:
            must(library.seccomp_arch_add(context, architecture))
        if native not in architectures:
            must(library.seccomp_arch_remove(context, native))
        must(library.seccomp_attr_set(context, BAD_ARCHITECTURE, KILL_PROCESS))
        for name in policy.allow:
            add_rule(context, ALLOW, name)
        for name, word in policy.errno_of:
            add_rule(context, ERRNO | getattr(errno, word), name)
        for rule in policy.allow_if:
            add_rule(context, ALLOW, rule.name, Comparison(rule.argument, MASKED_EQUAL, rule.mask, rule.equals))
        file = os.memfd_create("filter")
        try:
            must(library.seccomp_export_bpf(context, file))
            return os.pread(file, os.fstat(file).st_size, 0)
        finally:
            os.close(file)
    finally:
        library.seccomp_release(context)


def add_rule(context: int, action: int, name: str, *comparisons: Comparison) -> None:
    library = libseccomp()
    number = library.seccomp_syscall_resolve_name(name.encode())
    array = (Comparison * len(comparisons))(*comparisons)
    must(library.seccomp_rule_add_array(context, action, number, len(comparisons), array))


@frozen
class Call:
    """One call, and what the table says of its number."""

    abi: str
    number: int
    name: str | None
    arguments: tuple[int, ...]


@frozen
class Difference:
    """Where our answer is another on purpose, and which one it is."""

    reason: str
    concerns: Callable[[SeccompPolicy, Call], bool]
    ours: Callable[[SeccompPolicy, Call], int]


def answer_as_x86_64(policy: SeccompPolicy, call: Call) -> int:
    """What the same call gets as a plain 64-bit one, of which both make the same."""
    number = numbers_of("x86_64")[call.name or ""]
    ours = run(compile_policy(policy, "x86_64"), X86_64, number, call.arguments)[0]
    theirs = run(oracle(policy, "x86_64"), X86_64, number, call.arguments)[0]
    assert ours == theirs
    return ours


def answer_without_wide_rules(policy: SeccompPolicy, call: Call) -> int:
    """What the same call gets where no rule asks for a bit above the 32 of an x86 argument."""
    narrow = evolve(policy, allow_if=tuple(rule for rule in policy.allow_if if rule.equals <= WORD))
    return run(compile_policy(narrow, "x86_64"), X86, call.number, call.arguments)[0]


NEWER = Difference(
    "a syscall newer than the table gets `unknown`, so that libc falls back; libseccomp gives it the default",
    lambda policy, call: call.name is None and call.number > NEWEST,
    lambda policy, call: ERRNO | getattr(errno, policy.unknown),
)
X32_HALVES = Difference(
    "an x32 syscall is handed the whole register, so both halves are compared; libseccomp forgets the upper one",
    lambda policy, call: call.abi == "x32" and any(r.name == call.name and r.mask > WORD for r in policy.allow_if),
    answer_as_x86_64,
)
X86_HALVES = Difference(
    "an x86 argument never has bits above the lower 32, so a rule that asks for one never holds; libseccomp forgets it",
    lambda policy, call: call.abi == "x86" and any(r.name == call.name and r.equals > WORD for r in policy.allow_if),
    answer_without_wide_rules,
)
DIFFERENCES = (NEWER, X32_HALVES, X86_HALVES)


def compare(policy: SeccompPolicy) -> set[str]:
    """Both answer alike to every number of every ABI, or differ as the table says; the reasons that were met."""
    met = set()
    for machine, abi, architecture, first in ABIS:
        ours, theirs = compile_policy(policy, machine), oracle(policy, machine)
        names = {number: name for name, number in numbers_of(abi).items()}
        for number in (*range(700), *FAR, *(number - first for number in NEGATIVE)):
            for arguments in arguments_around(policy, names.get(number)):
                call = Call(abi, number, names.get(number), arguments)
                answer, looked = run(ours, architecture, first + number, arguments)
                expected, they_looked = run(theirs, architecture, first + number, arguments)
                if answer != expected:
                    difference = next((row for row in DIFFERENCES if row.concerns(policy, call)), None)
                    assert difference is not None, (call, f"{expected:#x}", f"{answer:#x}")
                    assert difference.ours(policy, call) == answer, (call, difference.reason)
                    met.add(difference.reason)
                if not looked and not they_looked:
                    break
    return met


def test_the_default_filter_answers_as_libseccomps() -> None:
    """For every number of every ABI and arguments around every bound the two agree, but where the table says not."""
    assert {NEWER.reason, X32_HALVES.reason} == compare(DEFAULT_POLICY)


def test_every_row_of_the_table_is_needed() -> None:
    """A rule on an upper half brings out all the differences there are."""
    policy = evolve(DEFAULT_POLICY, allow_if=(SyscallRule("personality", argument=0, equals=8 << 32),))
    assert {difference.reason for difference in DIFFERENCES} == compare(policy)


halves = st.sampled_from([0, 1, 2, WORD])
values = st.builds(lambda upper, lower: upper << 32 | lower, halves, halves) | st.integers(0, (1 << 64) - 1)
common = st.sampled_from(sorted((numbers_of("x86_64").keys() & numbers_of("x32").keys()) - set(MULTIPLEXED.split())))
names = st.sampled_from(sorted(every_name() - set(MULTIPLEXED.split())))


@st.composite
def policies(draw: st.DrawFn) -> SeccompPolicy:
    """Policies that both understand alike: a name is in one list, and no rule asks for a bit outside its mask."""
    allow = draw(st.lists(names, min_size=20, max_size=100, unique=True))
    conditional = draw(st.lists(common, max_size=3, unique=True))
    refused = draw(st.lists(names, max_size=3, unique=True))
    rules = []
    for name in conditional:
        argument, mask = draw(st.integers(0, 5)), draw(values)
        for equals in draw(st.lists(values, min_size=1, max_size=3)):
            rules.append(SyscallRule(name, argument, equals & mask, mask))
    return evolve(
        DEFAULT_POLICY,
        allow=tuple(sorted(set(allow) - set(conditional) - set(refused))),
        allow_if=tuple(dict.fromkeys(rules)),
        errno_of=tuple((name, "EACCES") for name in refused if name not in conditional),
    )


@settings(max_examples=60, deadline=None)
@given(policies())
def test_any_filter_answers_as_libseccomps(policy: SeccompPolicy) -> None:
    """The same holds for other policies."""
    compare(policy)


@pytest.mark.parametrize(("machine", "strange"), [("x86_64", AARCH64), ("x86_64", ARM), ("aarch64", ARM)])
def test_both_kill_a_strange_architecture(machine: str, strange: int) -> None:
    """Told to kill what comes by another architecture, libseccomp's filter does as ours always does."""
    for program in (compile_policy(DEFAULT_POLICY, machine), oracle(DEFAULT_POLICY, machine)):
        assert {KILL_PROCESS} == {run(program, strange, number)[0] for number in range(500)}


@pytest.mark.parametrize(("abi", "first"), [(abi, first) for _, abi, _, first in ABIS])
def test_libseccomp_knows_the_same_numbers(abi: str, first: int) -> None:
    """Every number of our tables is libseccomp's number for that name."""
    resolve = libseccomp().seccomp_syscall_resolve_name_arch
    ours = {name: number for name, number in numbers_of(abi).items() if abi != "x86" or name not in MULTIPLEXED.split()}
    theirs = {name: resolve(WORDS[abi], name.encode()) - first for name in ours}
    assert ours == theirs
