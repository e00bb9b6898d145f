/*
 * rootfs.c - the stages that make what the program sees: mounts, root, masks, workdir.
 *
 * Mounts are made by descriptor (open_tree, fsmount, mount_setattr, move_mount): a mount has all its attributes
 * before it becomes visible, read-only holds for everything below it, and no path is walked twice. Every target is
 * resolved below the new root with RESOLVE_IN_ROOT and RESOLVE_NO_MAGICLINKS (openat2, since 5.6), so whatever
 * links stand there cannot lead out of it. The rules of child.c hold here too.
 */
#include <asm/errno.h>
#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/stat.h>

#include "kernel.h"
#include "native.h"

#define MNT_DETACH 2
#define NULL_DEVICE 0x103 /* makedev(1, 3) */
#define MOST_TRIES 10000

/* The parts of struct statfs that matter are the same on 64-bit architectures: f_type first, 120 bytes in all. */
struct file_system {
	long type;
	long rest[14];
};

/*
 * A ".." on the way, of a link's target, is EAGAIN where anything on the machine was renamed or mounted meanwhile: the
 * kernel could not tell that it stayed inside (openat2(2)). Tried again, but not for ever: anyone can rename all day.
 */
static long open_inside(int root, const char *path, uint64_t flags)
{
	struct open_how how = {
		.flags = flags | O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	long fd = -EAGAIN;

	for (int tries = 0; fd == -EAGAIN && tries < MOST_TRIES; tries++)
		fd = kernel(openat2, root, path, &how, sizeof how);
	return fd;
}

/* Whether a descriptor is of something on a procfs: 1, 0, or why it is not known. */
long bpm_is_procfs(int fd)
{
	struct file_system info;
	long error = kernel(fstatfs, fd, &info);

	return error < 0 ? error : info.type == PROC_SUPER_MAGIC;
}

/* A path that leads into a procfs leads to what only looks like files. */
static long refuse_procfs(int fd)
{
	long there = bpm_is_procfs(fd);

	return there > 0 ? -ELOOP : there;
}

/* Hang a detached mount over what `target` refers to, and close it. */
static long attach(long mount, int target)
{
	long error = kernel(move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);

	(void)kernel(close, mount);
	return error;
}

static long new_file_system(const char *type, const struct bpm_option *options, uint32_t count, uint64_t attributes)
{
	long context = kernel(fsopen, type, FSOPEN_CLOEXEC);
	long result = context;

	for (uint32_t i = 0; i < count && result >= 0; i++)
		result = kernel(fsconfig, context, options[i].value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG,
				options[i].name, options[i].value, 0);
	if (result >= 0)
		result = kernel(fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (result >= 0)
		result = kernel(fsmount, context, FSMOUNT_CLOEXEC, attributes);
	if (context >= 0)
		(void)kernel(close, context);
	return result;
}

/*
 * The source's tree, cloned by spawn.c in the caller's mount namespace. It becomes a slave of the host's mount, so
 * that what the host mounts below it later arrives here, and nothing goes back. The top of a shared one stays private
 * until the root is built.
 */
static long dress_tree(int tree, const struct bpm_step *step)
{
	struct mount_attr all = { .attr_set = step->set_attributes, .propagation = MS_SLAVE };
	struct mount_attr top = { .attr_clr = step->clear_attributes };
	struct mount_attr alone = { .propagation = MS_PRIVATE };
	long error = 0;

	if (step->clear_attributes)
		error = kernel(mount_setattr, tree, "", AT_EMPTY_PATH, &top, sizeof top);
	if (error >= 0)
		error = kernel(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &all, sizeof all);
	if (error >= 0 && step->shared)
		error = kernel(mount_setattr, tree, "", AT_EMPTY_PATH, &alone, sizeof alone);
	return error;
}

static long identify(int fd, struct statx *info)
{
	return kernel(statx, fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO, info);
}

/*
 * In a user namespace only mounts of our own mount namespace can be cloned, and only with all that is mounted below
 * (which may be there to hide something), so the source is looked up again: what it was, it must still be.
 */
static long open_own_source(const struct bpm_step *step)
{
	struct statx then, now;
	long error, tree = kernel(open_tree, AT_FDCWD, step->source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);

	if (tree < 0)
		return tree;
	error = identify(step->source_fd, &then);
	if (error >= 0)
		error = identify((int)tree, &now);
	if (error >= 0 && (then.stx_ino != now.stx_ino || then.stx_dev_major != now.stx_dev_major ||
			   then.stx_dev_minor != now.stx_dev_minor))
		error = -ESTALE;
	if (error >= 0)
		return tree;
	(void)kernel(close, tree);
	return error;
}

static long make_mount(struct child *child, const struct bpm_step *step, int tree)
{
	long mount, target, error;

	if (step->kind == BPM_STEP_BIND) {
		mount = tree >= 0 ? tree : open_own_source(step);
		if (mount < 0)
			return mount;
		error = dress_tree((int)mount, step);
		if (error < 0)
			return error;
	} else {
		mount = new_file_system(step->source, step->options, step->option_count, step->set_attributes);
		if (mount < 0)
			return mount;
	}
	if (child->root < 0) {
		/* The root itself: over the old root, where pivot_root will find it; the descriptor stays. */
		child->root = (int)mount;
		return kernel(move_mount, mount, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH);
	}
	target = open_inside(child->root, step->parent, 0);
	if (target < 0)
		return target;
	error = refuse_procfs((int)target);
	if (error >= 0)
		error = attach(mount, (int)target);
	(void)kernel(close, target);
	return error;
}

/* What had to be open while names were made in it. */
static long seal_mount(struct child *child, const struct bpm_step *step)
{
	struct mount_attr attributes = { .attr_set = step->set_attributes };
	long error, target = open_inside(child->root, step->parent, 0);

	if (target < 0)
		return target;
	error = kernel(mount_setattr, target, "", AT_EMPTY_PATH, &attributes, sizeof attributes);
	(void)kernel(close, target);
	return error;
}

/* A directory, file, node or link in a file system of the container's own. One that stands there already will do. */
static long make_entry(struct child *child, const struct bpm_step *step)
{
	long error, parent = open_inside(child->root, step->parent, O_DIRECTORY);

	if (parent < 0)
		return parent;
	switch (step->kind) {
	case BPM_STEP_DIRECTORY:
		error = kernel(mkdirat, parent, step->name, step->mode);
		break;
	case BPM_STEP_FILE:
		error = kernel(mknodat, parent, step->name, S_IFREG | step->mode, 0);
		break;
	case BPM_STEP_NODE:
		error = kernel(mknodat, parent, step->name, S_IFCHR | step->mode, step->device);
		break;
	case BPM_STEP_LINK:
		error = kernel(symlinkat, step->source, parent, step->name);
		break;
	default:
		error = -EINVAL;
	}
	(void)kernel(close, parent);
	return error == -EEXIST ? 0 : error;
}

/*
 * A peer of the host's mount again: what the program mounts below it is seen by all who share it. Only now, or the
 * container's own mounts below it would be, too. Since 5.15, and for a private mount only.
 */
static long share_mount(struct child *child, const struct bpm_step *step)
{
	long error, target = open_inside(child->root, step->parent, 0);

	if (target < 0)
		return target;
	error = kernel(move_mount, step->source_fd, "", target, "",
		       MOVE_MOUNT_SET_GROUP | MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
	(void)kernel(close, target);
	return error;
}

long bpm_make_mounts(struct child *child)
{
	/* The modes of the plan are meant as they stand. Not shared with the caller: no CLONE_FS. */
	(void)kernel(umask, 0);
	for (uint32_t i = 0; i < child->request->step_count; i++) {
		const struct bpm_step *step = &child->request->steps[i];
		long error;

		child->report->item = step->item;
		if (step->kind == BPM_STEP_FILESYSTEM || step->kind == BPM_STEP_BIND)
			error = make_mount(child, step, child->trees[i]);
		else if (step->kind == BPM_STEP_SEAL)
			error = seal_mount(child, step);
		else
			error = make_entry(child, step);
		if (error < 0)
			return error;
	}
	for (uint32_t i = 0; i < child->request->step_count; i++) {
		const struct bpm_step *step = &child->request->steps[i];
		long error = 0;

		child->report->item = step->item;
		if (step->shared)
			error = share_mount(child, step);
		if (error < 0)
			return error;
	}
	(void)kernel(umask, child->request->umask);
	return 0;
}

/*
 * The old root goes: pivot_root puts it on top of the new one, from where it is taken off, and with it every mount of
 * the host that was not put into the plan. pivot_root(2) allows both paths to be ".".
 */
long bpm_enter_root(struct child *child)
{
	long error;

	if (child->request->keep_root)
		return 0; /* it came with the mount namespace */
	error = kernel(fchdir, child->root);
	if (error >= 0)
		error = kernel(pivot_root, ".", ".");
	if (error >= 0)
		error = kernel(umount2, ".", MNT_DETACH);
	if (error >= 0)
		error = kernel(chdir, "/");
	return error;
}

static long clone_tree(int fd)
{
	return kernel(open_tree, fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
}

static long make_read_only(int target)
{
	struct mount_attr read_only = { .attr_set = MOUNT_ATTR_RDONLY };
	long error, tree = clone_tree(target);

	if (tree < 0)
		return tree;
	error = kernel(mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &read_only, sizeof read_only);
	if (error >= 0)
		return attach(tree, target);
	(void)kernel(close, tree);
	return error;
}

static long mode_of(int fd, uint32_t *mode, uint64_t *device)
{
	struct statx info;
	long error = kernel(statx, fd, "", AT_EMPTY_PATH, STATX_TYPE, &info);

	*mode = info.stx_mode;
	*device = ((uint64_t)info.stx_rdev_major << 8) | info.stx_rdev_minor;
	return error;
}

/*
 * What masks are made of: the container's own /dev/null over files, checked to be that device, and one empty
 * read-only directory over directories. A detached mount cannot be cloned before 6.15, so the first directory gets
 * the mount itself, and the others a clone of it where it hangs.
 */
struct masks {
	long null;
	long empty;
	int empty_is_used;
};

static long open_null(int root)
{
	uint32_t mode;
	uint64_t device;
	long error, fd = open_inside(root, "dev/null", 0);

	if (fd < 0)
		return fd;
	error = mode_of((int)fd, &mode, &device);
	if (error >= 0 && ((mode & S_IFMT) != S_IFCHR || device != NULL_DEVICE))
		error = -ELOOP;
	if (error >= 0)
		return fd;
	(void)kernel(close, fd);
	return error;
}

static long mask_directory(struct masks *masks, int target)
{
	const struct bpm_option options[] = { { "source", "tmpfs" }, { "mode", "0555" }, { "size", "4k" } };
	long mount;

	if (masks->empty_is_used)
		return (mount = clone_tree((int)masks->empty)) < 0 ? mount : attach(mount, target);
	masks->empty = new_file_system("tmpfs", options, 3, MOUNT_ATTR_RDONLY);
	if (masks->empty < 0)
		return masks->empty;
	masks->empty_is_used = 1;
	return kernel(move_mount, masks->empty, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

static long mask_file(struct masks *masks, int root, int target)
{
	long mount;

	if (masks->null < 0)
		masks->null = open_null(root);
	if (masks->null < 0)
		return masks->null;
	mount = clone_tree((int)masks->null);
	return mount < 0 ? mount : attach(mount, target);
}

static long mask(struct masks *masks, int root, int target)
{
	uint32_t mode;
	uint64_t device;
	long error = mode_of(target, &mode, &device);

	if (error < 0)
		return error;
	return (mode & S_IFMT) == S_IFDIR ? mask_directory(masks, target) : mask_file(masks, root, target);
}

static long cover(struct masks *masks, int root, const struct bpm_cover *path)
{
	long error, target = open_inside(root, path->path, 0);

	if (target == -ENOENT || target == -ENOTDIR)
		return 0;
	if (target < 0)
		return target;
	error = path->read_only ? make_read_only((int)target) : mask(masks, root, (int)target);
	(void)kernel(close, target);
	return error;
}

long bpm_cover_paths(struct child *child)
{
	struct masks masks = { .null = -1, .empty = -1 };

	for (uint32_t i = 0; i < child->request->cover_count; i++) {
		child->report->item = child->request->covers[i].item;
		long error = cover(&masks, child->root, &child->request->covers[i]);
		if (error < 0)
			return error;
	}
	return 0;
}

long bpm_enter_workdir(struct child *child)
{
	long error, fd = open_inside(child->root, child->request->workdir, O_DIRECTORY);

	if (fd < 0)
		return fd;
	error = refuse_procfs((int)fd);
	return error < 0 ? error : kernel(fchdir, fd);
}
