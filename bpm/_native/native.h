/* native.h - what the C files of the extension share with each other. */
#ifndef BPM_NATIVE_H
#define BPM_NATIVE_H

#include "abi.h"

/* Where child.c leaves init's descriptors; 0, 1 and 2 are the program's. */
enum {
	BPM_FD_LETTER = 3, /* the sealed memfd with struct bpm_letter */
	BPM_FD_REPORT = 4, /* the pipe that takes struct bpm_report */
	BPM_FD_EXIT = 5, /* what takes struct bpm_exit, if anything */
	BPM_FD_CALLER = 6, /* the file whose lock says that the caller lives, if anyone wants to know */
	BPM_FD_COUNTERS = 7, /* the first of the files that tell what the cgroup has counted */
	BPM_FD_INIT = BPM_FD_COUNTERS + BPM_COUNTERS /* init itself, closed by its own execution */
};

/* A descriptor for the program: where init holds it, and the number that it is to have. */
struct bpm_passed {
	int32_t held;
	int32_t wanted;
};

/*
 * What init is told, at the start of its memfd. Arrays are given by their offset from the start of the letter;
 * an array of strings is an array of such offsets that ends with a 0. Not by arguments or environment, which
 * others can read in /proc.
 */
struct bpm_letter {
	uint64_t size;
	uint32_t flags;
	uint32_t uid;
	uint32_t gid;
	uint32_t group_count;
	uint64_t bounding;
	uint64_t permitted;
	uint64_t inheritable;
	uint64_t ambient;
	uint64_t groups;
	uint64_t filter;
	uint64_t arguments; /* one spare entry stands before them */
	uint64_t environment;
	uint64_t candidates;
	uint32_t filter_length;
	uint32_t has_exit_fd;
	int64_t wall_time;
	uint64_t passed;
	uint64_t passed_count;
};

/* letter.c: a sealed memfd holding the letter, or minus the errno. */
int bpm_write_letter(const struct bpm_request *request, const struct bpm_passed *passed);

/* child.c */
struct child {
	const struct bpm_request *request;
	struct bpm_report *report;
	const int32_t *trees; /* by step: a detached mount for each BIND, else -1 */
	const struct bpm_passed *passed; /* rising in `held` */
	int letter;
	int report_pipe;
	int root; /* the new root, from the first step on */
	int own_mounts; /* its mount namespace, for a template */
	int template_socket; /* where a template's mount namespace is sent */
};

void bpm_run_child(void *child);
void bpm_run_template(void *child);

/* rootfs.c: the stages that make what the program sees. Each answers 0 or minus the errno. */
long bpm_make_mounts(struct child *child);
long bpm_enter_root(struct child *child);
long bpm_cover_paths(struct child *child);
long bpm_enter_workdir(struct child *child);

/* rootfs.c: 1, 0 or minus the errno. */
long bpm_is_procfs(int fd);

#endif
