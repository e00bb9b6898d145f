"""What a plan prepares on the host, as a script for sh(1): an OCI runtime expects to find it done. Pure.

The hook is not in it: config.json has a place for that.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from bpm.oci.config import text_of
from bpm.plan import Directory, MountPoint, ProcessPlan, reasons

FUNCTIONS = """\
set -eu
PATH=/usr/sbin:/usr/bin:/sbin:/bin

fail() {
	printf '%s: %s\\n' "$0" "$1" >&2
	exit 1
}

# Whoever owns a link decides where it leads; and what leads to the kernel's own files would change them for everyone.
check() {
	if [ -L "$1" ] && [ "$(stat -c %u -- "$1")" != 0 ]; then
		fail "refusing $1: a symbolic link of another user's"
	fi
	for place in /proc /sys; do
		if [ -e "$1" ] && [ "$(stat -L -c %d -- "$1")" = "$(stat -c %d "$place")" ] && mountpoint -q "$place"; then
			fail "refusing $1: in a file system of the kernel's"
		fi
	done
}

# MODE OWNER PATH: a directory of that owner, with missing ones on the way to it.
make() {
	check "$3"
	if [ ! -e "$3" ]; then
		(umask 077 && mkdir -p -- "$3")
		chmod -- "$1" "$3"
	fi
	[ -d "$3" ] || fail "$3 is no directory"
	chown -- "$2" "$3"
}

# The same, but one that exists gets the mode too, and whatever else stands there will do.
make_volume() {
	if [ -e "$3" ] && [ ! -d "$3" ]; then
		check "$3"
		chown -- "$2" "$3"
	else
		make "$1" "$2" "$3"
		chmod -- "$1" "$3"
	fi
}

# OWNER SOURCE PATH: what the source is mounted over.
make_mount_point() {
	if [ -d "$2" ]; then
		make 0700 "$1" "$3"
	elif [ ! -e "$3" ]; then
		make 0700 "$1" "${3%/*}"
		(umask 077 && set -C && : >"$3")
		chown -- "$1" "$3"
	fi
}"""


def prepare_script(plan: ProcessPlan) -> str:
    """The script, each step with its reason.

    Raises:
        PlanError: A path is not UTF-8.
    """
    return "\n".join(lines(plan)) + "\n"


def lines(plan: ProcessPlan) -> Iterator[str]:
    preparation = plan.preparation
    yield "#!/bin/sh"
    yield f"# What the host needs before {plan.container_id} is started. For root; to run it again does no harm."
    yield FUNCTIONS
    yield from explained("the container's /", 'chown -- 0:0 "$(dirname -- "$0")/rootfs"')
    for requirement in preparation.requirements:
        path = quote(requirement.path, requirement.because)
        yield from explained(requirement.because, f"[ -e {path} ] || fail {quote(requirement.reason)}")
    for directory in preparation.directories:
        if directory.because != reasons.PIDFILE:
            yield from explained(directory.because, make_directory(directory))
    for volume in preparation.shared_volumes:
        path = quote(volume.path, volume.because)
        yield from explained(volume.because, f"mountpoint -q -- {path} || mount --bind -- {path} {path}")
        yield f"mount --make-shared -- {path}"
    for point in preparation.mount_points:
        yield from explained(point.because, make_mount_point(point))


def explained(because: str, command: str) -> Iterator[str]:
    """A command, below its reason."""
    yield ""
    yield f"# {because}"
    yield command


def make_directory(directory: Directory) -> str:
    """``make 0750 1000:1000 /var/vcap/sys/log/web``."""
    verb = "make_volume" if directory.chmod else "make"
    owner = f"{directory.uid}:{directory.gid}"
    return f"{verb} {directory.mode:04o} {owner} {quote(directory.path, directory.because)}"


def make_mount_point(point: MountPoint) -> str:
    """``make_mount_point 1000:1000 SOURCE PATH``."""
    paths = (quote(path, point.because) for path in (point.source, point.path))
    return " ".join(("make_mount_point", f"{point.uid}:{point.gid}", *paths))


def quote(text: str, because: str = "") -> str:
    """One word for the shell."""
    return shlex.quote(text_of(text, because))
