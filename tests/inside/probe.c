/*
 * probe.c - runs inside a container and prints, as one JSON object, what it sees there.
 *
 *   probe [ATTEMPT...]
 *
 * An attempt is a verb and its arguments, joined by ':' (see `verbs`). Its answer is a number: a result, or minus the
 * errno. What is seen is read before the first attempt is made; with it come the contents of what `entries` and `file` name.
 * Bytes of texts come out as the characters of the same
 * number, so that none is lost.
 *
 * Static, so that it needs nothing of the place it runs in.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/user.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_ARGUMENTS 7
#define DESCRIPTORS 4096
#define MEBIBYTE (1024L * 1024)

extern char **environ;

static long answer(long result)
{
	return result < 0 ? -errno : result;
}

/* JSON. */

static void put_text(const char *text, size_t size)
{
	putchar('"');
	for (size_t i = 0; i < size; i++) {
		unsigned char byte = (unsigned char)text[i];
		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte >= ' ' && byte < 127)
			putchar(byte);
		else
			printf("\\u%04x", byte);
	}
	putchar('"');
}

static void put_key(const char *key)
{
	put_text(key, strlen(key));
	putchar(':');
}

static void put_number(const char *key, long value)
{
	put_key(key);
	printf("%ld,", value);
}

static void put_strings(const char *key, char **strings)
{
	put_key(key);
	putchar('[');
	for (char **string = strings; *string; string++) {
		if (string != strings)
			putchar(',');
		put_text(*string, strlen(*string));
	}
	printf("],");
}

static void put_contents(const char *path)
{
	static char text[1 << 20];
	size_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got = 0;

	while (fd >= 0 && size < sizeof text && (got = read(fd, text + size, sizeof text - size)) > 0)
		size += (size_t)got;
	if (fd >= 0)
		(void)close(fd);
	put_text(text, size);
}

static void put_file(const char *key, const char *path)
{
	put_key(key);
	put_contents(path);
	putchar(',');
}

static void put_link(const char *path)
{
	char target[4096];
	ssize_t size = readlink(path, target, sizeof target);

	if (size < 0)
		printf("null");
	else
		put_text(target, (size_t)size);
}

/* What is seen. */

