/*
 * bare.c - what a spawn costs when nothing but the system calls is left of it.
 *
 *   bare INIT
 *
 * The same calls as bpm makes for one request, written out straight: steps.h is generated from that request
 * (generate.py), a line a step. INIT is bare_init.c, compiled. For each byte on stdin: one spawn, and a line with the
 * nanoseconds until the program was executed, and until it was reaped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kernel.h"

#define MNT_DETACH 2
#define MOST_TREES 64
#define KEPT 7 /* descriptors 0 to 6 */

static int sources[MOST_TREES], trees[MOST_TREES], source_count;
static int root, context, empty, init_fd, null_fd, report_pipe[2];
static volatile int broken_line;
static char stack[64 * 1024] __attribute__((aligned(16)));

#define CHECK(call) check(call, __LINE__)

INLINE long check(long result, int line)
{
	if (result < 0) {
		broken_line = line;
		for (;;)
			(void)kernel(exit_group, 127);
	}
	return result;
}

INLINE long inside(const char *path, uint64_t flags)
{
	struct open_how how = { .flags = flags | O_PATH | O_CLOEXEC,
				.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS };

	return kernel(openat2, root, path, &how, sizeof how);
}

INLINE void hang(long mount, const char *target)
{
	long info[15];
	long fd = CHECK(inside(target, 0));

	CHECK(kernel(fstatfs, fd, info));
	CHECK(kernel(move_mount, mount, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
	(void)kernel(close, mount);
	(void)kernel(close, fd);
}

INLINE long new_mount(uint64_t attributes)
{
	long mount;

	CHECK(kernel(fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	mount = CHECK(kernel(fsmount, context, FSMOUNT_CLOEXEC, attributes));
	(void)kernel(close, context);
	return mount;
}

/* The words that steps.h is written in. */
#define BELOW(parent, call) \
	do { \
		long at = CHECK(inside(parent, O_DIRECTORY)); \
		(void)(call); \
		(void)kernel(close, at); \
	} while (0)
#define SOURCE(path, all) /* read by read_sources() */
#define DIRECTORY(parent, name, mode) BELOW(parent, kernel(mkdirat, at, name, mode))
#define PLAIN_FILE(parent, name, mode) BELOW(parent, kernel(mknodat, at, name, S_IFREG | (mode), 0))
#define NODE(parent, name, mode, device) BELOW(parent, kernel(mknodat, at, name, S_IFCHR | (mode), device))
#define LINK(parent, name, target) BELOW(parent, kernel(symlinkat, target, at, name))
#define OPEN(type) context = (int)CHECK(kernel(fsopen, type, FSOPEN_CLOEXEC))
#define OPTION(name, value) CHECK(kernel(fsconfig, context, FSCONFIG_SET_STRING, name, value, 0))
#define BARE_OPTION(name) CHECK(kernel(fsconfig, context, FSCONFIG_SET_FLAG, name, NULL, 0))
#define ROOT(attributes) \
	(root = (int)new_mount(attributes), \
	 CHECK(kernel(move_mount, root, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH)))
#define HANG(target, attributes) hang(new_mount(attributes), target)
#define BIND(number, target, set, clear) \
	do { \
		struct mount_attr all = { .attr_set = set, .propagation = MS_SLAVE }; \
		struct mount_attr top = { .attr_clr = clear }; \
		if (clear) \
			CHECK(kernel(mount_setattr, trees[number], "", AT_EMPTY_PATH, &top, sizeof top)); \
		CHECK(kernel(mount_setattr, trees[number], "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof all)); \
		hang(trees[number], target); \
	} while (0)
#define CLONE(fd) \
	CHECK(kernel(open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE))
#define COVERED(path, call) \
	do { \
		struct statx info; \
		long target = inside(path, 0); \
		if (target < 0) \
			break; \
		CHECK(kernel(statx, target, "", AT_EMPTY_PATH, STATX_TYPE, &info)); \
		call; \
		(void)kernel(close, target); \
	} while (0)
#define MOVE(tree, target) \
	(CHECK(kernel(move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)))
#define MASK(path) COVERED(path, mask(target, (info.stx_mode & S_IFMT) == S_IFDIR))
#define READ_ONLY(path) COVERED(path, make_read_only(target))
#define LIMIT(resource, soft, hard) \
	do { \
		uint64_t values[2] = { soft, hard }; \
		CHECK(kernel(prlimit64, 0, resource, values, NULL)); \
	} while (0)

INLINE void mask(long target, int is_directory)
{
	struct statx info;
	long tree;

	if (is_directory && empty < 0) {
		OPEN("tmpfs");
		OPTION("source", "tmpfs");
		OPTION("mode", "0555");
		OPTION("size", "4k");
		empty = (int)new_mount(MOUNT_ATTR_RDONLY);
		MOVE(empty, target);
		return;
	}
	if (!is_directory && null_fd < 0) {
		null_fd = (int)CHECK(inside("dev/null", 0));
		CHECK(kernel(statx, null_fd, "", AT_EMPTY_PATH, STATX_TYPE, &info));
	}
	tree = CLONE(is_directory ? empty : null_fd);
	MOVE(tree, target);
	(void)kernel(close, tree);
}

INLINE void make_read_only(long target)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	long tree = CLONE(target);

	CHECK(kernel(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &read_only, sizeof read_only));
	MOVE(tree, target);
	(void)kernel(close, tree);
}

static void arrange_descriptors(int null)
{
	const int wanted[KEPT] = { null, null, null, -1, report_pipe[1], -1, init_fd };
	int moved[KEPT];

	(void)kernel(setsid);
	for (int i = 0; i < KEPT; i++)
		moved[i] = wanted[i] < 0 ? -1 : (int)CHECK(kernel(fcntl, wanted[i], F_DUPFD_CLOEXEC, KEPT));
	for (int i = 0; i < KEPT; i++)
		if (moved[i] < 0)
			(void)kernel(close, i);
		else
			CHECK(kernel(dup3, moved[i], i, i == KEPT - 1 ? O_CLOEXEC : 0));
	CHECK(kernel(close_range, KEPT, ~0U, 0));
}

static void run_child(void *argument)
{
	const char *const arguments[] = { "bare-init", NULL }, *const environment[] = { NULL };
	struct mount_attr private = { .propagation = MS_PRIVATE };
	int null = *(int *)argument;

	empty = null_fd = -1;
	CHECK(kernel(mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof private));
	(void)kernel(umask, 0);
#include "steps.h"
	(void)kernel(umask, 022);
	CHECK(kernel(fchdir, root));
	CHECK(kernel(pivot_root, ".", "."));
	CHECK(kernel(umount2, ".", MNT_DETACH));
	CHECK(kernel(chdir, "/"));
#include "covers.h"
	CHECK(kernel(fchdir, CHECK(inside(WORKDIR, O_DIRECTORY))));
	arrange_descriptors(null);
#include "limits.h"
	CHECK(kernel(execveat, KEPT - 1, "", arguments, environment, AT_EMPTY_PATH));
}

static void read_sources(void)
{
#undef SOURCE
#define SOURCE(path, all) sources[source_count++] = open(path, O_PATH | O_CLOEXEC);
#include "sources.h"
	for (int i = 0; i < source_count; i++)
		if (sources[i] < 0) {
			perror("bare: source");
			exit(1);
		}
}

static void clone_sources(void)
{
	int count = 0;
#undef SOURCE
#define SOURCE(path, all) \
	trees[count] = (int)kernel(open_tree, sources[count], "", \
				   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | ((all) ? AT_RECURSIVE : 0)); \
	count++;
#include "sources.h"
	if (count > MOST_TREES)
		abort();
}

static int load_init(const char *path)
{
	static char image[1 << 20];
	int file = open(path, O_RDONLY | O_CLOEXEC), memory = memfd_create("bare-init", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	ssize_t size = read(file, image, sizeof image);

	if (size <= 0 || write(memory, image, (size_t)size) != size || fcntl(memory, F_ADD_SEALS, 15) < 0) {
		perror("bare: init");
		exit(1);
	}
	(void)close(file);
	return memory;
}

static long long now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void spawn_once(int null)
{
	int pidfd = -1;
	char byte;
	siginfo_t info;
	kernel_sigset old;
	long long start = now(), executed;
	struct clone_args arguments = {
		.flags = NAMESPACES | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)&pidfd,
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)(uintptr_t)stack,
		.stack_size = sizeof stack,
	};

	clone_sources();
	if (pipe2(report_pipe, O_CLOEXEC) < 0)
		exit(1);
	broken_line = 0;
	(void)set_signal_mask(ALL_SIGNALS, &old);
	long pid = clone_onto_stack(&arguments, sizeof arguments, run_child, &null);
	(void)set_signal_mask(old, NULL);
	(void)close(report_pipe[1]);
	if (pid < 0 || broken_line || read(report_pipe[0], &byte, 1) != 1) {
		fprintf(stderr, "bare: clone %ld, line %d\n", pid, broken_line);
		exit(1);
	}
	for (int i = 0; i < source_count; i++)
		(void)close(trees[i]);
	(void)close(report_pipe[0]);
	executed = now();
	(void)waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
	(void)close(pidfd);
	if (info.si_code != CLD_EXITED || info.si_status) {
		fprintf(stderr, "bare: init ended with %d\n", info.si_status);
		exit(1);
	}
	printf("%lld %lld\n", executed - start, now() - start);
}

int main(int count, char **arguments)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (count != 2)
		return 2;
	init_fd = load_init(arguments[1]);
	read_sources();
	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	while (getchar() != EOF)
		spawn_once(null);
	return 0;
}
