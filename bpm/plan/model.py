"""ProcessPlan: what will be done, in words, in order, each entry with its ``because``.

Words here, numbers in ``_native``; ``runtime/lower.py`` is the only dictionary between them.
Everything is frozen and ordered, so equal inputs give equal JSON bytes (``codec.py``).
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import evolve, frozen


@frozen
class Mount:
    """One mount, from its strictest form; ``writable()`` and ``executable()`` loosen it.

    Args:
        target: Where it appears inside.
        source: The path outside for a bind; the source's name for a fresh file system.
        kind: ``bind``, or the file system's type: proc, tmpfs, devpts, mqueue, sysfs.
        options: Words as mount(8) has them: bind or rbind; ro, rw; exec, noexec; nosuid; nodev; shared;
            and ``name=value`` or bare words for the file system itself.
        because: The key of bpm.yml, or the named default, that asked for it.
    """

    target: str
    source: str
    kind: str
    options: tuple[str, ...]
    because: str

    def _swap(self, old: str, new: str) -> Mount:
        return evolve(self, options=tuple(new if word == old else word for word in self.options))

    def writable(self) -> Mount:
        """The same mount, open for writing."""
        return self._swap("ro", "rw")

    def executable(self) -> Mount:
        """The same mount, whose programs may be executed."""
        return self._swap("noexec", "exec")

    def shared(self) -> Mount:
        """The same mount, below which those outside see what is mounted inside."""
        return evolve(self, options=(*self.options, "shared"))

    def without(self, *words: str) -> Mount:
        """The same mount without these option words."""
        return evolve(self, options=tuple(word for word in self.options if word not in words))


@frozen
class Node:
    """A character device made in the container's own /dev."""

    path: str
    major: int
    minor: int
    mode: int
    because: str


@frozen
class Link:
    """A symbolic link made in the container's own /dev."""

    path: str
    target: str
    because: str


@frozen
class Covered:
    """A path inside that is masked (made empty and unreadable) or made read-only, where it exists."""

    path: str
    because: str


@frozen
class Dropped:
    """A mount that was asked for and is not made, and why: a sentence of ``plan/mounts.py``."""

    mount: Mount
    reason: str


@frozen
class Notice:
    """Something asked for that is ignored, as upstream ignores it: said to the operator, and the start goes on."""

    text: str
    because: str


@frozen
class Variable:
    """One environment variable."""

    name: str
    value: str
    because: str


@frozen
class Workdir:
    """The working directory, inside."""

    path: str
    because: str


@frozen
class Identity:
    """Who the program runs as, by number, with no groups but these."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    because: str


@frozen
class Capability:
    """A capability the program has, named without CAP_: bounding, permitted, inheritable, ambient, effective."""

    name: str
    because: str


@frozen
class Namespace:
    """A namespace of the container's own: mount, pid, ipc, uts; for a sandbox also network, cgroup and user."""

    kind: str
    because: str


@frozen
class Rlimit:
    """A resource limit, soft and hard alike in bytes or units; -1 is RLIM_INFINITY.

    Args:
        name: As setrlimit(2) has it, such as ``RLIMIT_NOFILE``.
    """

    name: str
    soft: int
    hard: int
    because: str


@frozen
class CgroupSetting:
    """A value written to one file of the container's cgroup, in the order of the plan.

    Args:
        controller: Which controller's hierarchy the file is in, such as ``memory``.
        file: The file's name, such as ``memory.limit_in_bytes`` or ``memory.max``.
        value: What is written, in the kernel's grammar.
        because: The key of bpm.yml, or the named default, that asked for it.
        optional: Whether the start goes on, with a warning, where this host does not have the file or refuses us.
    """

    controller: str
    file: str
    value: str
    because: str
    optional: bool = False


@frozen
class CgroupDirectory:
    """One directory that the container's processes are in.

    Args:
        controllers: The controllers of that hierarchy that are used here; none where it only keeps track.
        version: 1 or 2.
        path: The directory, absolute, on the host.
        in_scope: Whether systemd makes it, as a part of the scope.
    """

    controllers: tuple[str, ...]
    version: int
    path: str
    because: str
    in_scope: bool = False


