"""From words to numbers: a plan, and the descriptors that were opened for it, as a SpawnRequest.

This is the only dictionary between the plan, which speaks as people and manuals do, and the native
layer, which speaks as the kernel does. It looks at nothing but its arguments.
"""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Iterator, Sequence

from attrs import evolve, frozen

from bpm._native.request import Cover, SpawnRequest, Step, StepKind
from bpm.config import clean_path
from bpm.errors import PlanError
from bpm.plan import CAPABILITIES, Embedded, IdMap, Mount, ProcessPlan, Variable

# mount_setattr(2)
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8

SETS = {"ro": RDONLY, "noexec": NOEXEC, "nosuid": NOSUID, "nodev": NODEV}
CLEARS = {"rw": RDONLY, "exec": NOEXEC}
BINDS = {"bind": False, "rbind": True}
SHARED = "shared"

# clone(2)
NAMESPACES = {
    "mount": 0x0002_0000,
    "cgroup": 0x0200_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "network": 0x4000_0000,
}

# asm-generic/resource.h, in the order of their numbers
RLIMITS = (
    *("RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC"),
    *("RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE"),
    *("RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"),
)
NO_LIMIT = 2**64 - 1

# Where execvp(3) looks when the environment has no PATH.
DEFAULT_PATH = "/bin:/usr/bin"

# The item of a step that serves no mount of the plan: the root itself, the workdir.
NO_ITEM = -1


@frozen
class Source:
    """What a bind mount shows, opened: an O_PATH descriptor, and whether it is a directory."""

    fd: int
    is_directory: bool


@frozen
class Descriptors:
    """All that was opened for one spawn; the caller closes it.

    Args:
        stdio: What become the program's descriptors 0, 1 and 2.
        sources: One for each mount of the plan, in its order; None for what is no bind.
        cgroup: A cgroup v2 directory to be born in, or -1.
        tasks: `tasks` files of v1 cgroups.
        exit_record: Where init writes how the program ended, or -1.
        counters: Files of the cgroup whose last contents go there too.
        joins: One for each of the plan's joins.
    """

    stdio: tuple[int, int, int]
    sources: tuple[Source | None, ...]
    cgroup: int = -1
    tasks: tuple[int, ...] = ()
    exit_record: int = -1
    counters: tuple[int, ...] = ()
    joins: tuple[int, ...] = ()


def lower(
    plan: ProcessPlan, opened: Descriptors, seccomp_filter: bytes = b"", *, die_with_parent: bool = False
) -> SpawnRequest:
    """The request that carries the plan out.

    Raises:
        PlanError: A word of the plan has no number, or a string of it holds a NUL byte.
    """
    capabilities = capability_mask(plan)
    embedded = plan.embedded or Embedded(die_with_parent=die_with_parent)
    return SpawnRequest(
        argv=tuple(_bytes(text, "executable" if i == 0 else f"args[{i - 1}]") for i, text in enumerate(plan.argv)),
        env=tuple(_variable(variable) for variable in plan.env),
        candidates=candidates(plan),
        stdio=opened.stdio,
        namespaces=_sum(_word(NAMESPACES, n.kind, "namespace", n.because) for n in plan.namespaces),
        steps=steps(plan, opened.sources),
        covers=tuple(
            Cover(item, _bytes(path, because), read_only)
            for item, (path, because, read_only) in enumerate(
                [(c.path, c.because, False) for c in plan.masked] + [(c.path, c.because, True) for c in plan.read_only]
            )
        ),
        workdir=_bytes(plan.workdir.path, plan.workdir.because),
        hostname=None if plan.hostname is None else _bytes(plan.hostname, "hostname"),
        cgroup_fd=opened.cgroup,
        cgroup_tasks=opened.tasks,
        rlimits=tuple((_rlimit(r.name, r.because), _limit(r.soft), _limit(r.hard)) for r in plan.rlimits),
        uid=plan.identity.uid,
        gid=plan.identity.gid,
        groups=plan.identity.groups,
        bounding=capabilities,
        permitted=capabilities,
        inheritable=capabilities,
        ambient=capabilities,
        no_new_privs=plan.no_new_privs,
        filter=seccomp_filter,
        exit_fd=opened.exit_record,
        counters=opened.counters,
        die_with_parent=embedded.die_with_parent,
        uid_map=id_map(embedded.user_map),
        gid_map=id_map(embedded.group_map),
        keep_groups=embedded.without_groups,
        joins=tuple(
            (fd, _sum(_word(NAMESPACES, kind, "namespace", join.because) for kind in join.kinds))
            for fd, join in zip(opened.joins, embedded.joins, strict=True)
        ),
        passed=embedded.pass_fds,
        umask=embedded.umask,
        wall_time=embedded.wall_time_ns,
    )


