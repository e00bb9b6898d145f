"""Sandbox: what a program may see and use, as a frozen value, and the calls that run programs in it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import Factory, evolve, field, frozen
from attrs.validators import instance_of

from bpm.config import Limits, Variables
from bpm.plan import ProcessPlan, SeccompPolicy
from bpm.sandbox.command import Arguments, words_of
from bpm.sandbox.facts import look_around
from bpm.sandbox.pieces import Bind, Dev, Join, Piece, Proc, Symlink, Sys, Tmpfs, as_names, as_path
from bpm.sandbox.planning import DEFAULT_ENVIRONMENT, make_sandbox_plan
from bpm.sandbox.prepared import Prepared
from bpm.sandbox.runner import Runner
from bpm.sandbox.spawner import Spawner

SYSTEM = ("/bin", "/etc", "/lib", "/lib64", "/sbin", "/usr")


def _pieces(pieces: Iterable[Piece]) -> tuple[Piece, ...]:
    return _all_of(Piece, pieces, "mounts")


def _joins(joins: Iterable[Join]) -> tuple[Join, ...]:
    return _all_of(Join, joins, "join")


def _all_of(kind: Any, values: Iterable[Any], name: str) -> tuple[Any, ...]:
    found = tuple(values) if isinstance(values, Iterable) else (None,)
    if not all(isinstance(one, kind) for one in found):
        raise TypeError(f"{name}: expected several of {kind}, got {values!r}")
    return found


def _root(root: str | os.PathLike[str] | Bind | None) -> str | Bind | None:
    return root if root is None or isinstance(root, Bind) else as_path(root)


def _ids(ids: Iterable[str | int]) -> tuple[str | int, ...]:
    if isinstance(ids, str):
        raise TypeError(f"expected several groups, got {ids!r}; write ({ids!r},)")
    return tuple(ids)


def _variables(env: Mapping[str, str]) -> Variables:
    variables = env if isinstance(env, Variables) else Variables(env)
    if not all(isinstance(text, str) for pair in variables.items() for text in pair):
        raise TypeError("env: expected names and values as text")
    return variables


@frozen(kw_only=True)
class Sandbox(Runner):
    """What a program may see and use. Nothing of the host, unless it is named here.

    ``Sandbox.system()`` is one in which the host's programs run. Run programs with :meth:`run` and :meth:`popen`,
    which mean what ``subprocess`` means by them; many of them with :meth:`prepare`.

    Args:
        mounts: What is in the root: Bind, Tmpfs, Proc, Dev, Sys, Symlink.
        root: A directory to be the root, read-only, or a Bind of one; by default an empty one in memory.
        user, group: Who the program runs as, by name or number; by default nobody if we are root, and ourselves if not.
        groups: Its further groups.
        capabilities: Those that it has, named without ``CAP_``.
        limits: What it may use.
        seccomp: ``"default"``, a policy of your own, or None for no filter.
        env: Its environment. Nothing of ours is in it.
        workdir: Where it starts, inside.
        hostname: Its host's name.
        share: Namespaces that are the host's: ``network``, ``ipc``, ``uts``, ``pid``, ``cgroup``. All others are new.
        join: Namespaces of others.
        die_with_parent: Whether all of it is killed when our process ends, however it does.
        umask: What it starts with.
        measure: Whether it is put into a cgroup for its memory and time to be counted, also where no limit needs one.
        best_effort: Whether what an ordinary user cannot have here is left out, and said in the plan's notices.
    """

    mounts: tuple[Piece, ...] = field(default=(), converter=_pieces)
    root: str | Bind | None = field(default=None, converter=_root)
    user: str | int | None = field(default=None, validator=instance_of((str, int, type(None))))
    group: str | int | None = field(default=None, validator=instance_of((str, int, type(None))))
    groups: tuple[str | int, ...] = field(default=(), converter=_ids)
    capabilities: tuple[str, ...] = field(default=(), converter=as_names)
    limits: Limits = field(factory=Limits, validator=instance_of(Limits))
    seccomp: str | SeccompPolicy | None = field(
        default="default", validator=instance_of((str, SeccompPolicy, type(None)))
    )
    env: Mapping[str, str] = field(default=Factory(lambda: Variables(DEFAULT_ENVIRONMENT)), converter=_variables)
    workdir: str = field(default="/", converter=as_path)
    hostname: str = field(default="sandbox", validator=instance_of(str))
    share: tuple[str, ...] = field(default=(), converter=as_names)
    join: tuple[Join, ...] = field(default=(), converter=_joins)
    die_with_parent: bool = True
    umask: int = field(default=0o022, validator=instance_of(int))
    measure: bool = False
    best_effort: bool = False

    @staticmethod
    def system(*, mounts: Iterable[Piece] = (), share: Iterable[str] = ("network",), **changes: Any) -> Sandbox:
        """One in which the host's own programs run: they see its system read-only, and have /proc, /dev, /sys and /tmp.

        Args:
            mounts: What they see beside that.
            share: The namespaces that are the host's.
            changes: Any other field of Sandbox.

        Returns:
            The sandbox, a value like any other.
        """
        return Sandbox(mounts=(*_system(), *mounts), share=tuple(share), **changes)

    def replace(self, **changes: Any) -> Sandbox:
        """The same sandbox with changes.

        Args:
            changes: Other values for fields, by their names.

        Returns:
            Another sandbox; this one stays as it is.
        """
        return evolve(self, **changes)

    def optional_binds(self) -> tuple[Bind, ...]:
        """The binds that are left out where there is no such source."""
        return tuple(piece for piece in self.mounts if isinstance(piece, Bind) and piece.optional)

    def plan(self, args: Arguments = ("true",)) -> ProcessPlan:
        """What running that would do, entry by entry, each with the field that asked for it.

        Args:
            args: The program and its arguments.

        Returns:
            The plan; nothing was done.

        Raises:
            PlanError: It cannot be had here; the error names the field.
            HostError: This machine cannot do it at all.
            ValueError: There is no program.
        """
        return make_sandbox_plan(self, look_around(self), [os.fsdecode(word) for word in words_of(args)])

    def prepare(self) -> Prepared:
        """Do all that can be done once: plan, look things up, open the sources, compile the filter.

        What it opened is what every program sees, also when the path comes to mean something else.

        Returns:
            What runs programs fast, from any number of threads; a context manager.

        Raises:
            PlanError, HostError: As in :meth:`plan`.
            PrepareError: A source cannot be opened.
            SpawnError: The part of the root that all programs share cannot be built.
        """
        return Prepared(self)

    def spawner(self) -> Spawner:
        """What runs a single program; for bpm itself.

        Raises:
            PlanError, HostError, PrepareError: As in :meth:`prepare`.
            SpawnError: As in :meth:`run`.
        """
        return Spawner(self, once=True)


def _system() -> Iterable[Piece]:
    """The host's system directories, as they are: those that are links into another one are links here too."""
    for path in SYSTEM:
        try:
            is_link = stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:
            continue
        target = os.readlink(path) if is_link else ""
        if is_link and os.path.normpath(os.path.join("/", target)).startswith("/usr/"):
            yield Symlink(path, target)
        else:
            yield Bind(path)
    for path in ("/run/resolvconf", "/run/systemd/resolve"):
        yield Bind(path, executable=False, optional=True)
    yield Proc()
    yield Dev()
    yield Sys()
    yield Tmpfs("/tmp")
