/*
 * init.c - pid 1 of a container. A program of its own, without libc, executed from a sealed memfd.
 *
 * It starts as the caller (root, or the owner of the user namespace) in memory that holds nothing of the caller's.
 * It reads its letter, drops everything that the program shall not have, starts the program and says so on the
 * report pipe. From then on it forwards signals, reaps, and when the program has ended writes the exit record and
 * ends as the program did.
 *
 * Against the program, which runs as the same user: init is not dumpable, so it cannot be traced and its
 * descriptors not be reached; as pid 1 it cannot be killed from inside its pid namespace; and it confines itself to the
 * few calls that its loop makes: before the program's first step, where the program holds CAP_SYS_PTRACE.
 */
#include <asm/errno.h>
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/time.h>
#include <linux/wait.h>

#include "kernel.h"
#include "native.h"

#define EXITED 1 /* CLD_EXITED */
#define KILLED 2 /* CLD_KILLED */
#define DUMPED 3 /* CLD_DUMPED */
#define SIGNALS 64
#define BILLION 1000000000LL
#define CAPABILITY_WORDS 2
#define NO_CHANGE 0xffffffffU /* an id of -1 would stay root: setresuid(2) takes it for "as it is" */
#define CALLER_THREAD_ENDED 32 /* a signal that libc keeps for its threads: nobody else sends it to a process */
#define NO_PROGRAM 70 /* our exit status when there never was a program; it is seen by nobody but the caller */

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#define STACK_POINTER_TO_FIRST_ARGUMENT "mov %rsp, %rdi\n\tand $-16, %rsp\n\tcall"
#else
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#define STACK_POINTER_TO_FIRST_ARGUMENT "mov x0, sp\n\tbl"
#endif

static struct bpm_report report;

/* What is left of the letter when the program runs. */
struct life {
	int64_t started;
	int64_t deadline; /* on CLOCK_MONOTONIC, or 0 */
	int has_exit_fd;
	int follows_caller;
};

/* What init and the program's process share between clone and exec; the rest of memory too, but they keep off it. */
static struct {
	volatile int32_t may_go; /* futex: it need not wait for init to confine itself, or no longer */
	volatile int32_t thread; /* futex: cleared by the kernel when the program has its own memory, or has ended */
	char stack[16 * 1024] __attribute__((aligned(16)));
} program;

static void *at(const struct bpm_letter *letter, uint64_t offset)
{
	return (char *)letter + offset;
}

/* Offsets become pointers, in our private copy of the letter. */
static char **strings_at(const struct bpm_letter *letter, uint64_t offset)
{
	uint64_t *entries = at(letter, offset);

	for (uint64_t *entry = entries; *entry; entry++)
		*entry = (uint64_t)(uintptr_t)at(letter, *entry);
	return (char **)entries;
}

static long read_letter(struct bpm_letter **letter)
{
	uint64_t size;
	long result = kernel(pread64, BPM_FD_LETTER, &size, sizeof size, 0);

	if (result != (long)sizeof size)
		return result < 0 ? result : -EIO;
	result = kernel(mmap, NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, BPM_FD_LETTER, 0);
	if (result < 0 && result > -4096)
		return result;
	*letter = (struct bpm_letter *)result;
	return 0;
}

/*
 * Capabilities survive the change of user only because KEEPCAPS says so; effective ones do not even then. Groups go
 * first, while we still may.
 */
static long set_identity(const struct bpm_letter *letter)
{
	long error;

	report.item = 0;
	error = kernel(prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0);
	report.item = 1;
	if (error >= 0 && !(letter->flags & BPM_FLAG_KEEP_GROUPS))
		error = kernel(setgroups, letter->group_count, at(letter, letter->groups));
	if (error >= 0) {
		report.item = 2;
		error = letter->gid == NO_CHANGE ? -EINVAL : kernel(setresgid, letter->gid, letter->gid, letter->gid);
	}
	if (error >= 0) {
		report.item = 3;
		error = letter->uid == NO_CHANGE ? -EINVAL : kernel(setresuid, letter->uid, letter->uid, letter->uid);
	}
	return error;
}