def id_map(maps: Iterable[IdMap]) -> bytes | None:
    """The text of a uid_map, see user_namespaces(7); None for no map at all."""
    return b"".join(b"%d %d %d\n" % (one.inside, one.outside, one.count) for one in maps) or None


def lower_entry(
    plan: ProcessPlan, opened: Descriptors, container: int, seccomp_filter: bytes = b"", *, terminal: bool = False
) -> SpawnRequest:
    """The request that runs the plan's program in a container that exists, where all else of the plan was done before.

    Args:
        container: A pidfd of the container's init.
        terminal: Whether descriptor 0 becomes the program's controlling terminal.
    """
    rest = evolve(plan, mounts=(), nodes=(), links=(), masked=(), read_only=(), hostname=None)
    request = lower(rest, opened, seccomp_filter)
    return evolve(
        request,
        steps=(),
        namespaces=0,
        join_fd=container,
        join_namespaces=request.namespaces,
        terminal=terminal,
    )


def candidates(plan: ProcessPlan) -> tuple[bytes, ...]:
    """The files tried as the program, in turn, as execvp(3) does; relative ones are relative to the workdir."""
    program = plan.argv[0]
    if "/" in program:
        return (_bytes(program, "executable"),)
    path = next((variable.value for variable in plan.env if variable.name == "PATH"), DEFAULT_PATH)
    return tuple(_bytes(posixpath.join(entry, program), "executable") for entry in path.split(":"))


def capability_mask(plan: ProcessPlan) -> int:
    """The plan's capabilities, bit N for capability number N."""
    mask = 0
    for capability in plan.capabilities:
        if capability.name not in CAPABILITIES:
            raise PlanError(capability.because, f"unknown capability: {capability.name}")
        mask |= 1 << CAPABILITIES.index(capability.name)
    return mask


# Building the root


def steps(plan: ProcessPlan, sources: Sequence[Source | None]) -> tuple[Step, ...]:
    """How the root is built, in order.

    What a mount needs below it is made only in file systems that are the container's own. Below a bind
    lies the host, and there bpm never creates anything on the way to a mount: it exists, or the spawn
    fails with ENOENT.
    """
    return tuple(_Builder(plan, sources).build())


class _Builder:
    def __init__(self, plan: ProcessPlan, sources: Sequence[Source | None]) -> None:
        self.plan = plan
        self.sources = sources
        # What is mounted where, with no component that says nothing: volumes may be called //a/ or /a/./b.
        self.places = [clean_path("/" + mount.target) for mount in plan.mounts]
        self.targets = frozenset(self.places)
        self.own: dict[str, bool] = {}  # each mount made so far: is it a file system of our own that can hold names?
        self.made: set[str] = {"/"}
        self.sealed: list[Step] = []

    def build(self) -> Iterator[Step]:
        order = list(range(len(self.plan.mounts)))
        root = next((i for i in order if self.places[i] == "/"), None)
        if root is None:
            self.own["/"] = True
            yield Step(StepKind.FILESYSTEM, NO_ITEM, b"", source=b"tmpfs", options=((b"mode", b"0755"),))
            yield from self.furnish("/", NO_ITEM)
        else:
            order.remove(root)
            yield from self.mount(root)
        for item in order:
            source = self.sources[item]
            yield from self.place(self.places[item], item, directory=source is None or source.is_directory)
            yield from self.mount(item)
        yield from self.place(clean_path("/" + self.plan.workdir.path), NO_ITEM, directory=True)
        yield from self.sealed

    def mount(self, item: int) -> Iterator[Step]:
        """The mount itself, and the nodes and links that live in it."""
        mount = self.plan.mounts[item]
        self.own[self.places[item]] = mount.kind == "tmpfs"
        if mount.kind == "bind":
            yield _bind(mount, item, self.sources[item])
        else:
            if self.own[self.places[item]] and "ro" in mount.options:
                # Names are made in it first.
                mount = mount.without("ro")
                path = _relative(mount.target, mount.because)
                self.sealed.append(Step(StepKind.SEAL, item, path, set_attributes=RDONLY))
            yield _filesystem(mount, item)
        yield from self.furnish(self.places[item], item)

    def furnish(self, target: str, item: int) -> Iterator[Step]:
        """The plan's nodes and links whose names the mount at ``target`` holds."""
        for node in self.plan.nodes:
            if _home(node.path, self.targets) == target:
                self.made.add(node.path)
                path, device = _relative(node.path, node.because), _device(node.major, node.minor)
                yield Step(StepKind.NODE, item, path, mode=node.mode, device=device)
        for link in self.plan.links:
            if _home(link.path, self.targets) == target:
                self.made.add(link.path)
                path, leads_to = _relative(link.path, link.because), _bytes(link.target, link.because)
                yield Step(StepKind.LINK, item, path, source=leads_to)

    def place(self, path: str, item: int, *, directory: bool) -> Iterator[Step]:
        """What ``path`` needs to exist, as far as it lies in a file system of our own."""
        because = self.plan.mounts[item].because if item >= 0 else self.plan.workdir.because
        for parent in _parents(path):
            yield from self.make(parent, item, StepKind.DIRECTORY, because)
        yield from self.make(path, item, StepKind.DIRECTORY if directory else StepKind.FILE, because)

    def make(self, path: str, item: int, kind: StepKind, because: str) -> Iterator[Step]:
        if path in self.made or path in self.own or not self.own[_home(path, self.own)]:
            return
        self.made.add(path)
        mode = 0o755 if kind is StepKind.DIRECTORY else 0o644
        yield Step(kind, item, _relative(path, because), mode=mode)


