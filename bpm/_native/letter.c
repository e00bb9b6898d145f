/* letter.c - what init is told, written into one sealed memfd, in the caller before the clone. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "native.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* since 6.3 */
#endif
#define FILTER_INSTRUCTION 8 /* bytes of a struct sock_filter */
#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

struct writer {
	char *base; /* NULL on the first pass, which only measures */
	uint64_t size;
};

static uint64_t reserve(struct writer *writer, uint64_t size)
{
	uint64_t start = writer->size;

	writer->size += (size + 7) & ~(uint64_t)7;
	return start;
}

static uint64_t put_bytes(struct writer *writer, const void *bytes, uint64_t size)
{
	uint64_t start = reserve(writer, size);

	if (writer->base && size)
		memcpy(writer->base + start, bytes, size);
	return start;
}

/* An array of offsets that ends with 0, with `spare` entries left free before it, and the strings behind it. */
static uint64_t put_strings(struct writer *writer, const char *const *strings, uint32_t count, uint32_t spare)
{
	uint64_t start = reserve(writer, (spare + count + 1) * sizeof(uint64_t)) + spare * sizeof(uint64_t);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t place = put_bytes(writer, strings[i], strlen(strings[i]) + 1);
		if (writer->base)
			((uint64_t *)(writer->base + start))[i] = place;
	}
	return start;
}

static void write_letter(struct writer *writer, const struct bpm_request *request, const struct bpm_passed *passed)
{
	struct bpm_letter letter = {
		.flags = request->flags,
		.uid = request->uid,
		.gid = request->gid,
		.group_count = request->group_count,
		.bounding = request->bounding,
		.permitted = request->permitted,
		.inheritable = request->inheritable,
		.ambient = request->ambient,
		.filter_length = request->filter_length,
		.has_exit_fd = request->exit_fd >= 0,
		.wall_time = request->wall_time,
		.passed_count = request->pass_count,
	};

	writer->size = 0;
	(void)reserve(writer, sizeof letter);
	letter.groups = put_bytes(writer, request->groups, (uint64_t)request->group_count * sizeof(uint32_t));
	letter.filter = put_bytes(writer, request->filter, (uint64_t)request->filter_length * FILTER_INSTRUCTION);
	letter.passed = put_bytes(writer, passed, (uint64_t)request->pass_count * sizeof *passed);
	letter.arguments = put_strings(writer, request->arguments, request->argument_count, 1);
	letter.environment = put_strings(writer, request->environment, request->variable_count, 0);
	letter.candidates = put_strings(writer, request->candidates, request->candidate_count, 0);
	letter.size = writer->size;
	if (writer->base)
		memcpy(writer->base, &letter, sizeof letter);
}

static int seal(const char *name, unsigned int flags, const char *bytes, uint64_t size)
{
	int error, fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	if (fd < 0 && errno == EINVAL && flags) /* before 6.3 */
		fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	while (size) {
		ssize_t written = write(fd, bytes, size);
		if (written < 0)
			goto fail;
		bytes += written;
		size -= (uint64_t)written;
	}
	if (fcntl(fd, F_ADD_SEALS, SEALS) == 0)
		return fd;
fail:
	error = -errno;
	(void)close(fd);
	return error;
}

int bpm_write_letter(const struct bpm_request *request, const struct bpm_passed *passed)
{
	struct writer writer = { .base = NULL };
	int fd;

	write_letter(&writer, request, passed);
	writer.base = calloc(1, writer.size);
	if (!writer.base)
		return -ENOMEM;
	write_letter(&writer, request, passed);
	fd = seal("bpm-letter", MFD_NOEXEC_SEAL, writer.base, writer.size);
	/* It may hold secrets of the environment: nothing of it stays in the caller's heap. */
	explicit_bzero(writer.base, writer.size);
	free(writer.base);
	return fd;
}

/* init itself, as build_ffi.py compiled it, lies between these two. */
__asm__(".pushsection .rodata\n"
	".globl bpm_init_image\n.hidden bpm_init_image\n"
	"bpm_init_image: .incbin \"" BPM_INIT_PATH "\"\n"
	".globl bpm_init_image_end\n.hidden bpm_init_image_end\n"
	"bpm_init_image_end:\n"
	".popsection\n");
extern const char bpm_init_image[], bpm_init_image_end[];

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* since 6.3: sysctl vm.memfd_noexec may ask for it */
#endif

int bpm_make_init(void)
{
	int fd = seal("bpm-init", MFD_EXEC, bpm_init_image, (uint64_t)(bpm_init_image_end - bpm_init_image));

	if (fd >= 0)
		return fd;
	errno = -fd;
	return -1;
}