static void put_descriptors(void)
{
	const char *before = "";
	char path[64];

	put_key("descriptors");
	putchar('{');
	for (int fd = 0; fd < DESCRIPTORS; fd++) {
		int flags = fcntl(fd, F_GETFL);
		if (flags < 0)
			continue;
		(void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		printf("%s\"%d\":{\"target\":", before, fd);
		put_link(path);
		printf(",\"flags\":%d}", flags);
		before = ",";
	}
	printf("},");
}

static void put_namespaces(void)
{
	static const char *const kinds[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	char path[64];

	put_key("namespaces");
	putchar('{');
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		(void)snprintf(path, sizeof path, "/proc/self/ns/%s", kinds[i]);
		printf("%s\"%s\":", i ? "," : "", kinds[i]);
		put_link(path);
	}
	printf("},");
}

static void put_limits(void)
{
	struct rlimit limit;

	put_key("rlimits");
	putchar('[');
	for (int resource = 0; resource < (int)RLIM_NLIMITS; resource++) {
		(void)getrlimit((__rlimit_resource_t)resource, &limit);
		printf("%s[%lu,%lu]", resource ? "," : "", limit.rlim_cur, limit.rlim_max);
	}
	printf("],");
}

/* Each entry of a directory: its mode, owner, group, device number, and where it leads if it is a link. */
static void put_entries(const char *path)
{
	DIR *directory = opendir(path);
	const char *before = "";
	struct dirent *entry;
	struct stat info;
	char name[4096];

	putchar('{');
	while (directory && (entry = readdir(directory))) {
		if (strcmp(entry->d_name, "..") == 0)
			continue;
		(void)snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
		if (lstat(name, &info) < 0)
			continue;
		printf("%s", before);
		put_key(entry->d_name);
		printf("[%u,%u,%u,%lu,", info.st_mode, info.st_uid, info.st_gid, (unsigned long)info.st_rdev);
		put_link(name);
		putchar(']');
		before = ",";
	}
	if (directory)
		(void)closedir(directory);
	putchar('}');
}

/* What the attempts that begin with `verb` name, each put by a function of that kind. */
static void put_named(const char *key, const char *verb, char **arguments, void (*put)(const char *path))
{
	const char *before = "";

	put_key(key);
	putchar('{');
	for (char **argument = arguments + 1; *argument; argument++) {
		if (strncmp(*argument, verb, strlen(verb)) != 0)
			continue;
		printf("%s", before);
		put_key(*argument + strlen(verb));
		put(*argument + strlen(verb));
		before = ",";
	}
	printf("},");
}

static void put_state(char **arguments)
{
	struct utsname names;
	char *cwd = getcwd(NULL, 0);

	(void)uname(&names);
	put_strings("argv", arguments);
	put_strings("environment", environ);
	put_key("cwd");
	put_text(cwd ? cwd : "", cwd ? strlen(cwd) : 0);
	putchar(',');
	put_key("hostname");
	put_text(names.nodename, strlen(names.nodename));
	putchar(',');
	put_number("pid", getpid());
	put_number("ppid", getppid());
	put_number("pgid", getpgid(0));
	put_number("sid", getsid(0));
	put_descriptors();
	put_namespaces();
	put_limits();
	put_file("mountinfo", "/proc/self/mountinfo");
	put_file("status", "/proc/self/status");
	put_named("entries", "entries:", arguments, put_entries);
	put_named("files", "file:", arguments, put_contents);
}

/* What is attempted. */

static long number(const char *text)
{
	return text ? (long)strtoul(text, NULL, 0) : 0;
}

static long try_read(char **a)
{
	char byte;
	int fd = open(a[0], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	long got = fd < 0 ? -errno : answer(read(fd, &byte, 1));

	if (fd >= 0)
		(void)close(fd);
	return got;
}

static long try_open_flags(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	(void)close(fd);
	return 0;
}

static long try_write(char **a)
{
	return try_open_flags(a[0], O_WRONLY);
}

static long try_create(char **a)
{
	return try_open_flags(a[0], O_WRONLY | O_CREAT | O_EXCL);
}

static long try_list(char **a)
{
	DIR *directory = opendir(a[0]);
	long entries = -2; /* . and .. */

	if (!directory)
		return -errno;
	while (readdir(directory))
		entries++;
	(void)closedir(directory);
	return entries;
}

/* Whether it can be executed; the errno comes through memory that both share. */
static long try_exec(char **a)
{
	char *arguments[] = { a[0], NULL };
	volatile long error = 0;
	pid_t pid = vfork();

	if (pid == 0) {
		(void)execve(a[0], arguments, environ);
		error = -errno;
		_exit(127);
	}
	if (pid > 0)
		(void)waitpid(pid, NULL, 0);
	return pid < 0 ? -errno : error;
}

static long try_access(char **a)
{
	return answer(faccessat(AT_FDCWD, a[0], (int)number(a[1]), AT_EACCESS));
}

static long try_mode(char **a)
{
	struct stat info;

	return lstat(a[0], &info) < 0 ? -errno : (long)info.st_mode;
}

/* Which file a path leads to, by two numbers. */

static long try_device(char **a)
{
	struct stat info;

	return stat(a[0], &info) < 0 ? -errno : (long)info.st_dev;
}

static long try_inode(char **a)
{
	struct stat info;

	return stat(a[0], &info) < 0 ? -errno : (long)info.st_ino;
}

/* What the mount that shows it forbids. */
static long try_flags(char **a)
{
	struct statvfs info;

	return statvfs(a[0], &info) < 0 ? -errno : (long)(info.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC));
}

static long try_mknod(char **a)
{
	return answer(mknod(a[0], S_IFCHR | 0600, makedev(1, 3)));
}

/* Whether a device can be opened, by a node of its own, which is gone afterwards; no other probe makes the same. */
static long try_node(char **a)
{
	mode_t kind = strcmp(a[1], "b") == 0 ? S_IFBLK : S_IFCHR;
	unsigned long chance = 0;
	char path[4096];
	long opened;

	(void)getrandom(&chance, sizeof chance, 0);
	(void)snprintf(path, sizeof path, "%s.%lx", a[0], chance);
	if (mknod(path, kind | 0600, makedev((unsigned)number(a[2]), (unsigned)number(a[3]))) < 0)
		return -errno;
	opened = try_open_flags(path, O_RDWR | O_NONBLOCK);
	(void)unlink(path);
	return opened;
}

static long try_note(char **a)
{
	(void)a;
	return 0;
}

static long try_ptrace(char **a)
{
	return answer(ptrace(PTRACE_SEIZE, (pid_t)number(a[0]), NULL, NULL));
}

/* Stops another process and has it make a system call in place of the one that it was in; what that answered. */
static long try_inject(char **a)
{
#if defined(__x86_64__)
	pid_t pid = (pid_t)number(a[0]);
	struct user_regs_struct registers;

	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		return -errno;
	if (waitpid(pid, NULL, __WALL) < 0 || ptrace(PTRACE_GETREGS, pid, NULL, &registers) < 0)
		return -errno;
	registers.rip -= 2; /* back to the syscall instruction */
	registers.rax = (unsigned long long)number(a[1]);
	registers.orig_rax = -1ULL; /* and no restart of the interrupted one */
	if (ptrace(PTRACE_SETREGS, pid, NULL, &registers) < 0)
		return -errno;
	for (int stop = 0; stop < 2; stop++) /* at its entry, at its exit */
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0 || waitpid(pid, NULL, __WALL) < 0)
			return -errno;
	return ptrace(PTRACE_GETREGS, pid, NULL, &registers) < 0 ? -errno : (long)registers.rax;
#else
	(void)a;
	return -ENOSYS;
#endif
}

