/*
 * abi.h - the border between Python and C, and between child.c and init.c.
 *
 * build_ffi.py hands this file to cffi as its declarations (less the lines that begin with '#include' and
 * the include guard), so it keeps to what both a C compiler and cffi read. Fields are of fixed width.
 */
#ifndef BPM_ABI_H
#define BPM_ABI_H
#include <stdint.h>

/* Where a spawn can stop. The names are interface: request.py, docs/stages.md and the tests use the same words. */
enum bpm_stage {
	BPM_STAGE_NONE = 0,
	/* In the caller. */
	BPM_STAGE_SOURCES = 1,
	BPM_STAGE_CLONE = 2,
	/* In child.c, which shares the caller's memory. */
	BPM_STAGE_CGROUP = 3,
	BPM_STAGE_NAMESPACES = 4,
	BPM_STAGE_MOUNTS = 5,
	BPM_STAGE_ROOT = 6,
	BPM_STAGE_MASKS = 7,
	BPM_STAGE_WORKDIR = 8,
	BPM_STAGE_HOSTNAME = 9,
	BPM_STAGE_DESCRIPTORS = 10,
	BPM_STAGE_LIMITS = 11,
	BPM_STAGE_INIT = 12,
	/* In init.c, in memory of its own. */
	BPM_STAGE_IDENTITY = 13,
	BPM_STAGE_CAPABILITIES = 14,
	BPM_STAGE_NO_NEW_PRIVS = 15,
	BPM_STAGE_SECCOMP = 16,
	BPM_STAGE_PROGRAM = 17
};

/* All that comes back when a spawn stops; stage BPM_STAGE_NONE and error 0 say that the program runs. */
struct bpm_report {
	int32_t stage;
	int32_t item; /* which entry of that stage, from 0; -1 where it has none */
	int32_t error; /* errno */
};

enum bpm_step_kind {
	BPM_STEP_DIRECTORY = 1,
	BPM_STEP_FILE = 2,
	BPM_STEP_NODE = 3,
	BPM_STEP_LINK = 4,
	BPM_STEP_FILESYSTEM = 5,
	BPM_STEP_BIND = 6,
	BPM_STEP_SEAL = 7
};

/* A parameter of fsconfig(2); a NULL value makes it a bare flag. */
struct bpm_option {
	const char *name;
	const char *value;
};

/* One step of building the root, in order; the first one makes the root itself. */
struct bpm_step {
	uint32_t kind;
	int32_t item; /* the plan's mount that it serves */
	const char *parent; /* from the new root, without a leading slash; "." is the root itself */
	const char *name; /* the last component of what is made below parent; "" for a mount: parent itself */
	const char *source; /* LINK: its target; FILESYSTEM: the type; BIND in a user namespace: its path */
	const struct bpm_option *options; /* FILESYSTEM */
	uint32_t option_count;
	int32_t source_fd; /* BIND: an O_PATH descriptor of it, in the caller's mount namespace */
	uint16_t recursive; /* BIND: whether what is mounted below comes along */
	uint16_t shared; /* BIND of a shared mount: whether what is mounted below it inside is seen outside, too */
	uint32_t mode; /* DIRECTORY, FILE, NODE */
	uint64_t device; /* NODE: as makedev(3) has it */
	uint64_t set_attributes; /* MOUNT_ATTR_*, for all that is mounted below too; SEAL: of that mount alone */
	uint64_t clear_attributes; /* BIND: for its top mount only */
};

/* A path inside that is masked, or made read-only, where it exists. */
struct bpm_cover {
	int32_t item;
	uint32_t read_only;
	const char *path;
};

struct bpm_rlimit {
	uint64_t resource;
	uint64_t soft;
	uint64_t hard;
};

/* A namespace that exists, to be joined beside those that are made. */
struct bpm_join {
	int32_t fd; /* a file of /proc/PID/ns, or a pidfd */
	uint32_t kinds; /* CLONE_NEW* */
};

enum bpm_flag {
	BPM_FLAG_NO_NEW_PRIVS = 1,
	BPM_FLAG_DIE_WITH_PARENT = 2,
	BPM_FLAG_SUBREAPER = 4, /* init is not pid 1 of a namespace, so orphans must be told to come to it */
	BPM_FLAG_TERMINAL = 8, /* descriptor 0 becomes the controlling terminal, the program its foreground */
	BPM_FLAG_KEEP_GROUPS = 16 /* setgroups(2) is denied, as in a user namespace of an unprivileged user */
};

/* Files that init reads when the program has ended, and how much of each. */
enum bpm_counter_limit {
	BPM_COUNTERS = 8,
	BPM_COUNTER_SIZE = 256
};

struct bpm_request {
	/* For spawn.c. */
	uint64_t namespaces; /* CLONE_NEW* */
	int32_t init_fd; /* the sealed memfd that holds init */
	int32_t cgroup_fd; /* CLONE_INTO_CGROUP, or -1 */

