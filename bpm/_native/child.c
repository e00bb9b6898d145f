/*
 * child.c - what happens to a process between clone and the execution of init.
 *
 * It runs on a stack of its own in its caller's memory, while the thread that cloned it waits (CLONE_VM and
 * CLONE_VFORK). That makes it cheap whatever the caller's size, and sets the rules of this file and rootfs.c:
 *
 *   - only system calls, only through kernel.h: libc's state belongs to the caller's threads, who go on running;
 *   - no allocation, no formatting, no choice: whatever could be decided before, was;
 *   - it never returns: it becomes init, or it exits;
 *   - it never changes who it is. Credentials act on the memory that is shared: a setresuid(2) here would leave
 *     the caller undumpable, and undoing that would let the new user trace what still maps the caller. So init
 *     is executed as the caller, and drops everything in memory of its own (init.c).
 *
 * What it has of its own: descriptors, signal dispositions (CLONE_CLEAR_SIGHAND), umask and working directory,
 * namespaces, limits, cgroup.
 */
#include <asm/errno.h>
#include <asm/signal.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/fcntl.h>
#include <linux/mount.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <linux/uio.h>

#include "kernel.h"
#include "native.h"

/*
 * A cgroup v1 hierarchy is joined by writing 0 to `tasks`: a thread that moves itself needs no
 * cgroup_threadgroup_rwsem, whose writer waits for an RCU grace period, some 15 ms after any idle moment.
 * (cgroup v2 was joined at birth, by CLONE_INTO_CGROUP.)
 */
static long join_cgroups(struct child *child)
{
	for (uint32_t i = 0; i < child->request->cgroup_task_count; i++) {
		child->report->item = (int32_t)i;
		long written = kernel(write, child->request->cgroup_tasks[i], "0", 1);
		if (written < 0)
			return written;
	}
	return 0;
}

/*
 * The namespaces are new since the clone; the mount namespace is a copy, whose mounts are still peers of the
 * host's where those were shared. Cut that tie first, or all that follows would happen on the host too.
 */
static long leave_the_host(void)
{
	struct mount_attr attributes = { .propagation = MS_PRIVATE };

	return kernel(mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &attributes, sizeof attributes);
}

static long write_own(const char *file, const char *text)
{
	size_t length = 0;
	long written, fd = kernel(openat, AT_FDCWD, file, O_WRONLY | O_CLOEXEC);

	while (text[length])
		length++;
	if (fd < 0)
		return fd;
	/* In a /proc that is none, somebody else would read it, and we would go on as if it were done. */
	written = bpm_is_procfs((int)fd);
	if (written >= 0)
		written = written ? kernel(write, fd, text, length) : -ELOOP;
	(void)kernel(close, fd);
	return written;
}

/*
 * Who we are in our new user namespace. An unprivileged user may map its own ids only, and its group only after
 * giving up setgroups(2) (since 3.19), which could otherwise take groups away that a file's mode denies.
 */
static long map_ids(struct child *child)
{
	const int32_t *pipes = child->request->map_pipes;
	char byte = 0;

	if (pipes[0] >= 0) {
		/*
		 * newuidmap(1) writes them, for ranges that only it may give; it is started by a thread of the caller's.
		 * We have inherited the ends of that thread, too, so there is no end of file: it answers, or dies with us.
		 */
		child->report->item = 1;
		long answer = kernel(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		if (answer >= 0)
			answer = kernel(write, pipes[0], &byte, 1);
		if (answer >= 0)
			answer = kernel(read, pipes[1], &byte, 1);
		(void)kernel(prctl, PR_SET_PDEATHSIG, 0, 0, 0, 0);
		return answer < 0 ? answer : answer == 1 && byte ? 0 : -EPERM;
	}
	static const char *const files[] = { "/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map" };
	const char *const texts[] = { "deny", child->request->uid_map, child->request->gid_map };

	for (int i = child->request->flags & BPM_FLAG_KEEP_GROUPS ? 0 : 1; i < 3; i++) {
		child->report->item = i;
		long error = texts[i] ? write_own(files[i], texts[i]) : 0;
		if (error < 0)
			return error;
	}
	child->report->item = -1;
	return 0;
}

/*
 * In the new user namespace we hold all capabilities, and would lose them by executing init, not being its root; init
 * drops them when it is done with them. Inheritable and ambient sets alone do not count as a change of identity: what
 * is permitted stays as it is, so commit_creds() leaves the shared memory's dumpable flag alone.
 */
static long carry_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[2];
	long error = kernel(capget, &header, sets);

	sets[0].inheritable = sets[0].permitted;
	sets[1].inheritable = sets[1].permitted;
	if (error >= 0)
		error = kernel(capset, &header, sets);
	for (int number = 0; error >= 0 && number < 64; number++)
		if (sets[number / 32].permitted >> number % 32 & 1)
			error = kernel(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0);
	return error;
}