static long try_kill(char **a)
{
	return answer(kill((pid_t)number(a[0]), (int)number(a[1])));
}

static long try_mount(char **a)
{
	return answer(mount("tmpfs", a[0], "tmpfs", 0, NULL));
}

static long try_unmount(char **a)
{
	return answer(umount2(a[0], MNT_DETACH));
}

static long try_unshare(char **a)
{
	return answer(unshare((int)number(a[0])));
}

static long try_syscall(char **a)
{
	return answer(syscall(number(a[0]), number(a[1]), number(a[2]), number(a[3]), number(a[4]), number(a[5]), number(a[6])));
}

/* A system call of the 32-bit ABI, made from 64-bit code; without arguments. */
static long try_int80(char **a)
{
#if defined(__x86_64__)
	long result = number(a[0]);

	__asm__ volatile("int $0x80" : "+a"(result) : "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
	return (int)result;
#else
	(void)a;
	return -ENOSYS;
#endif
}

/* Mebibytes of memory touched, one after the other. */
static long try_eat(char **a)
{
	long most = number(a[0]);

	for (long i = 0; i < most; i++) {
		char *memory = mmap(NULL, MEBIBYTE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return i;
		memset(memory, 1, MEBIBYTE);
	}
	return most;
}

/* How many processes can stand beside this one, up to a number. */
static long try_forks(char **a)
{
	long most = number(a[0]), made = 0;
	pid_t *pids = calloc((size_t)most, sizeof *pids);

	while (made < most && (pids[made] = fork()) >= 0) {
		if (pids[made] == 0)
			for (;;)
				(void)pause();
		made++;
	}
	for (long i = 0; i < made; i++) {
		(void)kill(pids[i], SIGKILL);
		(void)waitpid(pids[i], NULL, 0);
	}
	free(pids);
	return made;
}

static long try_sleep(char **a)
{
	return answer(usleep((useconds_t)number(a[0]) * 1000));
}

static const struct {
	const char *verb;
	long (*run)(char **arguments);
} verbs[] = {
	{ "read", try_read }, /* PATH: bytes read, at most one */
	{ "write", try_write }, /* PATH: opens it for writing */
	{ "create", try_create }, /* PATH: a new file */
	{ "list", try_list }, /* PATH: entries of a directory */
	{ "exec", try_exec }, /* PATH */
	{ "access", try_access }, /* PATH:MODE, as access(2) has it */
	{ "mode", try_mode }, /* PATH: st_mode */
	{ "device", try_device }, /* PATH: st_dev, links followed */
	{ "inode", try_inode }, /* PATH: st_ino, links followed */
	{ "flags", try_flags }, /* PATH: of ST_RDONLY, ST_NOSUID, ST_NODEV, ST_NOEXEC */
	{ "entries", try_list }, /* PATH, and see put_entries */
	{ "file", try_read }, /* PATH, and its contents */
	{ "note", try_note }, /* ANYTHING: nothing */
	{ "node", try_node }, /* PATH:KIND:MAJOR:MINOR: opens it by a node there */
	{ "mknod", try_mknod }, /* PATH: another /dev/null */
	{ "ptrace", try_ptrace }, /* PID */
	{ "inject", try_inject }, /* PID:NUMBER */
	{ "kill", try_kill }, /* PID:SIGNAL */
	{ "mount", try_mount }, /* PATH: a tmpfs there */
	{ "unmount", try_unmount }, /* PATH */
	{ "unshare", try_unshare }, /* FLAGS */
	{ "syscall", try_syscall }, /* NUMBER[:ARGUMENT...] */
	{ "int80", try_int80 }, /* NUMBER */
	{ "eat", try_eat }, /* MEBIBYTES */
	{ "forks", try_forks }, /* MOST */
	{ "sleep", try_sleep }, /* MILLISECONDS */
};

static long make_attempt(const char *attempt)
{
	char *words = strdup(attempt), *rest = words, *verb = strsep(&rest, ":");
	char *arguments[MOST_ARGUMENTS] = { NULL };

	for (int i = 0; rest && i < MOST_ARGUMENTS; i++)
		arguments[i] = strsep(&rest, ":");
	for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++)
		if (strcmp(verb, verbs[i].verb) == 0)
			return verbs[i].run(arguments);
	fprintf(stderr, "probe: %s: no such attempt\n", attempt);
	exit(2);
}

int main(int count, char **arguments)
{
	putchar('{');
	put_state(arguments);
	put_key("attempts");
	putchar('{');
	for (int i = 1; i < count; i++) {
		if (i > 1)
			putchar(',');
		put_key(arguments[i]);
		(void)fflush(stdout);
		printf("%ld", make_attempt(arguments[i]));
	}
	printf("}}\n");
	return 0;
}
