/* plumb.c - the descriptors that are one spawn's own, made and closed in single calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"

/*
 * Pages for the record are there before init writes it: it may do so when the program has just been killed for having
 * used up all memory of their cgroup.
 */
static int make_exit_file(void)
{
	static const struct bpm_exit nothing;
	int fd = memfd_create("bpm-exit", MFD_CLOEXEC);

	if (fd >= 0 && write(fd, &nothing, sizeof nothing) == sizeof nothing && lseek(fd, 0, SEEK_SET) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd);
	return -1;
}

void bpm_close(int32_t *fd)
{
	int number = *fd;

	*fd = -1;
	if (number >= 0)
		(void)close(number);
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
	for (int i = 0; i < 3; i++) {
		bpm_close(&plumbing->ours[i]);
		bpm_close(&plumbing->theirs[i]);
	}
	bpm_close(&plumbing->exit_fd);
	errno = error;
	return -1;
}
