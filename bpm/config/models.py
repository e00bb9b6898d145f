"""What the operator said: bpm.yml as frozen values, each field named like its key.

To add a key: one field here. The loader, the lint and the generated docs/config.md read these classes.
"""

# ruff: noqa: RUF009 - `key` makes an attrs field, as `field` does

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from attrs import field, fields, frozen

from bpm.errors import Problem

Int64 = Annotated[int, range(-(1 << 63), 1 << 63)]
UInt64 = Annotated[int, range(1 << 64)]
Weight = Annotated[int, range(1, 10_001)]
Keyed = TypeVar("Keyed")


def key(default: Any = None, *, doc: str, required: bool = False, nulls: bool = True) -> Any:
    """A field that is a key of bpm.yml.

    Args:
        default: What an absent key means; of an immutable value.
        doc: The sentence that the manual prints for it.
        required: Whether the loader refuses it when it is empty.
        nulls: Whether a null entry of this list is dropped; otherwise it is refused.
    """
    return field(default=default, metadata=about(doc, required=required, nulls=nulls))


def about(doc: str, *, required: bool = False, nulls: bool = True) -> dict[str, Any]:
    """The metadata of such a field, where it needs a converter: a type checker sees those of attrs' own fields only."""
    return {"doc": doc, "required": required, "nulls": nulls}


def with_args(cls: type[Keyed]) -> type[Keyed]:
    """Has a class's docstring tell of each of its keys."""
    args = "".join(f"    {f.name}: {f.metadata['doc']}\n" for f in fields(cls))  # type: ignore[arg-type]
    cls.__doc__ = f"{cls.__doc__}\n\nArgs:\n{args}"
    return cls


def as_size(size: str | int | None) -> str | None:
    """A size as bpm.yml has it; a number is of bytes."""
    return f"{size}B" if isinstance(size, int) else size


def as_processors(count: str | float | None) -> str | None:
    """A number of processors as bpm.yml has it."""
    return f"{count:.6f}".rstrip("0").rstrip(".") if isinstance(count, int | float) else count