def _filesystem(mount: Mount, item: int) -> Step:
    """A fresh file system. Words for the mount become attributes, the others go to the file system itself."""
    pairs: list[tuple[bytes, bytes | None]] = [(b"source", _bytes(mount.source, mount.because))]
    for word in mount.options:
        if word in SETS or word in CLEARS:
            continue
        name, equals, value = word.partition("=")
        pairs.append((_bytes(name, mount.because), _bytes(value, mount.because) if equals else None))
    return Step(
        StepKind.FILESYSTEM,
        item,
        _relative(mount.target, mount.because),
        source=_bytes(mount.kind, mount.because),
        options=tuple(pairs),
        set_attributes=_sum(SETS.get(word, 0) for word in mount.options),
    )


def _bind(mount: Mount, item: int, source: Source | None) -> Step:
    """A bind. A mount of the host's that is read-only there is writable here where the plan says so (`rw`)."""
    if source is None:
        raise PlanError(mount.because, f"the source of {mount.target} was not opened")
    for word in mount.options:
        if word not in SETS and word not in CLEARS and word not in BINDS and word != SHARED:
            raise PlanError(mount.because, f"unknown mount option: {word}")
    return Step(
        StepKind.BIND,
        item,
        _relative(mount.target, mount.because),
        source=_bytes(mount.source, mount.because),
        source_fd=source.fd,
        recursive=any(BINDS.get(word, False) for word in mount.options),
        shared=SHARED in mount.options,
        set_attributes=_sum(SETS.get(word, 0) for word in mount.options),
        clear_attributes=_sum(CLEARS.get(word, 0) for word in mount.options),
    )


def _parents(path: str) -> list[str]:
    """``/``, ``/a``, ``/a/b`` for ``/a/b/c``."""
    names = path.strip("/").split("/")
    return ["/" + "/".join(names[:i]) for i in range(len(names))]


def _home(path: str, targets: Container[str]) -> str:
    """The mount that holds the name ``path``: the deepest one above it."""
    return next((parent for parent in reversed(_parents(path)) if parent in targets), "/")


def _relative(path: str, because: str) -> bytes:
    return _bytes(clean_path("/" + path), because).lstrip(b"/")


# Words


def _bytes(text: str, because: str) -> bytes:
    """As the kernel has it. A name of a file may hold any byte but NUL."""
    if "\0" in text:
        raise PlanError(because, f"a NUL byte in {text!r}")
    return text.encode("utf-8", "surrogateescape")


def _variable(variable: Variable) -> bytes:
    if not variable.name:
        raise PlanError(variable.because, "an environment variable without a name")
    return _bytes(f"{variable.name}={variable.value}", variable.because)


def _word(table: dict[str, int], word: str, what: str, because: str) -> int:
    if word not in table:
        raise PlanError(because, f"unknown {what}: {word}")
    return table[word]


def _rlimit(name: str, because: str) -> int:
    if name not in RLIMITS:
        raise PlanError(because, f"unknown resource limit: {name}")
    return RLIMITS.index(name)


def _limit(value: int) -> int:
    return NO_LIMIT if value < 0 else value


def _device(major: int, minor: int) -> int:
    """As makedev(3) packs it: 12 bits of major, 20 of minor, in the kernel's split order."""
    return (minor & 0xFF) | ((major & 0xFFF) << 8) | ((minor & ~0xFF) << 12)


def _sum(bits: Iterable[int]) -> int:
    total = 0
    for bit in bits:
        total |= bit
    return total