@frozen
class CgroupMount:
    """A cgroup v1 hierarchy that is mounted first, since a setting needs it and this host has not mounted it.

    Args:
        kind: ``cgroup``; or ``tmpfs`` for what holds the mount points.
        options: As mount(8) has them: for a hierarchy, its controllers.
        path: Where, on the host.
    """

    kind: str
    options: tuple[str, ...]
    path: str
    because: str


@frozen
class Evacuation:
    """Processes that must leave bpm's own cgroup v2, which could not give controllers to its children otherwise.

    Args:
        path: bpm's own cgroup.
        leaf: Its child, where they go.
    """

    path: str
    leaf: str
    because: str


@frozen
class DeviceRule:
    """Devices that may be used; ``str()`` gives the line that cgroup v1's devices.allow takes.

    Args:
        kind: ``c`` or ``b``.
        major, minor: The device's numbers; None for any.
        access: Some of ``r``, ``w`` and ``m``, the last for mknod(2).
    """

    kind: str
    major: int | None
    minor: int | None
    access: str

    def __str__(self) -> str:
        major, minor = ("*" if number is None else str(number) for number in (self.major, self.minor))
        return f"{self.kind} {major}:{minor} {self.access}"


@frozen
class DeviceProgram:
    """A program of type BPF_PROG_TYPE_CGROUP_DEVICE for the container's cgroup v2: what no rule allows is refused.

    Args:
        optional: Whether the start goes on, with a warning, where the kernel refuses it.
    """

    rules: tuple[DeviceRule, ...]
    because: str
    optional: bool = False


@frozen
class ScopeProperty:
    """A property of a systemd unit, under its D-Bus name, such as ``MemoryMax``."""

    name: str
    value: int
    because: str


@frozen
class Scope:
    """The transient scope around the container, where systemd is pid 1: a delegated one.

    Args:
        unit: Its name.
        slice: The slice that it is in.
        properties: Its limits, which the settings hold too: systemd writes these, in its own time.
    """

    unit: str
    slice: str
    properties: tuple[ScopeProperty, ...]
    because: str


@frozen
class Cgroup:
    """The container's cgroup: one directory of this name in each hierarchy needed, below bpm's own or in a scope."""

    name: str
    directories: tuple[CgroupDirectory, ...] = ()
    settings: tuple[CgroupSetting, ...] = ()
    device_program: DeviceProgram | None = None
    mounts: tuple[CgroupMount, ...] = ()
    evacuation: Evacuation | None = None
    scope: Scope | None = None


@frozen
class SyscallRule:
    """An allowed syscall under a condition on one argument: ``(argument & mask) == equals``, as 64-bit values.

    Several rules of one syscall allow it when any of them holds.

    Args:
        name: The syscall's name.
        argument: Which argument, counted from 0.
        equals: What it is compared with.
        mask: The bits of it that are compared.
    """

    name: str
    argument: int
    equals: int
    mask: int = 0xFFFF_FFFF_FFFF_FFFF


