"""From a policy by name to the BPF program that holds a process to it.

The program asks first which calling convention was used (the audit architecture), then looks the number up by
binary search: the allowed numbers, merged into intervals, make of the 32-bit numbers a line of stretches with one
verdict each, but for a few single numbers, which are compared at its end. x32 calls come as x86_64 with bit 30 of the
number set, so they are a part of that line.

What a call gets:

* a number that the ABI's table has: what the policy says of its name;
* a number inside the table that is no syscall, or a negative one: the policy's default;
* a number above the table: the policy's ``unknown``, so that with ENOSYS a libc newer than the table falls back to
  what it did before that syscall existed;
* another architecture than those of the machine, such as 32-bit ARM on aarch64: the process is killed. Its numbers
  mean other things, so no answer would be the right one, and a program refused every call could not even leave.

Arguments are compared as the 64 bits that the kernel will read. x86_64, x32 and aarch64 syscalls are handed whole
registers, so both halves count: 0xFFFF_FFFF is not -1, which has the upper bits set. x86 syscalls are handed the
lower half, zero extended, whatever a 64-bit program left above it before its ``int 0x80``; so the upper half
is taken to be zero and not looked at.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from functools import lru_cache
from itertools import groupby

from bpm.errors import PlanError
from bpm.plan.bpf import IF_AT_LEAST, IF_EQUAL, LONGEST, Program
from bpm.plan.model import SeccompPolicy, SyscallRule
from bpm.plan.reasons import SECCOMP

# Upstream's list but for ``recv`` and ``send``, which no ABI here has.
_ALLOWED = """
_llseek _newselect accept accept4 access alarm arch_prctl bind brk capget capset chdir chmod chown chown32 chroot
clock_getres clock_gettime clock_nanosleep close connect copy_file_range creat dup dup2 dup3 epoll_create
epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_wait epoll_wait_old eventfd eventfd2 execve execveat exit
exit_group faccessat fadvise64 fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchown fchown32 fchownat
fcntl fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs
fstatfs64 fsync ftruncate ftruncate64 futex futimesat get_robust_list get_thread_area getcpu getcwd getdents
getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid
getpgrp getpid getppid getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid
getsockname getsockopt gettid gettimeofday getuid getuid32 getxattr inotify_add_watch inotify_init inotify_init1
inotify_rm_watch io_cancel io_destroy io_getevents io_setup io_submit ioctl ioprio_get ioprio_set ipc kill lchown
lchown32 lgetxattr link linkat listen listxattr llistxattr lremovexattr lseek lsetxattr lstat lstat64 madvise
memfd_create mincore mkdir mkdirat mknod mknodat mlock mlock2 mlockall mmap mmap2 modify_ldt mprotect mq_getsetattr
mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink mremap msgctl msgget msgrcv msgsnd msync munlock munlockall
munmap nanosleep newfstatat open openat openat2 pause pipe pipe2 poll ppoll prctl pread64 preadv preadv2 prlimit64
pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg remap_file_pages
removexattr rename renameat renameat2 restart_syscall rmdir rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo
rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile
sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid setfsgid32 setfsuid
setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid setregid32 setresgid
setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setsockopt setuid setuid32 setxattr shmat
shmctl shmdt shmget shutdown sigaltstack signalfd signalfd4 sigreturn socket socketcall socketpair splice stat stat64
statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs sysinfo syslog tee tgkill time timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill
truncate truncate64 ugetrlimit umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid waitpid
write writev
"""

# CLONE_NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET and NEWNS, from linux/sched.h.
_NEW_NAMESPACES = 0x7E02_0000

# PER_LINUX, PER_LINUX32, and the value that changes nothing and asks, from linux/personality.h and personality(2).
_PERSONALITIES = (0x0, 0x8, 0xFFFF_FFFF)

DEFAULT_POLICY = SeccompPolicy(
    name="default",
    default="EPERM",
    allow=tuple(_ALLOWED.split()),
    allow_if=(
        SyscallRule("clone", argument=0, mask=_NEW_NAMESPACES, equals=0),
        *(SyscallRule("personality", argument=0, equals=persona) for persona in _PERSONALITIES),
    ),
    # Its flags are in memory, where no filter can read them; without it libc uses clone.
    errno_of=(("clone3", "ENOSYS"),),
    unknown="ENOSYS",
    because=SECCOMP,
)
"""What a process that is not privileged may do."""


# An ABI: the name of its table, where it begins among the numbers, the bits of an argument that its syscalls see.
_Abi = tuple[str, int, int]
_X86_64: _Abi = ("x86_64", 0, 0xFFFF_FFFF_FFFF_FFFF)
_X32: _Abi = ("x32", 0x4000_0000, 0xFFFF_FFFF_FFFF_FFFF)  # __X32_SYSCALL_BIT, from asm/unistd.h
_X86: _Abi = ("x86", 0, 0xFFFF_FFFF)
_AARCH64: _Abi = ("aarch64", 0, 0xFFFF_FFFF_FFFF_FFFF)

# By uname(2)'s machine: AUDIT_ARCH_X86_64, AUDIT_ARCH_I386 and AUDIT_ARCH_AARCH64, from linux/audit.h.
_MACHINES: dict[str, dict[int, tuple[_Abi, ...]]] = {
    "x86_64": {0xC000_003E: (_X86_64, _X32), 0x4000_0003: (_X86,)},
    "aarch64": {0xC000_00B7: (_AARCH64,)},
}

_FIRST_NEGATIVE = 0x8000_0000  # a number is an int in struct seccomp_data

# From linux/seccomp.h; the kernel takes 0 to 4095 for an errno.
_KILL_PROCESS = 0x8000_0000
_ALLOW = 0x7FFF_0000
_ACTIONS = {"LOG": 0x7FFC_0000, "KILL": _KILL_PROCESS}
_ERRNO = 0x0005_0000

# Where struct seccomp_data has the number, the architecture and the first argument; the machines are little-endian.
_NUMBER = 0
_ARCHITECTURE = 4
_ARGUMENTS = 16
_WORD = 0xFFFF_FFFF

# (offset of a word, its bits to look at, what they must be), and when a syscall is allowed: all tests of any line.
_Test = tuple[int, int, int]
_Condition = tuple[tuple[_Test, ...], ...]
_ALWAYS: _Condition = ((),)
_NEVER: _Condition = ()

# A condition, and the SECCOMP_RET values that a call gets when it holds and otherwise.
_Verdict = tuple[_Condition, int, int]

# Numbers with one verdict: the first, it, and the few among them that have another.
_Stretch = tuple[int, _Verdict, tuple[tuple[int, _Verdict], ...]]
_OTHERS = 4


@lru_cache(maxsize=32)
def compile_policy(policy: SeccompPolicy, machine: str) -> bytes:
    """The policy as an array of struct sock_filter, ready for seccomp(2). Same policy, same bytes.

    Names that only other machines' ABIs have are passed over.

    Args:
        policy: What is allowed. A call both allowed and in ``errno_of`` is allowed.
        machine: As uname(2) has it: ``x86_64`` or ``aarch64``.

    Raises:
        PlanError: No ABI has a syscall of that name, no errno is called that, a rule looks at an argument or
            for a value that cannot be, the machine is another, or the program is longer than the kernel takes.
    """
    if machine not in _MACHINES:
        raise PlanError(policy.because, f"no seccomp filter can be made for the machine {machine}")
    _check_names(policy)
    for rule in (*policy.allow_if, *policy.deny_if):
        _check_rule(policy, rule)
    program = Program()
    start = program.answer(_KILL_PROCESS)
    for architecture, abis in reversed(_MACHINES[machine].items()):
        look_up = program.load(_NUMBER, _search(program, _fold(_draw_line(policy, abis))))
        start = program.branch(IF_EQUAL, architecture, look_up, start)
    program.load(_ARCHITECTURE, start)
    if len(program) > LONGEST:
        raise PlanError(policy.because, f"the seccomp policy takes {len(program)} instructions, more than {LONGEST}")
    return program.encode()


def names_left(policy: SeccompPolicy) -> tuple[str, ...]:
    """Every syscall of our tables that the policy says nothing of, so that it gets the default's answer; sorted."""
    from bpm.plan.syscalls import every_name

    rules = (*policy.allow_if, *policy.deny_if)
    said = {*policy.allow, *(rule.name for rule in rules), *(name for name, _ in policy.errno_of)}
    return tuple(sorted(every_name() - said))