static long take_root(struct child *child)
{
	long fd = kernel(openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	child->root = (int)fd;
	return fd;
}

/*
 * Into a container that exists. With its mount namespace comes its root. Its pid namespace takes only what is cloned
 * after this: init stays outside, where nobody inside can see it, and the program is born inside (setns(2), by pidfd
 * since 5.8).
 */
static long join_namespaces(struct child *child)
{
	long error = kernel(setns, child->request->join_fd, child->request->join_namespaces);

	return error < 0 ? error : take_root(child);
}

/*
 * A copy of the template is a copy of what is needed, where one of the host's would be of all its mounts, which would
 * then have to go again: and that waits for an RCU grace period. Nothing of it is a peer of anything.
 */
static long copy_template(struct child *child)
{
	long error = kernel(setns, child->request->template_fd, CLONE_NEWNS);

	if (error >= 0)
		error = kernel(unshare, CLONE_NEWNS);
	return error < 0 ? error : take_root(child);
}

/* Those that take effect at once, and the pid namespace, which takes only what is cloned after this: the program. */
static long join_others(struct child *child)
{
	for (uint32_t i = 0; i < child->request->join_count; i++) {
		const struct bpm_join *join = &child->request->joins[i];

		child->report->item = (int32_t)i;
		long error = kernel(setns, join->fd, join->kinds);
		if (error < 0)
			return error;
	}
	child->report->item = -1;
	return 0;
}

static long settle_namespaces(struct child *child)
{
	long error;

	if (child->request->join_fd >= 0)
		return join_namespaces(child);
	if (child->request->namespaces & CLONE_NEWUSER) {
		error = map_ids(child);
		if (error >= 0)
			error = carry_capabilities();
		if (error < 0)
			return error;
	}
	error = join_others(child);
	if (error < 0)
		return error;
	if (child->request->template_fd >= 0)
		return copy_template(child);
	return leave_the_host();
}

static long set_hostname(struct child *child)
{
	size_t length = 0;

	if (!child->request->hostname)
		return 0;
	while (child->request->hostname[length])
		length++;
	return kernel(sethostname, child->request->hostname, length);
}

/* All from `first` on but those that the program shall inherit, which init is to hold until then. */
static long close_others(struct child *child, int first)
{
	for (uint32_t i = 0; i < child->request->pass_count; i++) {
		int held = child->passed[i].held;
		long error = kernel(fcntl, held, F_SETFD, 0);

		if (error >= 0 && held > first)
			error = kernel(close_range, first, held - 1, 0);
		if (error < 0)
			return error;
		first = held + 1;
	}
	return kernel(close_range, first, ~0U, 0);
}

/* What goes to one of the places of native.h, or -1. */
static int descriptor_for(const struct child *child, int place)
{
	switch (place) {
	case BPM_FD_LETTER:
		return child->letter;
	case BPM_FD_REPORT:
		return child->report_pipe;
	case BPM_FD_EXIT:
		return child->request->exit_fd;
	case BPM_FD_CALLER:
		return child->request->caller_fd;
	case BPM_FD_INIT:
		return child->request->init_fd;
	}
	return place < BPM_FD_LETTER ? child->request->stdio[place] : child->request->counters[place - BPM_FD_COUNTERS];
}

/*
 * A session without a controlling terminal, and no descriptors but those of native.h and those to be passed on. What
 * goes there may stand in each other's way, so all of it is moved up first. Before the limits, since RLIMIT_NOFILE
 * holds for this too.
 */
static long arrange_descriptors(struct child *child)
{
	int moved[BPM_FD_INIT + 1];

	(void)kernel(setsid);
	for (int i = 0; i <= BPM_FD_INIT; i++) {
		child->report->item = i;
		moved[i] = descriptor_for(child, i);
		if (moved[i] < 0)
			continue;
		long fd = kernel(fcntl, moved[i], F_DUPFD_CLOEXEC, BPM_FD_INIT + 1);
		if (fd < 0)
			return fd;
		moved[i] = (int)fd;
	}
	for (int i = 0; i <= BPM_FD_INIT; i++) {
		child->report->item = i;
		if (moved[i] < 0) {
			(void)kernel(close, i);
			continue;
		}
		long fd = kernel(dup3, moved[i], i, i == BPM_FD_INIT ? O_CLOEXEC : 0);
		if (fd < 0)
			return fd;
	}
	child->report->item = -1;
	return close_others(child, BPM_FD_INIT + 1);
}

static long set_limits(struct child *child)
{
	for (uint32_t i = 0; i < child->request->rlimit_count; i++) {
		const struct bpm_rlimit *limit = &child->request->rlimits[i];
		uint64_t values[2] = { limit->soft, limit->hard };

		child->report->item = (int32_t)i;
		long error = kernel(prlimit64, 0, limit->resource, values, NULL);
		if (error < 0)
			return error;
	}
	return 0;
}

static long become_init(struct child *child)
{
	const char *const arguments[] = { "bpm-init", NULL };
	const char *const environment[] = { NULL };

	child->report->item = -1;
	return kernel(execveat, BPM_FD_INIT, "", arguments, environment, AT_EMPTY_PATH);
}

/* What sendmsg(2) takes; the kernel's headers for programs do not have it. */
struct message {
	void *name;
	int32_t name_size;
	struct iovec *parts;
	size_t part_count;
	void *control;
	size_t control_size;
	uint32_t flags;
};

struct descriptor_message {
	size_t size;
	int32_t level;
	int32_t type;
	int32_t fd;
};

#define SOCKET_LEVEL 1 /* SOL_SOCKET */
#define RIGHTS 1 /* SCM_RIGHTS */

/* While the host's /proc is still there. */
static long open_own_mounts(struct child *child)
{
	long fd = kernel(openat, AT_FDCWD, "/proc/thread-self/ns/mnt", O_RDONLY | O_CLOEXEC);

	child->own_mounts = (int)fd;
	return fd < 0 ? fd : settle_namespaces(child);
}

static long send_mounts(struct child *child)
{
	char byte = 0;
	struct iovec part = { .iov_base = &byte, .iov_len = 1 };
	struct descriptor_message control = {
		.size = offsetof(struct descriptor_message, fd) + sizeof control.fd,
		.level = SOCKET_LEVEL,
		.type = RIGHTS,
		.fd = child->own_mounts,
	};
	struct message message = {
		.parts = &part,
		.part_count = 1,
		.control = &control,
		.control_size = sizeof control,
	};

	return kernel(sendmsg, child->template_socket, &message, 0);
}

struct stage {
	enum bpm_stage stage;
	long (*run)(struct child *);
};

static const struct stage template_stages[] = {
	{ BPM_STAGE_NAMESPACES, open_own_mounts },
	{ BPM_STAGE_MOUNTS, bpm_make_mounts },
	{ BPM_STAGE_ROOT, bpm_enter_root },
	{ BPM_STAGE_MASKS, bpm_cover_paths },
	{ BPM_STAGE_NAMESPACES, send_mounts },
};

static const struct stage stages[] = {
	{ BPM_STAGE_CGROUP, join_cgroups },
	{ BPM_STAGE_NAMESPACES, settle_namespaces },
	{ BPM_STAGE_MOUNTS, bpm_make_mounts },
	{ BPM_STAGE_ROOT, bpm_enter_root },
	{ BPM_STAGE_MASKS, bpm_cover_paths },
	{ BPM_STAGE_WORKDIR, bpm_enter_workdir },
	{ BPM_STAGE_HOSTNAME, set_hostname },
	{ BPM_STAGE_DESCRIPTORS, arrange_descriptors },
	{ BPM_STAGE_LIMITS, set_limits },
	{ BPM_STAGE_INIT, become_init },
};

static __attribute__((noreturn)) void run_stages(struct child *child, const struct stage *stages, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		child->report->stage = (int32_t)stages[i].stage;
		child->report->item = -1;
		long error = stages[i].run(child);
		if (error < 0) {
			child->report->error = (int32_t)-error;
			break;
		}
	}
	for (;;)
		(void)kernel(exit_group, 127);
}

/* The entries on the child's own stack. The report is in shared memory; the caller reads it when we are gone. */
void bpm_run_child(void *child)
{
	run_stages(child, stages, sizeof stages / sizeof *stages);
}

void bpm_run_template(void *child)
{
	run_stages(child, template_stages, sizeof template_stages / sizeof *template_stages);
}