	/* For child.c. */
	const char *uid_map; /* with CLONE_NEWUSER: what goes to /proc/self/uid_map, or NULL */
	const char *gid_map;
	int32_t template_fd; /* a mount namespace from bpm_make_template() to start from, or -1 */
	uint32_t keep_root; /* whether the root is made already: by a template, or by who is joined */
	int32_t join_fd; /* a pidfd whose namespaces are joined in place of making a root, or -1 */
	uint32_t join_namespaces; /* CLONE_NEW* */
	const struct bpm_join *joins;
	uint32_t join_count;
	uint32_t pass_count;
	const int32_t *pass; /* descriptors that the program inherits at their own numbers */
	int32_t map_pipes[2]; /* with CLONE_NEWUSER: a 0 to the first says that someone may write the maps, what comes from
				 the second whether they are written; or -1 */
	const int32_t *cgroup_tasks;
	uint32_t cgroup_task_count;
	uint32_t step_count;
	const struct bpm_step *steps;
	const struct bpm_cover *covers;
	uint32_t cover_count;
	uint32_t rlimit_count;
	const struct bpm_rlimit *rlimits;
	const char *workdir; /* from the new root, without a leading slash */
	const char *hostname; /* or NULL */
	int32_t stdio[3];
	int32_t exit_fd; /* where init writes struct bpm_exit, or -1 */
	int32_t counters[BPM_COUNTERS]; /* what the cgroup counts: files whose text goes into struct bpm_exit, or -1 */
	uint32_t umask; /* what the program starts with */
	int32_t caller_fd; /* DIE_WITH_PARENT: a file of which the caller holds a POSIX lock for as long as it lives */

	/* For init.c. */
	uint32_t flags; /* enum bpm_flag */
	uint32_t uid;
	uint32_t gid;
	uint32_t group_count;
	const uint32_t *groups;
	uint64_t bounding;
	uint64_t permitted;
	uint64_t inheritable;
	uint64_t ambient;
	int64_t wall_time; /* nanoseconds after which init kills the program; 0 for ever */
	const void *filter; /* struct sock_filter[] */
	uint32_t filter_length; /* instructions; 0 for no filter */
	uint32_t argument_count;
	const char *const *arguments;
	const char *const *environment;
	const char *const *candidates; /* paths to execute, tried in turn */
	uint32_t variable_count;
	uint32_t candidate_count;
};

struct bpm_spawned {
	int32_t pid; /* init's, in the caller's pid namespace */
	int32_t pidfd; /* close-on-exec; the caller closes it */
	int32_t status; /* after init died without an answer: its exit status, or minus the signal; else 0 */
};

/* What init writes when the program has ended. Times in nanoseconds of CLOCK_REALTIME, or of cpu. */
struct bpm_exit {
	char magic[8]; /* "bpmexit1" */
	int32_t code; /* CLD_EXITED, CLD_KILLED or CLD_DUMPED, see waitid(2) */
	int32_t status; /* exit status or signal */
	int64_t started;
	int64_t ended;
	int64_t user;
	int64_t system;
	int64_t max_rss; /* bytes */
	int64_t timed_out; /* whether init killed it for its wall time */
	char counters[BPM_COUNTERS][BPM_COUNTER_SIZE]; /* what the request's files said then, cut, and filled up with 0 */
};

/*
 * The descriptors of a spawn that are its own: made by one call and closed by one each, so that no signal handler of
 * an interpreter comes between a descriptor and the place where it is remembered. -1 is none.
 */
struct bpm_plumbing {
	int32_t ours[3]; /* pipes for the program's 0, 1 and 2: the caller's ends */
	int32_t theirs[3];
	int32_t exit_fd; /* a file for struct bpm_exit */
};

/* What is known of an init that has ended. */
struct bpm_ended {
	int32_t known; /* whether the rest is filled in */
	int32_t reaped; /* whether its status was there to be taken: not where SIGCHLD is ignored, or someone else took it */
	int32_t status; /* as wait4(2) has it */
	int32_t recorded; /* whether init has written the record */
	int64_t user; /* nanoseconds */
	int64_t system;
	struct bpm_exit record;
};

/* A new sealed memfd holding init, or -1 with errno. */
int bpm_make_init(void);

/* Whether a descriptor is the file with this inode number, among those that we have made. */
_Bool bpm_is(int fd, uint64_t inode);

/*
 * Builds the request's root in a mount namespace that nobody is in, from which any number of spawns can start: a
 * descriptor of it, or -1 with the report filled in.
 */
int bpm_make_template(const struct bpm_request *request, struct bpm_report *report);

/* Makes a pipe for each descriptor whose bit is set, and the file for the exit record. 0, or -1 with errno. */
int bpm_plumb(uint32_t pipes, struct bpm_plumbing *plumbing);

/* Closes it and leaves -1 in its place; of -1, nothing. */
void bpm_close(int32_t *fd);

/* Reaps an init that has ended and takes its record, once; closes the record's file. */
void bpm_reap(const struct bpm_spawned *spawned, struct bpm_plumbing *plumbing, struct bpm_ended *ended);

/* The program's ends are closed, which it has by now. */
void bpm_close_theirs(struct bpm_plumbing *plumbing);

/* What is still open of either is closed; -1 stays in its place. */
void bpm_close_plumbing(struct bpm_plumbing *plumbing);
void bpm_close_spawned(struct bpm_spawned *spawned);

/* Spawns; 0 when the program runs, -1 with the report filled in. */
int bpm_spawn(const struct bpm_request *request, struct bpm_spawned *spawned, struct bpm_report *report);

#endif
