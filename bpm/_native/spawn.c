/*
 * spawn.c - the caller's side of a spawn.
 *
 *   caller                             child (child.c)                  init (init.c)
 *     | opens the bind sources
 *     | writes the letter
 *     |------------- clone3 ------------>|
 *     | (waits: CLONE_VFORK)             | its stages
 *     |<- a failure, in shared memory ---|
 *     |                                  |------- execveat ------------->|
 *     | (goes on)                                                        | its stages
 *     |<---------------- a report on a pipe: it failed, or it runs ------|
 *     |<---------------- its pidfd: it died without an answer -----------|
 *
 * The clone lives in this file alone. Everything the child reads is laid out before it, and stays where it is until
 * the child has executed init or is gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"
#include "native.h"

#define STACK_SIZE (16 * 1024)
#define P_PIDFD_ID 3 /* since 5.4; glibc names it since 2.36 */

static int fail(struct bpm_report *report, enum bpm_stage stage, int item, long error)
{
	report->stage = (int32_t)stage;
	report->item = item;
	report->error = (int32_t)error;
	return -1;
}

static void close_trees(int32_t *trees, uint32_t count)
{
	for (uint32_t i = 0; trees && i < count; i++)
		if (trees[i] >= 0)
			(void)close(trees[i]);
	free(trees);
}

/*
 * Clones each bind source as a detached mount. Here and not in the child, because open_tree(2) clones only mounts of
 * the caller's own namespace, and the descriptors come from this one.
 */
static int open_sources(const struct bpm_request *request, int32_t *trees, struct bpm_report *report)
{
	for (uint32_t i = 0; i < request->step_count; i++)
		trees[i] = -1;
	if (request->namespaces & CLONE_NEWUSER)
		return 0; /* there the child may do it, and only it */
	for (uint32_t i = 0; i < request->step_count; i++) {
		const struct bpm_step *step = &request->steps[i];
		if (step->kind != BPM_STEP_BIND)
			continue;
		long tree = kernel(open_tree, step->source_fd, "",
				   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | (step->recursive ? AT_RECURSIVE : 0));
		if (tree < 0)
			return fail(report, BPM_STAGE_SOURCES, step->item, -tree);
		trees[i] = (int32_t)tree;
	}
	return 0;
}

/*
 * Copies what the program shall inherit. The copies' numbers were free, so none is a number that another one shall
 * have; and they last, whatever other threads close meanwhile.
 */
static int copy_passed(const struct bpm_request *request, struct bpm_passed *passed, struct bpm_report *report)
{
	for (uint32_t i = 0; i < request->pass_count; i++)
		passed[i].held = -1;
	for (uint32_t i = 0; i < request->pass_count; i++) {
		int above = i ? passed[i - 1].held : BPM_FD_INIT;
		passed[i].wanted = request->pass[i];
		passed[i].held = fcntl(request->pass[i], F_DUPFD_CLOEXEC, above + 1);
		if (passed[i].held < 0)
			return fail(report, BPM_STAGE_DESCRIPTORS, BPM_FD_INIT + 1 + (int)i, errno);
	}
	return 0;
}

static void close_passed(struct bpm_passed *passed, uint32_t count)
{
	for (uint32_t i = 0; passed && i < count; i++)
		if (passed[i].held >= 0)
			(void)close(passed[i].held);
	free(passed);
}

/* Reaps a child known to be ending. Its exit status, or minus its signal. */
static int reap(int pidfd)
{
	siginfo_t info;

	while (waitid((idtype_t)P_PIDFD_ID, (id_t)pidfd, &info, WEXITED) < 0)
		if (errno != EINTR)
			return 0;
	return info.si_code == CLD_EXITED ? info.si_status : -info.si_status;
}

/*
 * The clone itself. All signals are blocked around it: the child must not run a handler in memory that is not its
 * own, and starts with them blocked until init unblocks them for the program. By system call, since libc would leave
 * out the two it keeps for its threads.
 */
static long clone_child(struct child *child, void (*run)(void *), void *stack, int *pidfd, int32_t *tid)
{
	const struct bpm_request *request = child->request;
	struct clone_args arguments = {
		.flags = request->namespaces | CLONE_VM | CLONE_VFORK | CLONE_PIDFD | CLONE_CLEAR_SIGHAND,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.stack = (uint64_t)(uintptr_t)stack,
		.stack_size = STACK_SIZE,
	};
	kernel_sigset old;
	long pid;

	if (request->map_pipes[0] >= 0) {
		/* Whoever writes the maps needs the pid while we wait here. */
		arguments.flags |= CLONE_PARENT_SETTID;
		arguments.parent_tid = (uint64_t)(uintptr_t)tid;
	}
	if (request->cgroup_fd >= 0) {
		arguments.flags |= CLONE_INTO_CGROUP;
		arguments.cgroup = (uint64_t)request->cgroup_fd;
	}
	(void)set_signal_mask(ALL_SIGNALS, &old);
	pid = clone_onto_stack(&arguments, sizeof arguments, run, child);
	(void)set_signal_mask(old, NULL);
	return pid;
}

/*
 * Waits for init's word, or its death. Not for an end of file alone: whoever forked at the wrong moment, in another
 * thread, holds the pipe's other end too. Everything but a whole report with stage NONE means that no program runs.
 */
