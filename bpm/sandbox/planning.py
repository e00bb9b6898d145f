"""From a sandbox and one look around to a ProcessPlan. Pure: the same two values, the same plan."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import evolve

from bpm.config import ProcessConfig
from bpm.errors import PlanError
from bpm.layout import Layout
from bpm.plan import (
    CAPABILITIES,
    DEFAULT_POLICY,
    DEVICE_LINKS,
    DEVICE_NODES,
    KERNEL_MOUNTS,
    MASKED_PATHS,
    READ_ONLY_PATHS,
    Asked,
    Capability,
    Cgroup,
    CgroupDirectory,
    CgroupSetting,
    Covered,
    Embedded,
    Identity,
    Joined,
    Link,
    Mount,
    Namespace,
    Node,
    Notice,
    Preparation,
    ProcessPlan,
    SeccompPolicy,
    Variable,
    Workdir,
    plan_evacuation,
    plan_limits,
    plan_rlimits,
    sort_by_depth,
)
from bpm.sandbox.checks import check_fields
from bpm.sandbox.ids import ROOTLESS, map_ids
from bpm.sandbox.pieces import Bind, Dev, Join, Piece, Proc, Symlink, Sys, Tmpfs

if TYPE_CHECKING:
    from bpm.sandbox.facts import Surroundings
    from bpm.sandbox.sandbox import Sandbox

KINDS = ("mount", "pid", "ipc", "uts", "network", "cgroup")
SHARABLE = KINDS[1:]

DEFAULT_ENVIRONMENT = {
    "HOME": "/",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
}

ROOT = "default: root"
DEFAULT = "default: strict"

NULL = "/dev/null"
STANDARD_NODES = tuple(node.path for node in DEVICE_NODES)

CGROUP_NAME = "bpm-sandbox"
"""What names of cgroups begin with; each spawn has its own."""

BILLION = 1_000_000_000


class _Asked(Asked):
    """One whose keys are a sandbox's fields."""

    def key(self, path: str) -> str:
        return path


def make_sandbox_plan(
    sandbox: Sandbox,
    around: Surroundings,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    pass_fds: Sequence[int] = (),
) -> ProcessPlan:
    """All that running a program in this sandbox means.

    Raises:
        PlanError: It cannot be had here, or not safely; the error names the field.
    """
    return _Planner(sandbox, around).plan(tuple(argv), env, workdir, tuple(pass_fds))


def check_workdir(path: str, key: str) -> str:
    """A directory in which a program may start.

    Raises:
        PlanError: It is none, under that key.
    """
    if not path.startswith("/"):
        raise PlanError(key, f"not an absolute path: {path!r}")
    if path == "/proc" or path.startswith("/proc/"):
        raise PlanError(key, f"the working directory cannot be at or below /proc: {path}")
    return path