def _check_names(policy: SeccompPolicy) -> None:
    from bpm.plan.syscalls import every_name

    conditions = [{rule.name for rule in rules} for rules in (policy.allow_if, policy.deny_if)]
    names = {*policy.allow, *conditions[0], *conditions[1], *(name for name, _ in policy.errno_of)}
    unknown = names - every_name()
    if unknown:
        raise PlanError(policy.because, f"no ABI has a syscall named {', '.join(sorted(unknown))}")
    unclear = conditions[1] & {*policy.allow, *conditions[0]}
    if unclear:
        raise PlanError(policy.because, f"both allowed and denied under a condition: {', '.join(sorted(unclear))}")


def _check_rule(policy: SeccompPolicy, rule: SyscallRule) -> None:
    if not 0 <= rule.argument <= 5:
        raise PlanError(policy.because, f"{rule.name}: a syscall has arguments 0 to 5, not {rule.argument}")
    for value in (rule.equals, rule.mask):
        if not 0 <= value < 1 << 64:
            raise PlanError(policy.because, f"{rule.name}: {value} is no 64-bit value without sign")


def _refuse(policy: SeccompPolicy, word: str) -> int:
    """The SECCOMP_RET value that answers a call with this errno, or with one of _ACTIONS."""
    if word in _ACTIONS:
        return _ACTIONS[word]
    number = getattr(errno, word, None) if word.startswith("E") else None
    if number is None:
        raise PlanError(policy.because, f"no errno is named {word}")
    return _ERRNO | int(number)