class Variables(Mapping[str, str]):
    """An immutable, hashable map of strings, in the order of its names. Equal to any equal mapping.

    Args:
        items: A mapping, or pairs of name and value.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, str] | tuple[tuple[str, str], ...] = ()) -> None:
        self._items: dict[str, str] = dict(sorted(dict(items).items()))

    def __getitem__(self, name: str) -> str:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(tuple(self._items.items()))

    def __eq__(self, other: object) -> bool:
        return dict(other.items()) == self._items if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        return f"Variables({self._items!r})"


@frozen
class Limits:
    """The key ``limits``; and what is limited for a sandbox only, which bpm.yml has no keys for.

    Args:
        memory: Memory with swap, as bytes or a size such as ``"743M"`` or ``"1.5G"``, for all its processes together.
        open_files: Open descriptors that a process may have.
        processes: Processes and threads together.
        core_file_size: Bytes of a core file.
        cpu: Processors' worth of time, such as 1.5 or ``"1.5"``.
        cpu_weight: Its share where processor time is short; anything else has 100.
        swap: Swap on top of memory, as bytes or a size.
        memory_high: Bytes, or a size, from which on it is slowed down and made to free memory (cgroup v2).
        wall_time: Seconds after which the program is killed, fractions allowed.
        cpu_time: Seconds of processor time of each process, after which it is sent SIGXCPU, and a second later killed.
        file_size: Bytes of any file that it writes; beyond them it is sent SIGXFSZ.
    """

    memory: str | None = field(
        default=None,
        converter=as_size,
        metadata=about("Memory with swap, as a size such as 743M or 1.5G, for all its processes together."),
    )
    open_files: UInt64 | None = key(doc="Open descriptors a process may have: RLIMIT_NOFILE, soft and hard.")
    processes: Int64 | None = key(doc="Processes and threads the container may hold; -1 for no limit.")
    core_file_size: UInt64 | None = key(doc="Bytes a core file may take: RLIMIT_CORE, soft and hard.")
    cpu: str | None = field(
        default=None,
        converter=as_processors,
        metadata=about("Processors' worth of time it may take, such as 1.5. Not known to upstream."),
    )
    cpu_weight: Weight | None = key(
        doc="Its share of processor time where that is short, beside 100 for anything else. Not known to upstream."
    )
    swap: str | None = field(
        default=None,
        converter=as_size,
        metadata=about("Swap it may use on top of memory, as a size; without this key, none. Not known to upstream."),
    )
    memory_high: str | None = field(
        default=None,
        converter=as_size,
        metadata=about(
            "From this size on it is slowed down and made to free memory. Needs cgroup v2. Not known to upstream."
        ),
    )
    wall_time: float | None = field(default=None)
    cpu_time: int | None = field(default=None)
    file_size: int | None = field(default=None)


@with_args
@frozen
class Volume:
    """An entry of ``additional_volumes`` or ``unsafe.unrestricted_volumes``."""

    path: str = key("", required=True, doc="The path, the same outside and inside.")
    writable: bool = key(False, doc="Whether it may be written to.")
    allow_executions: bool = key(False, doc="Whether programs on it may be executed.")
    mount_only: bool = key(False, doc="Whether bpm leaves it as it is, and neither creates nor chowns it.")
    shared: bool = key(False, doc="Whether mounts made below it are seen by other containers that share it.")


@with_args
@frozen
class Hooks:
    """The key ``hooks``."""

    pre_start: str = key("", doc="A program run on the host, as root, before the process starts.")


@with_args
@frozen
class Unsafe:
    """The key ``unsafe``: each entry weakens the isolation."""

    privileged: bool = key(False, doc="Whether it runs as root with nearly all capabilities and no seccomp filter.")
    unrestricted_volumes: tuple[Volume, ...] = key((), doc="Volumes from anywhere; the path may be a glob.")
    host_pid_namespace: bool = key(False, doc="Whether it sees the host's processes.")


@with_args
@frozen
class ProcessConfig:
    """An entry of ``processes``."""

    name: str = key("", required=True, doc="The process's name; the one named like the job is the job's main one.")
    executable: str = key("", required=True, doc="The program, as the container sees it.")
    args: tuple[str, ...] = key((), doc="Its arguments.")
    env: Variables = key(Variables(), doc="Its environment, on top of TMPDIR, LANG, PATH and HOME.")
    workdir: str = key("", doc="Its working directory; by default the job's directory.")
    hooks: Hooks = key(Hooks(), doc="Programs run around it.")
    capabilities: tuple[str, ...] = key((), doc="Capabilities it keeps, named without ``CAP_``.")
    limits: Limits = key(Limits(), doc="What it may use.")
    ephemeral_disk: bool = key(False, doc="Whether it may use the job's data directory.")
    persistent_disk: bool = key(False, doc="Whether it may use the job's store directory.")
    additional_volumes: tuple[Volume, ...] = key((), doc="Further directories below the BOSH root.")
    unsafe: Unsafe = key(Unsafe(), doc="What weakens the isolation.")
    shutdown_signal: str = key("", doc="TERM or INT: what asks it to stop. TERM by default.")


@frozen
class JobConfig:
    """A whole bpm.yml.

    Args:
        processes: The entries of ``processes``, in the file's order.
        job: The name of the job it belongs to, which the file itself does not hold.
        warnings: What is remarkable but accepted, such as unknown keys; not part of equality.
    """

    processes: tuple[ProcessConfig, ...] = key((), nulls=False, doc="The processes of the job.")
    job: str = field(default="job")
    warnings: tuple[Problem, ...] = field(default=(), eq=False, repr=False)


def keys_of(cls: type) -> tuple[str, ...]:
    """The keys of bpm.yml that a class of this file holds."""
    return tuple(f.name for f in fields(cls) if "doc" in f.metadata)
