"""The compiled filter as this kernel has it: a probe puts itself under it and makes one call by an ABI's own entry."""

from __future__ import annotations

import errno
import platform
import shutil
import signal
import struct
import subprocess
from pathlib import Path

import pytest
from attrs import evolve

from bpm.plan.model import SeccompPolicy
from bpm.plan.seccomp import DEFAULT_POLICY, compile_policy
from bpm.plan.syscalls import NEWEST, every_name, numbers_of
from tests.plan.bpf_simulator import X32_BIT

# probe FILTER ENTRY NUMBER ARGUMENT: prints what the kernel left in rax. A number can be a name's, or any other.
PROBE = r"""
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static long by_syscall(long number, unsigned long argument)
{
	register long r10 __asm__("r10") = 0;
	__asm__ volatile("syscall" : "+a"(number) : "D"(argument), "S"(0L), "d"(0L), "r"(r10) : "rcx", "r11", "memory");
	return number;
}

static long by_int80(long number, unsigned long argument)
{
	__asm__ volatile("int $0x80" : "+a"(number) : "b"(argument), "c"(0L), "d"(0L) : "r8", "r9", "r10", "r11", "memory");
	return (int)number;
}

int main(int argc, char **argv)
{
	static struct sock_filter code[4096];
	int file = open(argv[1], O_RDONLY);
	ssize_t size = read(file, code, sizeof(code));
	struct sock_fprog program = { size / sizeof(*code), code };
	long (*call)(long, unsigned long) = strcmp(argv[2], "int80") ? by_syscall : by_int80;
	long number = strtol(argv[3], NULL, 0), answer;
	unsigned long argument = strtoul(argv[4], NULL, 0);
	pid_t self = getpid();

	if (argc != 5 || file < 0 || size <= 0)
		return 2;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		return 3;
	answer = call(number, argument);
	if (getpid() == self && getppid() != self)
		printf("%ld\n", answer);
	return 0;
}
"""

# (ABI, its entry, what its numbers are counted from)
ENTRIES = {"x86_64": ("syscall", 0), "x32": ("syscall", X32_BIT), "x86": ("int80", 0)}

# Errnos that the kernel gives for nothing of its own, so that it is the filter that answers.
DEFAULT, UNKNOWN, CLONE3 = -errno.EL2HLT, -errno.EL3HLT, -errno.EL3RST
MARKED = evolve(DEFAULT_POLICY, default="EL2HLT", unknown="EL3HLT", errno_of=(("clone3", "EL3RST"),))

CLONE_NEWUSER = 0x1000_0000
WORD = 0xFFFF_FFFF

# BPF_RET|K, SECCOMP_RET_ALLOW
ALLOW_ALL = struct.pack("=HBBI", 6, 0, 0, 0x7FFF_0000)

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the probe has the entries of x86_64; other machines' filters are simulated"
)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The probe, compiled."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    program = tmp_path_factory.mktemp("probe") / "probe"
    subprocess.run([compiler, "-O1", "-Wall", "-o", program, "-x", "c", "-"], input=PROBE, text=True, check=True)
    return program


@pytest.fixture(scope="module")
def abis(probe: Path) -> list[str]:
    """The ABIs that this kernel has: x86 needs CONFIG_IA32_EMULATION."""
    with_getpid = put_under(probe, ALLOW_ALL, "int80", numbers_of("x86")["getpid"], 0)
    # User Mode Linux takes the number for one of x86_64, where it is writev's; others send SIGSEGV.
    has_x86 = with_getpid.returncode == 0 and int(with_getpid.stdout) > 0
    return [abi for abi in ENTRIES if abi != "x86" or has_x86]


@pytest.fixture
def abi(request: pytest.FixtureRequest, abis: list[str]) -> str:
    """One ABI of those that the test is tried with."""
    if request.param not in abis:
        pytest.skip("this kernel has no system calls for 32-bit programs")
    return str(request.param)


def call(probe: Path, policy: SeccompPolicy, abi: str, number: int, argument: int = 0) -> int:
    """What the kernel answers to one call under the policy."""
    entry, first = ENTRIES[abi]
    finished = put_under(probe, compile_policy(policy, "x86_64"), entry, first + number, argument)
    assert finished.returncode == 0, finished
    return int(finished.stdout)


def put_under(probe: Path, program: bytes, entry: str, number: int, argument: int) -> subprocess.CompletedProcess[str]:
    file = probe.with_name("filter")
    file.write_bytes(program)
    command = [str(probe), str(file), entry, str(number), str(argument)]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def reaches_the_kernel(answer: int) -> bool:
    """Whether it was not the filter that answered: an x32 call gets that far also where the kernel has no x32."""
    return answer not in (DEFAULT, UNKNOWN, CLONE3)