def _draw_line(policy: SeccompPolicy, abis: tuple[_Abi, ...]) -> list[tuple[int, _Verdict]]:
    """The 32-bit numbers, unsigned, as stretches: the first number of each, and the verdict from there on."""
    from bpm.plan.syscalls import NEWEST, numbers_of

    default = (_NEVER, _ALLOW, _refuse(policy, policy.default))
    unknown = (_NEVER, _ALLOW, _refuse(policy, policy.unknown))
    points = []
    for abi, first, argument_bits in abis:
        verdicts = _judge_names(policy, argument_bits)
        names = {number: name for name, number in numbers_of(abi).items()}
        end = max(names) + 1
        for number in range(end):
            nameless = default if number <= NEWEST else unknown
            verdict = verdicts.get(names[number], default) if number in names else nameless
            points.append((first + number, verdict))
        points.append((first + end, unknown))
    points.append((_FIRST_NEGATIVE, default))
    return [next(stretch) for _, stretch in groupby(points, key=lambda point: point[1])]


def _judge_names(policy: SeccompPolicy, argument_bits: int) -> dict[str, _Verdict]:
    """The verdict on every name that the policy mentions."""
    refusals = {name: _refuse(policy, word) for name, word in policy.errno_of}
    verdicts: dict[str, _Verdict] = {name: (_NEVER, _ALLOW, refusal) for name, refusal in refusals.items()}
    default = _refuse(policy, policy.default)
    for rules, allows in ((policy.allow_if, True), (policy.deny_if, False)):
        for name, its_rules in groupby(sorted(rules, key=_name_of), key=_name_of):
            condition = _condition_of(its_rules, argument_bits)
            refusal = refusals.get(name, default)
            held, otherwise = (_ALLOW, refusal) if allows else (refusal, _ALLOW)
            verdicts[name] = (condition, held, held if condition == _ALWAYS else otherwise)
    verdicts.update(dict.fromkeys(policy.allow, (_ALWAYS, _ALLOW, _ALLOW)))
    return verdicts


def _name_of(rule: SyscallRule) -> str:
    return rule.name


def _condition_of(rules: Iterable[SyscallRule], argument_bits: int) -> _Condition:
    """When any of the rules holds, in tests of 32-bit words."""
    lines = {tests for rule in rules if (tests := _tests_of(rule, argument_bits)) is not None}
    return _ALWAYS if () in lines else tuple(sorted(lines))


def _tests_of(rule: SyscallRule, argument_bits: int) -> tuple[_Test, ...] | None:
    """The tests, upper half first, that hold together exactly when the rule does; None where it never can."""
    mask = rule.mask & argument_bits
    if rule.equals & ~mask:
        return None
    lower = _ARGUMENTS + 8 * rule.argument
    halves = ((lower + 4, mask >> 32, rule.equals >> 32), (lower, mask & _WORD, rule.equals & _WORD))
    return tuple((offset, bits, value) for offset, bits, value in halves if bits)


def _fold(line: list[tuple[int, _Verdict]]) -> list[_Stretch]:
    """The line with single numbers inside a stretch kept beside it: there each takes one comparison, and else two."""
    folded: list[_Stretch] = []
    for first, verdict in line:
        if len(folded) > 1:
            (start, around, others), (number, other, others_of_it) = folded[-2:]
            if (number + 1, around) == (first, verdict) and not others_of_it and len(others) < _OTHERS:
                folded[-2:] = [(start, around, (*others, (number, other)))]
                continue
        folded.append((first, verdict, ()))
    return folded


def _search(program: Program, line: list[_Stretch]) -> int:
    """A binary search of the loaded number among the stretches."""
    if len(line) == 1:
        _, verdict, others = line[0]
        place = _answer(program, verdict)
        for number, other in reversed(others):
            place = program.branch(IF_EQUAL, number, _answer(program, other), place)
        return place
    middle = len(line) // 2
    below, from_there = _search(program, line[:middle]), _search(program, line[middle:])
    return program.branch(IF_AT_LEAST, line[middle][0], from_there, below)


def _answer(program: Program, verdict: _Verdict) -> int:
    condition, held, otherwise = verdict
    return _decide(program, condition, held, program.answer(otherwise))


def _decide(program: Program, condition: _Condition, held: int, otherwise: int) -> int:
    """Answer ``held`` where all tests of any line hold, else go to ``otherwise``. Sorted lines share their loads."""
    if () in condition:
        return program.answer(held)
    words = [(word, list(lines)) for word, lines in groupby(condition, key=lambda tests: tests[0][:2])]
    for (offset, bits), lines in reversed(words):
        place = otherwise
        for value, alike in groupby(lines, key=lambda tests: tests[0][2]):
            deeper = _decide(program, tuple(tests[1:] for tests in alike), held, otherwise)
            place = program.branch(IF_EQUAL, value, deeper, place)
        if bits != _WORD:
            place = program.keep_bits(bits, place)
        otherwise = program.load(offset, place)
    return otherwise