@frozen
class SeccompPolicy:
    """Which syscalls the program may make, by name.

    Args:
        name: How people call it, such as ``default``.
        default: The errno of what is not allowed, such as ``EPERM``; or ``KILL``, which ends the program; or ``LOG``,
            which lets it through and has the kernel write a line.
        allow: Allowed outright, sorted.
        allow_if: Allowed under a condition.
        errno_of: Pairs of a syscall and the errno it gets instead of the default.
        unknown: The errno of syscalls newer than our tables, such as ``ENOSYS``.
        because: The named default or key that asked for it.
        deny_if: Given the default's answer under a condition, and otherwise allowed.
    """

    name: str
    default: str
    allow: tuple[str, ...]
    allow_if: tuple[SyscallRule, ...]
    errno_of: tuple[tuple[str, str], ...]
    unknown: str
    because: str
    deny_if: tuple[SyscallRule, ...] = ()

    def allowing(self, *names: str) -> SeccompPolicy:
        """The same policy, with these syscalls allowed outright.

        Args:
            names: The syscalls' names.

        Returns:
            Another policy.
        """
        return evolve(self._without(names), allow=tuple(sorted({*self.allow, *names})), name="own")

    def denying(self, *names: str, errno: str | None = None) -> SeccompPolicy:
        """The same policy, with these syscalls refused.

        Args:
            names: The syscalls' names.
            errno: The errno they get, such as ``ENOSYS``; the policy's default if None.

        Returns:
            Another policy.
        """
        pairs = tuple((name, errno) for name in names) if errno else ()
        cut = self._without(names)
        return evolve(cut, errno_of=cut.errno_of + pairs, name="own")

    def allowing_if(self, *rules: SyscallRule) -> SeccompPolicy:
        """The same policy, with the rules' syscalls allowed when a rule of theirs holds, and not otherwise.

        Args:
            rules: A syscall each, with what an argument has to be.

        Returns:
            Another policy.
        """
        cut = self._without([rule.name for rule in rules])
        return evolve(cut, allow_if=cut.allow_if + rules, name="own")

    def denying_if(self, *rules: SyscallRule) -> SeccompPolicy:
        """The same policy, with the rules' syscalls refused when a rule of theirs holds, and allowed otherwise.

        Args:
            rules: A syscall each, with what an argument has to be.

        Returns:
            Another policy.
        """
        cut = self._without([rule.name for rule in rules])
        return evolve(cut, deny_if=cut.deny_if + rules, name="own")

    def logging(self) -> SeccompPolicy:
        """The same policy, which refuses nothing: the kernel's log names what it would have refused by default."""
        return evolve(self, default="LOG", unknown="LOG", name="own")

    def killing(self) -> SeccompPolicy:
        """The same policy, whose default is to end the program, by SIGSYS."""
        return evolve(self, default="KILL", name="own")

    def _without(self, names: Iterable[str]) -> SeccompPolicy:
        gone = frozenset(names)
        return evolve(
            self,
            allow=tuple(name for name in self.allow if name not in gone),
            allow_if=tuple(rule for rule in self.allow_if if rule.name not in gone),
            deny_if=tuple(rule for rule in self.deny_if if rule.name not in gone),
            errno_of=tuple(pair for pair in self.errno_of if pair[0] not in gone),
        )


@frozen
class Directory:
    """A directory that the host has before the process starts.

    Args:
        path: Outside.
        mode: Its permission bits when bpm creates it.
        uid, gid: Its owner; an existing one is chowned too.
        chmod: Whether an existing one is given ``mode`` too.
        any_kind: Whether something else that exists there, a file or a socket, is as good: it is chowned only.
    """

    path: str
    mode: int
    uid: int
    gid: int
    because: str
    chmod: bool = True
    any_kind: bool = False


@frozen
class LogFile:
    """A log file, opened for appending and never through a link.

    Args:
        stream: ``stdout`` or ``stderr``.
        path: Outside.
    """

    stream: str
    path: str
    mode: int
    uid: int
    gid: int
    because: str


@frozen
class SharedVolume:
    """A path outside that is made a shared mount, under its lock, before the process starts."""

    path: str
    because: str


@frozen
class MountPoint:
    """What a mount hangs over, in a directory of the job's own that another mount shows there.

    Args:
        path: Outside. Parents that are missing are made, too.
        source: What is mounted: a directory is made for a directory, an empty file for all else.
        uid, gid: The owner of what is made.
    """

    path: str
    source: str
    uid: int
    gid: int
    because: str


@frozen
class Hook:
    """A program run on the host, as root, with the container's environment, before the process starts."""

    executable: str
    because: str


@frozen
class Requirement:
    """A path outside that must exist, and what to say where it does not."""

    path: str
    reason: str
    because: str


@frozen
class Preparation:
    """What bpm does on the host before the clone, in this order."""

    requirements: tuple[Requirement, ...] = ()
    directories: tuple[Directory, ...] = ()
    log_files: tuple[LogFile, ...] = ()
    shared_volumes: tuple[SharedVolume, ...] = ()
    pre_start: Hook | None = None
    mount_points: tuple[MountPoint, ...] = ()