static long set_capability_sets(uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[CAPABILITY_WORDS];

	for (int i = 0; i < CAPABILITY_WORDS; i++) {
		sets[i].permitted = (uint32_t)(permitted >> (32 * i));
		sets[i].effective = sets[i].permitted;
		sets[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return kernel(capset, &header, sets);
}

static uint64_t permitted_now(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[CAPABILITY_WORDS] = { { 0 } };

	(void)kernel(capget, &header, sets);
	return sets[0].permitted | ((uint64_t)sets[1].permitted << 32);
}

/*
 * The bounding set first, which takes CAP_SETPCAP, so what is permitted is made effective once more. The ambient
 * set last: it must be part of both the permitted and the inheritable one. `item` is the capability's number.
 */
static long set_capabilities(const struct bpm_letter *letter)
{
	long error = set_capability_sets(permitted_now(), 0);

	if (error < 0)
		return error;
	for (int number = 0; number < 64; number++) {
		if (letter->bounding >> number & 1)
			continue;
		report.item = number;
		error = kernel(prctl, PR_CAPBSET_DROP, number, 0, 0, 0);
		if (error == -EINVAL)
			break; /* the kernel has no more */
		if (error < 0)
			return error;
	}
	report.item = -1;
	error = set_capability_sets(letter->permitted, letter->inheritable);
	if (error >= 0)
		error = kernel(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (int number = 0; error >= 0 && number < 64; number++) {
		if (!(letter->ambient >> number & 1))
			continue;
		report.item = number;
		error = kernel(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
	}
	return error;
}

static long set_no_new_privs(const struct bpm_letter *letter)
{
	if (!(letter->flags & BPM_FLAG_NO_NEW_PRIVS))
		return 0;
	return kernel(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static const struct {
	enum bpm_stage stage;
	long (*run)(const struct bpm_letter *);
} stages[] = {
	{ BPM_STAGE_IDENTITY, set_identity },
	{ BPM_STAGE_CAPABILITIES, set_capabilities },
	{ BPM_STAGE_NO_NEW_PRIVS, set_no_new_privs },
};

static long drop_everything(const struct bpm_letter *letter)
{
	for (unsigned int i = 0; i < sizeof stages / sizeof *stages; i++) {
		report.stage = (int32_t)stages[i].stage;
		report.item = -1;
		long error = stages[i].run(letter);
		if (error < 0)
			return error;
	}
	return 0;
}

/*
 * What init is to be among processes. After the change of user, which clears the parent-death signal (prctl(2)).
 * The order to the kernel about dumps also takes ptrace and /proc/1/fd away from the program.
 */
static void settle_down(const struct bpm_letter *letter)
{
	/* Pending signals of all kinds are fetched in the loop; an ignored SIGCHLD would hide the program's end. */
	for (int number = 1; number <= SIGNALS; number++) {
		struct sigaction action = { .sa_handler = SIG_DFL };
		(void)kernel(rt_sigaction, number, &action, NULL, sizeof(kernel_sigset));
	}
	(void)set_signal_mask(ALL_SIGNALS, NULL);
	(void)kernel(prctl, PR_SET_NAME, "bpm-init", 0, 0, 0);
	(void)kernel(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (letter->flags & BPM_FLAG_SUBREAPER)
		(void)kernel(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (letter->flags & BPM_FLAG_TERMINAL)
		(void)kernel(ioctl, 0, TIOCSCTTY, 0);
	if (letter->flags & BPM_FLAG_DIE_WITH_PARENT)
		(void)kernel(prctl, PR_SET_PDEATHSIG, CALLER_THREAD_ENDED, 0, 0, 0);
}

/* The program's process, from here to its exec. */

static long load_filter(const struct bpm_letter *letter)
{
	struct sock_fprog filter = { .len = (unsigned short)letter->filter_length, .filter = at(letter, letter->filter) };

	if (!letter->filter_length)
		return 0;
	return kernel(seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

/* A file without a NUL in its first bytes: a script that does not say who runs it, rather than a foreign binary. */
static int is_text(const char *path)
{
	char bytes[128];
	long fd = kernel(openat, AT_FDCWD, path, O_CLOEXEC);
	long size = fd < 0 ? fd : kernel(read, fd, bytes, sizeof bytes);

	if (fd >= 0)
		(void)kernel(close, fd);
	for (long i = 0; i < size; i++)
		if (!bytes[i])
			return 0;
	return size >= 0;
}

/* As execvp(3): the first candidate that can be executed; scripts without #! go to /bin/sh. */
static long execute(const struct bpm_letter *letter)
{
	char **arguments = at(letter, letter->arguments);
	char **environment = at(letter, letter->environment);
	char **candidates = at(letter, letter->candidates);
	long error = -ENOENT;

	for (int i = 0; candidates[i]; i++) {
		long answer = kernel(execve, candidates[i], arguments, environment);
		if (answer == -ENOEXEC && is_text(candidates[i])) {
			arguments[0] = candidates[i];
			arguments[-1] = "/bin/sh";
			answer = kernel(execve, "/bin/sh", arguments - 1, environment);
		}
		if (answer == -ENOENT || answer == -ENOTDIR || answer == -ESTALE) {
			if (error == -ENOENT && report.item < 0)
				report.item = i;
			continue;
		}
		report.item = i;
		error = answer;
		if (answer != -EACCES)
			break;
	}
	return error;
}

/* Before the signals are unblocked: a background process that does this is sent SIGTTOU. */
static void take_foreground(void)
{
	int group = (int)kernel(getpid);

	(void)kernel(ioctl, 0, TIOCSPGRP, &group);
}

/* Neither the program nor what it starts shall hold what is init's. What is to be passed goes to its own number. */
static long arrange_descriptors(const struct bpm_letter *letter)
{
	const struct bpm_passed *passed = at(letter, letter->passed);
	long error = kernel(close_range, BPM_FD_LETTER, BPM_FD_INIT, 0);

	if (error >= 0)
		error = kernel(close_range, BPM_FD_INIT + 1, ~0U, CLOSE_RANGE_CLOEXEC);
	for (uint64_t i = 0; error >= 0 && i < letter->passed_count; i++) {
		report.item = BPM_FD_INIT + 1 + (int32_t)i;
		error = kernel(dup3, passed[i].held, passed[i].wanted, 0);
	}
	return error;
}

static void run_program(void *argument)
{
	const struct bpm_letter *letter = argument;
	long error;

	while (!program.may_go)
		(void)kernel(futex, &program.may_go, FUTEX_WAIT, 0, NULL, NULL, 0);
	(void)kernel(setpgid, 0, 0);
	if (letter->flags & BPM_FLAG_TERMINAL)
		take_foreground();
	(void)set_signal_mask(0, NULL);
	report.stage = BPM_STAGE_DESCRIPTORS;
	report.item = -1;
	error = arrange_descriptors(letter);
	if (error >= 0) {
		report.stage = BPM_STAGE_SECCOMP;
		report.item = -1;
		error = load_filter(letter);
	}
	if (error >= 0) {
		report.stage = BPM_STAGE_PROGRAM;
		error = execute(letter);
	}
	report.error = (int32_t)-error;
	for (;;)
		(void)kernel(exit_group, NO_PROGRAM);
}

/* init itself again. */

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* What the rest of init's life takes, and no more. */
static const struct sock_filter own_calls[] = {
	LOAD(arch),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	LOAD(nr),
	ALLOW(rt_sigtimedwait),
	ALLOW(wait4),
	ALLOW(kill),
	ALLOW(exit_group),
	ALLOW(write),
	ALLOW(pread64),
	ALLOW(clock_gettime),
	ALLOW(futex),
	ALLOW(close_range),
	ALLOW(munmap),
	ALLOW(chdir),
	ALLOW(fcntl),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

/* The program's process exists by now and keeps what it was born with, so no_new_privs here is init's alone. */
static long confine_self(void)
{
	struct sock_fprog filter = {
		.len = sizeof own_calls / sizeof *own_calls,
		.filter = (struct sock_filter *)own_calls,
	};
	long error = kernel(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

	return error < 0 ? error : kernel(seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

/* Until it has memory of its own, or has ended: the kernel then clears and wakes `thread` (CLONE_CHILD_CLEARTID). */
static void let_program_execute(void)
{
	int32_t thread;

	if (!program.may_go) {
		program.may_go = 1;
		(void)kernel(futex, &program.may_go, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
	while ((thread = program.thread) != 0)
		(void)kernel(futex, &program.thread, FUTEX_WAIT, thread, NULL, NULL, 0);
}

/*
 * The program's process shares our memory until it executes, so that it can say why it could not.
 *
 * Our own filter would be the program's too, so we confine ourselves after the clone. Making a filter takes as long as
 * an exec does, so that is done beside the program's first steps; but before them, if it is one that could trace us, or
 * if no filter of its own has shown that this host lets us have any.
 */
static long start_program(struct bpm_letter *letter)
{
	struct clone_args arguments = {
		.flags = CLONE_VM | CLONE_CHILD_CLEARTID,
		.child_tid = (uint64_t)(uintptr_t)&program.thread,
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)(uintptr_t)program.stack,
		.stack_size = sizeof program.stack,
	};
	int first = !letter->filter_length || letter->bounding >> CAP_SYS_PTRACE & 1;
	long pid, error = 0;

	strings_at(letter, letter->arguments);
	strings_at(letter, letter->environment);
	strings_at(letter, letter->candidates);
	report.stage = BPM_STAGE_PROGRAM;
	report.item = -1;
	program.thread = -1;
	program.may_go = !first;
	pid = clone_onto_stack(&arguments, sizeof arguments, run_program, letter);
	if (pid < 0)
		return pid;
	if (first)
		error = confine_self();
	if (error >= 0) {
		let_program_execute();
		if (report.error)
			return -report.error;
		if (!first)
			error = confine_self();
	}
	if (error >= 0)
		return pid;
	(void)kernel(kill, pid, SIGKILL);
	report.stage = BPM_STAGE_SECCOMP;
	report.item = -1;
	return error;
}

static int64_t clock(int number)
{
	struct __kernel_timespec time = { 0 };

	(void)kernel(clock_gettime, number, &time);
	return time.tv_sec * BILLION + time.tv_nsec;
}

static int64_t nanoseconds(const struct __kernel_old_timeval *time)
{
	return time->tv_sec * BILLION + time->tv_usec * 1000;
}

/* Reaps whatever has ended. Whether the program was among it; then its status and usage are left. */
static int reap(long pid, int *status, struct rusage *usage)
{
	int one;
	struct rusage its;
	long ended;

	while ((ended = kernel(wait4, -1, &one, WNOHANG, &its)) > 0) {
		if (ended != pid)
			continue;
		*status = one;
		*usage = its;
		return 1;
	}
	return 0;
}

static __attribute__((noreturn)) void leave(int status)
{
	for (;;)
		(void)kernel(exit_group, status);
}

/*
 * The parent-death signal comes whenever the thread that is our parent ends, and with the caller's last thread, the
 * caller; so it only says that it is time to look. A POSIX lock belongs to a process: forks do not have it, and it is
 * gone before that last signal is sent (exit_files() comes before exit_notify()).
 */
static int caller_lives(void)
{
	struct flock lock = { .l_type = F_WRLCK };

	return kernel(fcntl, BPM_FD_CALLER, F_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

static void follow_caller(long pid)
{
	if (caller_lives())
		return;
	/* In a pid namespace of our own all inside die with us; elsewhere at least the program's group does. */
	(void)kernel(kill, -pid, SIGKILL);
	(void)kernel(kill, pid, SIGKILL);
	leave(NO_PROGRAM);
}

/* Waits for a signal, until `deadline` if there is one: its number, or minus the errno, -EAGAIN when time is up. */
static long next_signal(int64_t deadline)
{
	const kernel_sigset all = ALL_SIGNALS;
	int64_t left = deadline ? deadline - clock(CLOCK_MONOTONIC) : 0;
	struct __kernel_timespec time = { .tv_sec = left / BILLION, .tv_nsec = left % BILLION };

	if (deadline && left <= 0)
		return -EAGAIN;
	return kernel(rt_sigtimedwait, &all, NULL, deadline ? &time : NULL, sizeof all);
}

/* Until the program has ended; whether its time was up. */
static int forward_and_reap(long pid, const struct life *life, int *status, struct rusage *usage)
{
	int64_t deadline = life->deadline;
	int timed_out = 0;

	for (;;) {
		long number = next_signal(deadline);
		if (number == SIGCHLD) {
			if (reap(pid, status, usage))
				return timed_out;
		} else if (number == -EAGAIN && deadline) {
			deadline = 0;
			timed_out = 1;
			(void)kernel(kill, pid, SIGKILL);
		} else if (number == CALLER_THREAD_ENDED && life->follows_caller) {
			follow_caller(pid);
		} else if (number > 0) {
			(void)kernel(kill, pid, number);
		}
	}
}

static __attribute__((noreturn)) void outlive_program(long pid, const struct life *life)
{
	struct rusage usage;
	int status;
	int timed_out = forward_and_reap(pid, life, &status, &usage);

	int signal = status & 0x7f;
	struct bpm_exit exit = {
		.magic = { 'b', 'p', 'm', 'e', 'x', 'i', 't', '1' },
		.code = !signal ? EXITED : status & 0x80 ? DUMPED : KILLED,
		.status = signal ? signal : status >> 8 & 0xff,
		.started = life->started,
		.ended = clock(CLOCK_REALTIME),
		.user = nanoseconds(&usage.ru_utime),
		.system = nanoseconds(&usage.ru_stime),
		.max_rss = usage.ru_maxrss * 1024,
		.timed_out = timed_out,
	};
	if (life->has_exit_fd) {
		/* While the cgroup is still there: one that systemd made goes with its last process, which is us. */
		for (int i = 0; i < BPM_COUNTERS; i++)
			(void)kernel(pread64, BPM_FD_COUNTERS + i, exit.counters[i], BPM_COUNTER_SIZE, 0);
		(void)kernel(write, BPM_FD_EXIT, &exit, sizeof exit);
	}
	leave(signal ? 128 + signal : exit.status);
}

/*
 * Our copies of the program's descriptors go, so that a pipe of which the program closes its end is closed. The
 * caller, if it is gone, no longer reads: then the program it wanted to die with it must not live on.
 */
static void say_it_runs(struct bpm_letter *letter)
{
	static const struct bpm_report runs = { .stage = BPM_STAGE_NONE, .item = -1 };
	const struct bpm_passed *passed = at(letter, letter->passed);
	long said = kernel(write, BPM_FD_REPORT, &runs, sizeof runs);

	if (said < 0 && letter->flags & BPM_FLAG_DIE_WITH_PARENT)
		leave(NO_PROGRAM);
	(void)kernel(close_range, 0, BPM_FD_REPORT, 0);
	for (uint64_t i = 0; i < letter->passed_count; i++)
		(void)kernel(close_range, passed[i].held, passed[i].held, 0);
	(void)kernel(chdir, "/");
	(void)kernel(munmap, letter, letter->size);
}

__attribute__((noreturn, used)) void bpm_init_main(void)
{
	struct bpm_letter *letter;
	long pid;

	report.stage = BPM_STAGE_INIT;
	report.item = -1;
	pid = read_letter(&letter);
	if (pid >= 0)
		pid = drop_everything(letter);
	if (pid >= 0) {
		settle_down(letter);
		pid = start_program(letter);
	}
	if (pid < 0) {
		report.error = (int32_t)-pid;
		(void)kernel(write, BPM_FD_REPORT, &report, sizeof report);
		leave(NO_PROGRAM);
	}
	struct life life = {
		.started = clock(CLOCK_REALTIME),
		.deadline = letter->wall_time ? clock(CLOCK_MONOTONIC) + letter->wall_time : 0,
		.has_exit_fd = (int)letter->has_exit_fd,
		.follows_caller = letter->flags & BPM_FLAG_DIE_WITH_PARENT,
	};
	say_it_runs(letter);
	outlive_program(pid, &life);
}

__asm__(".globl _start\n_start:\n\t" STACK_POINTER_TO_FIRST_ARGUMENT " bpm_init_main\n");

/* The compiler may call these for copies and zeroes, with or without a libc. */
void *memset(void *to, int value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = (char)value;
	return to;
}

void *memcpy(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = ((const char *)from)[i];
	return to;
}