@pytest.mark.parametrize("abi", ENTRIES, indirect=True)
@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("unshare", CLONE_NEWUSER),
        ("clone", CLONE_NEWUSER | signal.SIGCHLD),
        ("clone", CLONE_NEWUSER | signal.SIGCHLD | 1 << 63),
        ("personality", 0x4_0000),
        ("mount", 0),
        ("ptrace", 0),
        ("bpf", 0),
        ("keyctl", 0),
        ("setns", 0),
        ("io_uring_setup", 0),
    ],
)
def test_what_the_policy_denies_is_denied(probe: Path, abi: str, name: str, argument: int) -> None:
    """No entry of the kernel makes a user namespace or reaches out: the filter answers instead."""
    assert call(probe, MARKED, abi, numbers_of(abi)[name], argument) == DEFAULT


@pytest.mark.parametrize("abi", ENTRIES, indirect=True)
@pytest.mark.parametrize(
    ("name", "argument"),
    [("getppid", 0), ("clone", signal.SIGCHLD), ("personality", 0), ("personality", 8), ("personality", WORD)],
)
def test_what_the_policy_allows_reaches_the_kernel(probe: Path, abi: str, name: str, argument: int) -> None:
    """An allowed call is the kernel's to answer, and it does."""
    answer = call(probe, MARKED, abi, numbers_of(abi)[name], argument)
    assert reaches_the_kernel(answer)
    assert answer >= 0 or (abi == "x32" and answer == -errno.ENOSYS)


@pytest.mark.parametrize("abi", ENTRIES, indirect=True)
def test_clone3_and_what_is_newer_are_answered_as_missing(probe: Path, abi: str) -> None:
    """clone3 gets the errno of its own, a syscall above the table the one for the unknown."""
    assert call(probe, MARKED, abi, numbers_of(abi)["clone3"]) == CLONE3
    assert [call(probe, MARKED, abi, number) for number in (NEWEST + 1, 470, 5000)] == [UNKNOWN] * 3


def test_a_negative_number_is_denied(probe: Path, abis: list[str]) -> None:
    """The number -1, which no table has, gets the default by either entry."""
    either = [abi for abi in abis if abi != "x32"]
    assert [call(probe, MARKED, abi, -1) for abi in either] == [DEFAULT] * len(either)


@pytest.mark.parametrize(("upper", "lower"), [(1 << 32, 0), (1 << 63, 8), (WORD << 32, WORD)])
def test_the_upper_half_counts_where_it_is_the_kernels(probe: Path, abis: list[str], upper: int, lower: int) -> None:
    """A 64-bit call that differs above bit 31 is denied, but int 0x80 does not hand that half on."""
    answers = {abi: call(probe, MARKED, abi, numbers_of(abi)["personality"], upper | lower) for abi in abis}
    assert answers == {abi: 0 if abi == "x86" else DEFAULT for abi in abis}


def test_the_default_policy_says_eperm_and_enosys(probe: Path) -> None:
    """The default policy as it is: EPERM for what is denied, ENOSYS for clone3 and what is newer."""
    numbers = numbers_of("x86_64")
    asked = [(numbers["unshare"], CLONE_NEWUSER), (numbers["mount"], 0), (numbers["clone3"], 0), (NEWEST + 1, 0)]
    answers = [call(probe, DEFAULT_POLICY, "x86_64", number, argument) for number, argument in asked]
    assert answers == [-errno.EPERM, -errno.EPERM, -errno.ENOSYS, -errno.ENOSYS]


def test_another_machines_filter_kills(probe: Path) -> None:
    """A process under the filter of another architecture is killed by SIGSYS at its first call."""
    finished = put_under(probe, compile_policy(DEFAULT_POLICY, "aarch64"), "syscall", 0, 0)
    assert finished.returncode == -signal.SIGSYS


def test_the_kernel_takes_the_largest_tree(probe: Path, abis: list[str]) -> None:
    """A policy in which nothing merges, with jumps of more than 255, is attached and answers."""
    words = sorted(word for word in dir(errno) if word.startswith("E"))
    spared = {"getpid", "getppid", "write", "exit_group", *(name for name in DEFAULT_POLICY.allow if "stat" in name)}
    policy = evolve(
        DEFAULT_POLICY,
        allow=tuple(sorted(spared)),
        allow_if=(),
        errno_of=tuple((name, words[place % len(words)]) for place, name in enumerate(sorted(every_name() - spared))),
    )
    expected = dict(policy.errno_of)
    for abi in abis:
        for name in ("clone", "mount", "set_mempolicy_home_node"):
            assert -getattr(errno, expected[name]) == call(probe, policy, abi, numbers_of(abi)[name])