@frozen
class Joined:
    """Namespaces that exist and are joined.

    Args:
        kinds: Which, such as ``network``.
        path: A file of /proc/PID/ns, or one that such a file is bound to; empty for a pidfd.
        pidfd: A pidfd of a process that is in them; -1 for a path.
    """

    kinds: tuple[str, ...]
    path: str
    pidfd: int
    because: str


@frozen
class IdMap:
    """So many ids from ``inside`` on are those from ``outside`` on, of the user namespace above."""

    inside: int
    outside: int
    count: int


@frozen
class Embedded:
    """What only a sandbox can ask for, not bpm.yml.

    Args:
        die_with_parent: Whether all of it ends with the process that spawned it.
        wall_time_ns: How long the program may take before init kills it; 0 for as long as it likes.
        pass_fds: Descriptors that it inherits at their own numbers.
        umask: What it starts with.
        joins: Namespaces that it shares with others.
        user_map, group_map: The ids of its user namespace; empty where it has none of its own.
        maps_by_helper: Whether newuidmap(1) and newgidmap(1) have to write them.
        without_groups: Whether setgroups(2) is given up for it, as an ordinary user must who maps a group alone.
    """

    die_with_parent: bool = False
    wall_time_ns: int = 0
    pass_fds: tuple[int, ...] = ()
    umask: int = 0o022
    joins: tuple[Joined, ...] = ()
    user_map: tuple[IdMap, ...] = ()
    group_map: tuple[IdMap, ...] = ()
    maps_by_helper: bool = False
    without_groups: bool = False


@frozen
class ProcessPlan:
    """Everything that starting one process means. If it is not in here, it is not done.

    Args:
        job, process: Their names.
        container_id: The name of all that the container leaves on the host.
        root: The BOSH root.
        argv: The program and its arguments.
        env: Its whole environment, sorted by name.
        workdir: Where it starts, inside.
        identity: Its user, group and further groups.
        capabilities: Those that it keeps.
        no_new_privs: Whether it can gain no privilege by executing a program.
        seccomp: Which syscalls it may make; None for all.
        namespaces: Those that are made for it.
        hostname: Its host's name; None where that is the host's.
        mounts: What its root is made of, in the order in which it is mounted.
        nodes, links: Devices and symbolic links that are made there.
        masked, read_only: What is covered there, where it exists.
        rlimits: What each of its processes may use.
        cgroup: What all of them together may use.
        preparation: What is done on the host before.
        shutdown_signal: ``TERM`` or ``INT``: what asks it to stop.
        dropped: What was asked for and is not mounted, each with the reason.
        notices: What an operator should know about it.
        embedded: What only a Sandbox can ask for; None for a job.
    """

    job: str
    process: str
    container_id: str
    root: str
    argv: tuple[str, ...]
    env: tuple[Variable, ...]
    workdir: Workdir
    identity: Identity
    capabilities: tuple[Capability, ...]
    no_new_privs: bool
    seccomp: SeccompPolicy | None
    namespaces: tuple[Namespace, ...]
    hostname: str | None
    mounts: tuple[Mount, ...]
    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    masked: tuple[Covered, ...]
    read_only: tuple[Covered, ...]
    rlimits: tuple[Rlimit, ...]
    cgroup: Cgroup
    preparation: Preparation
    shutdown_signal: str
    dropped: tuple[Dropped, ...] = ()
    notices: tuple[Notice, ...] = ()
    embedded: Embedded | None = None

    def to_json(self) -> str:
        """The plan as JSON text: the same plan, the same bytes. ``bpm.ProcessPlan.from_json`` reads it back."""
        from bpm.plan.codec import to_json

        return to_json(self)

    @staticmethod
    def from_json(text: str) -> ProcessPlan:
        """The plan that ``to_json()`` wrote.

        Args:
            text: What it wrote.

        Returns:
            An equal plan.

        Raises:
            RecordError: The text is no plan of ours.
        """
        from bpm.plan.codec import from_json

        return from_json(text)
