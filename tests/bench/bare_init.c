/*
 * bare_init.c - the same for pid 1: drops identity, starts the program, says so, waits, ends.
 *
 * All it needs to know is compiled in: identity.h, generated from the request. Freestanding, like init.c.
 */
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include <asm/signal.h>

#include "kernel.h"

#define REPORT 4

#include "identity.h"

static volatile int thread_is_there;
static char stack[16 * 1024] __attribute__((aligned(16)));

static void quit(int status)
{
	for (;;)
		(void)kernel(exit_group, status);
}

static void check(long result)
{
	if (result < 0)
		quit(99);
}

static void run_program(void *argument)
{
	(void)argument;
	(void)kernel(setpgid, 0, 0);
	(void)set_signal_mask(0, NULL);
#ifdef FILTER
	static const struct sock_filter filter[] = { FILTER };
	struct sock_fprog program = { .len = sizeof filter / sizeof *filter, .filter = (struct sock_filter *)filter };

	check(kernel(seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
#endif
	(void)kernel(execve, candidate, program_arguments, program_environment);
	quit(98);
}

static void drop_everything(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { { 0 } };

	check(kernel(setgroups, 0, NULL));
	check(kernel(setresgid, GID, GID, GID));
	for (int number = 0; kernel(prctl, PR_CAPBSET_READ, number, 0, 0, 0) >= 0; number++)
		check(kernel(prctl, PR_CAPBSET_DROP, number, 0, 0, 0));
	check(kernel(setresuid, UID, UID, UID));
	check(kernel(capset, &header, none));
	check(kernel(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	(void)set_signal_mask(ALL_SIGNALS, NULL);
	check(kernel(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
}

__attribute__((noreturn, used)) void bare_main(void)
{
	struct clone_args arguments = {
		.flags = CLONE_VM | CLONE_CHILD_CLEARTID,
		.child_tid = (uint64_t)(uintptr_t)&thread_is_there,
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)(uintptr_t)stack,
		.stack_size = sizeof stack,
	};
	int there, status = 0;
	long pid;

	drop_everything();
	check(kernel(fcntl, REPORT, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */));
	thread_is_there = 1;
	pid = clone_onto_stack(&arguments, sizeof arguments, run_program, NULL);
	check(pid);
	while ((there = thread_is_there))
		(void)kernel(futex, &thread_is_there, FUTEX_WAIT, there, NULL, NULL, 0);
	(void)kernel(write, REPORT, "x", 1);
	(void)kernel(close_range, 0, REPORT, 0);
	(void)kernel(wait4, pid, &status, 0, NULL);
	quit(status >> 8);
	__builtin_unreachable();
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\tand $-16, %rsp\n\tcall bare_main\n");
#else
__asm__(".globl _start\n_start:\n\tbl bare_main\n");
#endif

void *memset(void *to, int value, size_t size)
{
	for (size_t i = 0; i < size; i++)
		((volatile char *)to)[i] = (char)value;
	return to;
}
