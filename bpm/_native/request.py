"""SpawnRequest: what the native layer is asked to do, in numbers, as a frozen Python value.

``runtime/lower.py`` makes one from a plan and the descriptors it opened; ``binding.py`` lays it out
as the C structs of ``abi.h``. Paths are bytes, as the kernel has them.
"""

from __future__ import annotations

from enum import IntEnum

from attrs import frozen


class Stage(IntEnum):
    """Where a spawn can stop. The names are interface: docs/stages.md, errors and tests use them."""

    SOURCES = 1
    CLONE = 2
    CGROUP = 3
    NAMESPACES = 4
    MOUNTS = 5
    ROOT = 6
    MASKS = 7
    WORKDIR = 8
    HOSTNAME = 9
    DESCRIPTORS = 10
    LIMITS = 11
    INIT = 12
    IDENTITY = 13
    CAPABILITIES = 14
    NO_NEW_PRIVS = 15
    SECCOMP = 16
    PROGRAM = 17

    @property
    def word(self) -> str:
        """The stage's name as people read it: ``no_new_privs``."""
        return self.name.lower()


class StepKind(IntEnum):
    """What one step of building the root makes."""

    DIRECTORY = 1
    FILE = 2
    NODE = 3
    LINK = 4
    FILESYSTEM = 5
    BIND = 6
    SEAL = 7


@frozen
class Step:
    """One step of building the root, in order.

    Args:
        kind: What is made.
        item: The index of the plan's mount it serves, for the report.
        path: Where, from the new root; no leading slash is needed. Empty for a FILESYSTEM or BIND: the root itself.
        source: LINK: its target. FILESYSTEM: the type. BIND in a user namespace: its path outside.
        options: FILESYSTEM: pairs of name and value for fsconfig(2); a value of None is a bare flag.
        source_fd: BIND: an O_PATH descriptor of what is bound.
        recursive: BIND: whether mounts below the source come along. Either way it is a slave of the host's mount,
        shared: unless this is set: then its top is a peer of the host's mount, which must be a shared one.
        set_attributes, clear_attributes: MOUNT_ATTR_* bits. Set ones hold for everything below too
            (AT_RECURSIVE); cleared ones only for the top mount. SEAL sets them of a mount that is made already.
        mode: DIRECTORY, FILE, NODE: permission bits.
        device: NODE: the device number, as os.makedev has it.
    """

    kind: StepKind
    item: int
    path: bytes
    source: bytes = b""
    options: tuple[tuple[bytes, bytes | None], ...] = ()
    source_fd: int = -1
    recursive: bool = False
    shared: bool = False
    set_attributes: int = 0
    clear_attributes: int = 0
    mode: int = 0
    device: int = 0


@frozen
class Cover:
    """A path inside to be masked, or made read-only; nothing happens where it does not exist.

    Args:
        item: The index in the plan's masked paths, or, after all of those, in its read-only ones.
    """

    item: int
    path: bytes
    read_only: bool


@frozen
class SpawnRequest:
    """One spawn.

    Args:
        argv, env: The program's arguments and environment.
        candidates: Paths tried in turn, as execvp(3) does: the first that exists and may be executed.
        stdio: The descriptors that become 0, 1 and 2.
        namespaces: CLONE_NEW* flags.
        cgroup_fd: A cgroup v2 directory to be born in (CLONE_INTO_CGROUP), or -1.
        cgroup_tasks: Open `tasks` files of v1 cgroups, which the child joins itself.
        steps: How the root is built; the first one makes the root itself.
        covers: What is masked and made read-only in it.
        workdir: Where the program starts, inside.
        hostname: Its host name, or None to keep a copy of the host's.
        rlimits: Triples of resource number, soft and hard limit (2**64 - 1 is no limit).
        uid, gid, groups: Who it runs as.
        bounding, permitted, inheritable, ambient: Capability sets as bit masks; effective is the permitted one.
        no_new_privs: Whether exec can no longer gain privileges.
        filter: The seccomp program, an array of struct sock_filter; empty for none.
        exit_fd: A descriptor init writes the exit record to, or -1.
        counters: Open files, eight at most, whose text at the program's end goes into the exit record.
        uid_map, gid_map: With CLONE_NEWUSER: lines of user_namespaces(7)'s grammar, or None.
        keep_groups: Whether setgroups(2) is given up, as an unprivileged user must to map its group.
        join_fd: A pidfd whose namespaces are joined in place of making a root, or -1; then there are no steps.
        join_namespaces: Which of its namespaces: CLONE_NEW* flags.
        terminal: Whether descriptor 0 becomes the controlling terminal, with the program in its foreground.
        die_with_parent: Whether all of it ends with the process that spawned it, whichever thread that was.
        joins: Pairs of a descriptor (of /proc/PID/ns, or a pidfd) and CLONE_NEW* flags: namespaces to be joined
            beside those that are made.
        passed: Descriptors that the program inherits at their own numbers.
        map_pipes: With CLONE_NEWUSER: the child writes a byte to the first when its maps may be written by someone
            else, and goes on when it reads one from the second; -1 where it writes them itself.
        template_fd: A mount namespace in which the root is made already, to start from a copy of it; or -1.
        umask: What the program starts with, where it has steps.
        wall_time: Nanoseconds after which init kills the program; 0 for ever.
    """

    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    candidates: tuple[bytes, ...]
    stdio: tuple[int, int, int]
    namespaces: int
    steps: tuple[Step, ...]
    covers: tuple[Cover, ...] = ()
    workdir: bytes = b"/"
    hostname: bytes | None = None
    cgroup_fd: int = -1
    cgroup_tasks: tuple[int, ...] = ()
    rlimits: tuple[tuple[int, int, int], ...] = ()
    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    bounding: int = 0
    permitted: int = 0
    inheritable: int = 0
    ambient: int = 0
    no_new_privs: bool = True
    filter: bytes = b""
    exit_fd: int = -1
    counters: tuple[int, ...] = ()
    uid_map: bytes | None = None
    gid_map: bytes | None = None
    keep_groups: bool = False
    join_fd: int = -1
    join_namespaces: int = 0
    terminal: bool = False
    die_with_parent: bool = False
    joins: tuple[tuple[int, int], ...] = ()
    passed: tuple[int, ...] = ()
    map_pipes: tuple[int, int] = (-1, -1)
    template_fd: int = -1
    umask: int = 0o022
    wall_time: int = 0


@frozen
class Spawned:
    """A program that runs: its init's pid in our pid namespace, and a pidfd of it that the caller closes."""

    pid: int
    pidfd: int


class SpawnFailure(Exception):
    """The native layer's whole answer when it stops: no words yet.

    Args:
        stage: Where.
        item: Which entry of that stage, or -1.
        number: The errno; 0 with ``status`` set when init died without an answer.
        status: The waitid(2) status of an init that died without an answer: minus the signal, or its exit code.
    """

    def __init__(self, stage: Stage, item: int, number: int, status: int | None = None) -> None:
        self.stage = stage
        self.item = item
        self.number = number
        self.status = status
        super().__init__(stage, item, number, status)