class _Planner:
    def __init__(self, sandbox: Sandbox, around: Surroundings) -> None:
        self.sandbox = sandbox
        self.around = around
        self.notices: list[Notice] = []

    def plan(
        self, argv: tuple[str, ...], env: Mapping[str, str] | None, workdir: str | None, pass_fds: tuple[int, ...]
    ) -> ProcessPlan:
        sandbox = self.sandbox
        check_fields(sandbox)
        mounts = tuple(self.mounts())
        nodes, links = self.devices()
        masked, read_only = self.covers()
        variables = sandbox.env if env is None else env
        process = posixpath.basename(argv[0]) if argv else ""
        return ProcessPlan(
            job="sandbox",
            process=process or "sandbox",
            container_id="sandbox",
            root="/",
            argv=argv,
            env=tuple(Variable(name, variables[name], f"env.{name}") for name in sorted(variables)),
            workdir=Workdir(check_workdir(sandbox.workdir if workdir is None else workdir, "workdir"), "workdir"),
            identity=Identity(self.around.user, self.around.group, self.around.groups, "user"),
            capabilities=tuple(self.capabilities()),
            no_new_privs=True,
            seccomp=self.seccomp(),
            namespaces=tuple(self.namespaces()),
            hostname=None if self.is_outside("uts") else sandbox.hostname,
            mounts=mounts,
            nodes=nodes,
            links=links,
            masked=masked,
            read_only=read_only,
            rlimits=plan_rlimits(self.asked()),
            cgroup=self.cgroup(),
            preparation=Preparation(),
            shutdown_signal="TERM",
            embedded=self.embedded(pass_fds),
            notices=tuple(self.notices),
        )

    def asked(self) -> Asked:
        process = ProcessConfig(name="sandbox", limits=self.sandbox.limits)
        return _Asked(process=process, index=0, paths=Layout("/").job("sandbox"), facts=self.around.host)

    # Files

    def pieces(self) -> Iterator[tuple[Piece, str]]:
        root = self.sandbox.root
        if root is not None:
            yield Bind(root, "/") if isinstance(root, str) else evolve(root, target="/"), "root"
        for i, piece in enumerate(self.sandbox.mounts):
            yield piece, f"mounts[{i}]"

    def mounts(self) -> list[Mount]:
        made = [] if self.sandbox.root else [Mount("/", "tmpfs", "tmpfs", ("ro", "nosuid", "nodev", "mode=755"), ROOT)]
        for piece, because in self.pieces():
            made += self.mounts_of(piece, because)
        seen: dict[str, Mount] = {}
        for mount in made:
            path = mount.target
            if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
                raise PlanError(mount.because, f"not a clean absolute path: {path!r}")
            if seen.setdefault(path, mount) is not mount:
                raise PlanError(mount.because, f"{path} is mounted twice: {seen[path].because} does it too")
            if path.startswith("/proc/"):
                raise PlanError(mount.because, f"nothing can be mounted below /proc: {path}")
        return sort_by_depth(self.asked(), made, [])

    def mounts_of(self, piece: Piece, because: str) -> list[Mount]:
        rootless = not self.around.root
        if isinstance(piece, Bind):
            return self.bind(piece, because)
        if isinstance(piece, Tmpfs):
            words = ["rw", "nosuid", "nodev", f"mode={piece.mode:o}"]
            words += [] if piece.executable else ["noexec"]
            words += [f"size={piece.size}"] if piece.size is not None else []
            return [Mount(piece.target, "tmpfs", "tmpfs", tuple(words), because)]
        if isinstance(piece, Proc):
            self.refuse_foreign_proc(because)
            proc = Mount("/proc", "proc", "proc", ("nosuid", "noexec", "nodev"), because)
            return [proc, *self.mask(piece, because)]
        if isinstance(piece, Dev):
            return list(self.dev(piece, because))
        if isinstance(piece, Sys):
            # sysfs shows the devices of a network namespace, and only its owner may mount it.
            if rootless and self.is_outside("network"):
                return self.bind(Bind("/sys", executable=False), because)
            return [evolve(_kernel_mount("/sys"), because=because)]
        return []

    def mask(self, piece: Proc, because: str) -> list[Mount]:
        """Files are masked with /dev/null, so there has to be one."""
        if not piece.masked or any(isinstance(other, Dev) or _covers_null(other) for other in self.sandbox.mounts):
            return []
        return [_device(NULL, because)]

    def refuse_foreign_proc(self, because: str) -> None:
        if any("pid" in join.kinds for join in self.sandbox.join):
            raise PlanError(
                because, "a pid namespace that is joined has no /proc here: only who is in it could mount that"
            )
        if not self.around.root and self.is_outside("pid"):
            raise PlanError(because, "an ordinary user can mount no /proc for the host's pid namespace: bind it")

    def bind(self, piece: Bind, because: str) -> list[Mount]:
        if piece.optional and piece.source not in self.around.existing:
            return []
        if not piece.source.startswith("/"):
            raise PlanError(because, f"the source of a bind must be an absolute path: {piece.source!r}")
        executable = not piece.writable if piece.executable is None else piece.executable
        # What hides below other mounts stays hidden from an ordinary user: only all of it can be bound.
        recursive = piece.recursive or not self.around.root
        words = ["rbind" if recursive else "bind", "nosuid", "nodev"]
        words += [] if executable else ["noexec"]
        words += ["rw" if piece.writable else "ro"]
        return [Mount(piece.target or piece.source, piece.source, "bind", tuple(words), because)]

    def dev(self, piece: Dev, because: str) -> Iterator[Mount]:
        yield Mount("/dev", "tmpfs", "tmpfs", ("ro", "nosuid", "noexec", "mode=755"), because)
        if not self.around.root:
            # mknod(2) takes no device from an ordinary user; those of the host can be bound.
            for path in STANDARD_NODES:
                yield _device(path, because)
        if piece.terminals:
            mount = evolve(_kernel_mount("/dev/pts"), because=because)
            yield mount if self.around.root else mount.without("gid=5")
        if piece.shared_memory:
            yield evolve(_kernel_mount("/dev/shm"), because=because)

    def devices(self) -> tuple[tuple[Node, ...], tuple[Link, ...]]:
        nodes: list[Node] = []
        links: list[Link] = []
        for piece, because in self.pieces():
            if isinstance(piece, Dev):
                nodes += [evolve(node, because=because) for node in DEVICE_NODES] if self.around.root else []
                links += [
                    evolve(link, because=because)
                    for link in DEVICE_LINKS
                    if link.path != "/dev/core" and (piece.terminals or link.path != "/dev/ptmx")
                ]
            elif isinstance(piece, Symlink):
                links.append(Link(piece.path, piece.to, because))
        return tuple(nodes), tuple(links)

    def covers(self) -> tuple[tuple[Covered, ...], tuple[Covered, ...]]:
        tops: dict[str, str] = {}
        for piece, because in self.pieces():
            if isinstance(piece, Proc) and piece.masked:
                tops["proc"] = because
            elif isinstance(piece, Sys):
                tops["sys"] = because

        def those(paths: tuple[Covered, ...]) -> tuple[Covered, ...]:
            found = [(path, tops.get(path.path.split("/")[1])) for path in paths]
            return tuple(evolve(path, because=because) for path, because in found if because is not None)

        return those(MASKED_PATHS), those(READ_ONLY_PATHS)

    # Who, and in which namespaces

    def capabilities(self) -> Iterator[Capability]:
        held = self.around.host.capabilities
        for i, name in enumerate(self.sandbox.capabilities):
            because = f"capabilities[{i}]"
            if name not in CAPABILITIES:
                meant = name.upper().removeprefix("CAP_")
                raise PlanError(
                    because, f"unknown capability: {name}" + (f"; write {meant}" if meant in CAPABILITIES else "")
                )
            if self.around.root and held is not None and name not in held:
                raise PlanError(because, f"cannot give the capability {name}: our own bounding set lacks it")
            yield Capability(name, because)

    def seccomp(self) -> SeccompPolicy | None:
        wanted = self.sandbox.seccomp
        if wanted is None:
            return None
        policy = DEFAULT_POLICY if isinstance(wanted, str) else wanted
        if isinstance(wanted, str) and wanted != "default":
            raise PlanError("seccomp", f"there is no policy named {wanted!r}, only 'default'")
        return evolve(policy, because="seccomp")

    def is_outside(self, kind: str) -> bool:
        """Whether that namespace is not made for this sandbox."""
        return kind in self.sandbox.share or any(kind in join.kinds for join in self.sandbox.join)

    def namespaces(self) -> Iterator[Namespace]:
        for i, kind in enumerate(self.sandbox.share):
            if kind not in SHARABLE:
                raise PlanError(f"share[{i}]", f"cannot be shared: {kind!r}; what can is {', '.join(SHARABLE)}")
        if not self.around.root:
            yield Namespace("user", ROOTLESS)
        for kind in KINDS:
            if not self.is_outside(kind):
                yield Namespace(kind, DEFAULT)

    def joins(self) -> Iterator[Joined]:
        for i, join in enumerate(self.sandbox.join):
            because = f"join[{i}]"
            self.check_join(join, because)
            path, pidfd = (join.where, -1) if isinstance(join.where, str) else ("", join.where)
            yield Joined(join.kinds, path, pidfd, because)

    def check_join(self, join: Join, because: str) -> None:
        for kind in join.kinds:
            if kind not in SHARABLE:
                raise PlanError(because, f"cannot be joined: {kind!r}; what can is {', '.join(SHARABLE)}")
            if kind in self.sandbox.share:
                raise PlanError(because, f"{kind} is both shared and joined")
        if not join.kinds or (isinstance(join.where, str) and len(join.kinds) != 1):
            raise PlanError(because, "a path leads to one namespace, of the kind that `kinds` names")
        if not self.around.root:
            raise PlanError(because, "without root, no namespace of others can be joined")

    def embedded(self, pass_fds: tuple[int, ...]) -> Embedded:
        for fd in pass_fds:
            if fd < 3:
                raise PlanError("pass_fds", f"descriptor {fd} is passed as stdin, stdout or stderr")
        seconds = self.sandbox.limits.wall_time
        ids = map_ids(self.around, best_effort=self.sandbox.best_effort)
        self.notices += ids.notices
        return Embedded(
            die_with_parent=self.sandbox.die_with_parent,
            wall_time_ns=int(seconds * BILLION) if seconds is not None else 0,
            pass_fds=tuple(sorted(set(pass_fds))),
            umask=self.sandbox.umask,
            joins=tuple(self.joins()),
            user_map=ids.users,
            group_map=ids.groups,
            maps_by_helper=ids.by_helper,
            without_groups=ids.keeps_groups,
        )

    # What it may use

    def cgroup(self) -> Cgroup:
        """A cgroup where a limit needs one; and to find what is left, where it is in no pid namespace of its own."""
        settings = [limit.setting for limit in plan_limits(self.asked())]
        needed: list[tuple[str, str]] = []
        facts = self.around.host
        directories: dict[tuple[int, str], CgroupDirectory] = {}
        if self.is_outside("pid"):
            needed.append(("", "share"))
        needed += [(setting.controller, setting.because) for setting in settings]
        if settings or self.sandbox.measure:
            needed += self.measured()
        dropped: set[str] = set()
        for controller, because in needed:
            home = facts.home(controller) if controller else facts.unified or facts.home("freezer")
            if home is None:
                continue
            own = home.mount_point + home.own_path.rstrip("/")
            if own in self.around.missing_cgroups:
                if because != "measure" or self.sandbox.measure:
                    self.do_without(because, own)
                dropped.add(controller)
                continue
            key = (home.version, home.mount_point)
            known = directories.get(key)
            names = (*(known.controllers if known else ()), *([controller] if controller else []))
            path = posixpath.join(own, CGROUP_NAME)
            first = known.because if known else because
            directories[key] = CgroupDirectory(tuple(dict.fromkeys(names)), home.version, path, first)
        kept: tuple[CgroupSetting, ...] = tuple(s for s in settings if s.controller not in dropped)
        made = tuple(directories.values())
        return Cgroup(CGROUP_NAME, made, kept, evacuation=plan_evacuation(facts, made))

    def measured(self) -> list[tuple[str, str]]:
        """The controllers that count memory and time, for whoever has a cgroup anyway or asked for it."""
        names = ("memory", "cpuacct" if self.around.host.controller("cpuacct") else "cpu")
        return [(name, "measure") for name in names]

    def do_without(self, because: str, path: str) -> None:
        text = (
            f"an ordinary user may make no cgroup below {path}, which this takes: have it delegated (Delegate=yes of a "
            "systemd unit), or allow for it with best_effort=True"
        )
        if because == "share":
            text += "; what the program leaves behind in a shared pid namespace could not be found again"
        if not self.sandbox.best_effort:
            raise PlanError(because, text)
        notice = Notice(f"not limited: no cgroup can be made below {path}", because)
        if notice not in self.notices:
            self.notices.append(notice)


def _kernel_mount(target: str) -> Mount:
    return next(mount for mount in KERNEL_MOUNTS if mount.target == target)


def _device(path: str, because: str) -> Mount:
    """A device of the host's."""
    return Mount(path, path, "bind", ("rbind", "nosuid", "noexec"), because)


def _covers_null(piece: Piece) -> bool:
    return isinstance(piece, Bind) and (piece.target or piece.source) in ("/dev", NULL)