static int hear_init(int pipe, struct bpm_spawned *spawned, struct bpm_report *report)
{
	struct pollfd events[] = { { .fd = pipe, .events = POLLIN }, { .fd = spawned->pidfd, .events = POLLIN } };
	struct bpm_report word;
	ssize_t size;

	while (poll(events, 2, -1) < 0 && errno == EINTR)
		;
	size = read(pipe, &word, sizeof word); /* does not block: what was said before the death is there */
	if (size == sizeof word && word.stage == BPM_STAGE_NONE)
		return 0;
	spawned->status = reap(spawned->pidfd);
	if (size == sizeof word)
		return fail(report, (enum bpm_stage)word.stage, word.item, word.error);
	return fail(report, BPM_STAGE_INIT, -1, 0);
}

static int run_child(struct child *child, int report_end, struct bpm_spawned *spawned, struct bpm_report *report)
{
	long pid;
	void *stack = malloc(STACK_SIZE);

	if (!stack)
		return fail(report, BPM_STAGE_CLONE, -1, ENOMEM);
	/* The child leaves its stage here when it fails; when it becomes init, the last one stands: no failure. */
	report->error = 0;
	pid = clone_child(child, bpm_run_child, stack, &spawned->pidfd, &spawned->pid);
	free(stack);
	(void)close(child->report_pipe);
	child->report_pipe = -1;
	if (pid < 0) {
		/* A clone refused late, by a pids cgroup for one, has named a pidfd: that number is no longer ours. */
		spawned->pidfd = -1;
		return fail(report, BPM_STAGE_CLONE, -1, -pid);
	}
	spawned->pid = (int32_t)pid;
	if (report->error) {
		(void)reap(spawned->pidfd);
		return -1;
	}
	return hear_init(report_end, spawned, report);
}

/* The one descriptor that the child has sent, close-on-exec; -1 for none. */
static int receive_descriptor(int socket)
{
	char byte;
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
	};
	struct cmsghdr *header;
	int fd = -1;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT) < 0)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (header && header->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(header), sizeof fd);
	return fd;
}

static int run_template(struct child *child, int socket, struct bpm_report *report)
{
	int pidfd, fd;
	long pid;
	void *stack = malloc(STACK_SIZE);

	if (!stack)
		return fail(report, BPM_STAGE_CLONE, -1, ENOMEM);
	report->error = 0;
	pid = clone_child(child, bpm_run_template, stack, &pidfd, NULL);
	free(stack);
	if (pid < 0)
		return fail(report, BPM_STAGE_CLONE, -1, -pid);
	(void)reap(pidfd);
	(void)close(pidfd);
	if (report->error)
		return -1;
	fd = receive_descriptor(socket);
	return fd < 0 ? fail(report, BPM_STAGE_NAMESPACES, -1, EIO) : fd;
}

int bpm_make_template(const struct bpm_request *request, struct bpm_report *report)
{
	struct child child = { .request = request, .report = report, .letter = -1, .report_pipe = -1, .root = -1 };
	int32_t *trees = malloc(request->step_count * sizeof *trees + 1);
	int sockets[2], result = -1;

	child.trees = trees;
	if (!trees)
		return fail(report, BPM_STAGE_SOURCES, -1, ENOMEM);
	if (open_sources(request, trees, report) < 0)
		goto out;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
		(void)fail(report, BPM_STAGE_CLONE, -1, errno);
		goto out;
	}
	child.template_socket = sockets[1];
	result = run_template(&child, sockets[0], report);
	(void)close(sockets[0]);
	(void)close(sockets[1]);
out:
	close_trees(trees, request->step_count);
	return result;
}

int bpm_spawn(const struct bpm_request *request, struct bpm_spawned *spawned, struct bpm_report *report)
{
	struct child child = { .request = request, .report = report, .letter = -1, .report_pipe = -1, .root = -1 };
	int32_t *trees = malloc(request->step_count * sizeof *trees + 1);
	struct bpm_passed *passed = calloc(request->pass_count + 1, sizeof *passed);
	int pipe_ends[2] = { -1, -1 };
	int result = -1;

	memset(spawned, 0, sizeof *spawned);
	spawned->pidfd = -1;
	child.trees = trees;
	child.passed = passed;
	if (!trees || !passed) {
		free(trees);
		free(passed);
		return fail(report, BPM_STAGE_SOURCES, -1, ENOMEM);
	}
	/* Both, since the way out closes what both remember. */
	if ((open_sources(request, trees, report) | copy_passed(request, passed, report)) < 0)
		goto out;
	child.letter = bpm_write_letter(request, passed);
	if (child.letter < 0) {
		(void)fail(report, BPM_STAGE_CLONE, -1, -child.letter);
		goto out;
	}
	if (pipe2(pipe_ends, O_CLOEXEC | O_NONBLOCK) < 0) {
		(void)fail(report, BPM_STAGE_CLONE, -1, errno);
		goto out;
	}
	child.report_pipe = pipe_ends[1];
	result = run_child(&child, pipe_ends[0], spawned, report);
out:
	close_trees(trees, request->step_count);
	close_passed(passed, request->pass_count);
	if (child.letter >= 0)
		(void)close(child.letter);
	if (child.report_pipe >= 0)
		(void)close(child.report_pipe);
	if (pipe_ends[0] >= 0)
		(void)close(pipe_ends[0]);
	if (result < 0 && spawned->pidfd >= 0) {
		(void)close(spawned->pidfd);
		spawned->pidfd = -1;
	}
	return result;
}
