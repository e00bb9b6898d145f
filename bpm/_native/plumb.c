/* plumb.c - the descriptors that are one spawn's own, made, read and closed in single calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "native.h"

/*
 * The record's page is there before init writes it: it may do so when the program has just been killed for having used
 * up all memory of their cgroup.
 */
static int make_exit_file(void)
{
	int fd = memfd_create("bpm-exit", MFD_CLOEXEC);

	if (fd >= 0 && pwrite(fd, "", 1, sizeof(struct bpm_exit) - 1) == 1)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

_Bool bpm_is(int fd, uint64_t inode)
{
	struct stat info;

	return fstat(fd, &info) == 0 && info.st_ino == inode;
}

void bpm_close(int32_t *fd)
{
	int number = *fd;

	*fd = -1;
	if (number >= 0)
		(void)close(number);
}

void bpm_close_theirs(struct bpm_plumbing *plumbing)
{
	for (int i = 0; i < 3; i++)
		bpm_close(&plumbing->theirs[i]);
}

void bpm_close_plumbing(struct bpm_plumbing *plumbing)
{
	for (int i = 0; i < 3; i++)
		bpm_close(&plumbing->ours[i]);
	bpm_close_theirs(plumbing);
	bpm_close(&plumbing->exit_fd);
}

void bpm_close_spawned(struct bpm_spawned *spawned)
{
	bpm_close(&spawned->pidfd);
}

int bpm_plumb(uint32_t pipes, struct bpm_plumbing *plumbing)
{
	int error;

	for (int i = 0; i < 3; i++)
		plumbing->ours[i] = plumbing->theirs[i] = -1;
	plumbing->exit_fd = make_exit_file();
	if (plumbing->exit_fd < 0)
		return -1;
	for (int i = 0; i < 3; i++) {
		int ends[2];
		if (!(pipes >> i & 1))
			continue;
		if (pipe2(ends, O_CLOEXEC) < 0)
			goto fail;
		plumbing->ours[i] = ends[i == 0];
		plumbing->theirs[i] = ends[i != 0];
	}
	return 0;
fail:
	error = errno;
	bpm_close_plumbing(plumbing);
	errno = error;
	return -1;
}

static int64_t nanoseconds(const struct timeval *time)
{
	return time->tv_sec * INT64_C(1000000000) + time->tv_usec * INT64_C(1000);
}

/*
 * Of what wait4(2) tells, the largest size would be the caller's: a child that shares its memory until it is executed
 * takes that over.
 */
void bpm_reap(const struct bpm_spawned *spawned, struct bpm_plumbing *plumbing, struct bpm_ended *ended)
{
	static const char magic[] = { 'b', 'p', 'm', 'e', 'x', 'i', 't', '1' };
	struct rusage usage;
	int status;
	pid_t pid;

	if (ended->known)
		return;
	while ((pid = wait4(spawned->pid, &status, 0, &usage)) < 0 && errno == EINTR)
		;
	if (pid == spawned->pid) {
		ended->reaped = 1;
		ended->status = status;
		ended->user = nanoseconds(&usage.ru_utime);
		ended->system = nanoseconds(&usage.ru_stime);
	}
	ended->recorded = pread(plumbing->exit_fd, &ended->record, sizeof ended->record, 0) == sizeof ended->record &&
			  !memcmp(ended->record.magic, magic, sizeof magic);
	ended->known = 1;
	bpm_close(&plumbing->exit_fd);
}
