"""The probe's answer (probe.c) as a value."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

from attrs import frozen

SOURCE = Path(__file__).with_name("probe.c")


def compile_probe(directory: Path) -> Path:
    """The probe, compiled into a directory."""
    program = directory / "probe"
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, "-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, SOURCE], check=True)
    return program


@frozen
class MountLine:
    """One line of /proc/PID/mountinfo, see proc_pid_mountinfo(5)."""

    number: int
    parent: int
    device: str
    root: str
    target: str
    options: tuple[str, ...]
    propagation: tuple[str, ...]
    kind: str
    source: str
    super_options: tuple[str, ...]


def unescape(text: str) -> str:
    """A path of mountinfo, where space, tab, newline and backslash stand as octal numbers."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def parse_mounts(text: str) -> tuple[MountLine, ...]:
    """The lines of a mountinfo, in the kernel's order."""
    lines = []
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        number, parent, device, root, target, options, *propagation = left.split(" ")
        kind, source, super_options = right.split(" ")
        lines.append(
            MountLine(
                number=int(number),
                parent=int(parent),
                device=device,
                root=unescape(root),
                target=unescape(target),
                options=tuple(options.split(",")),
                propagation=tuple(propagation),
                kind=kind,
                source=unescape(source),
                super_options=tuple(super_options.split(",")),
            )
        )
    return tuple(lines)


@frozen
class Descriptor:
    """An open descriptor: what /proc says it is, and its F_GETFL flags."""

    target: str
    flags: int


@frozen
class Entry:
    """An entry of a directory.

    Args:
        device: What a node stands for, as ``os.makedev`` has it.
        link: Where a symbolic link leads.
    """

    mode: int
    uid: int
    gid: int
    device: int
    link: str | None


@frozen
class Seen:
    """What the probe saw. Texts are as os.fsdecode() gives them.

    Args:
        entries, files: What is in the directories and files that attempts called ``entries:`` and ``file:`` name.
    """

    argv: tuple[str, ...]
    environment: tuple[str, ...]
    cwd: str
    hostname: str
    pid: int
    ppid: int
    pgid: int
    sid: int
    descriptors: dict[int, Descriptor]
    namespaces: dict[str, str]
    rlimits: tuple[tuple[int, int], ...]
    mounts: tuple[MountLine, ...]
    status: dict[str, str]
    attempts: dict[str, int]
    entries: dict[str, dict[str, Entry]]
    files: dict[str, str]

    def mount_at(self, target: str) -> MountLine:
        """What is seen at a mount point: the last mount there."""
        return [mount for mount in self.mounts if mount.target == target][-1]

    def ids(self, key: str) -> tuple[int, ...]:
        """``Uid``, ``Gid`` (real, effective, saved, file system) or ``Groups``."""
        return tuple(int(word) for word in self.status[key].split())

    def bits(self, key: str) -> int:
        """A mask such as ``CapBnd`` or ``SigBlk``."""
        return int(self.status[key], 16)


def as_text(value: Any) -> Any:
    """A JSON value of the probe's, whose characters are bytes' numbers, with its bytes decoded."""
    if isinstance(value, str):
        return os.fsdecode(value.encode("latin-1"))
    if isinstance(value, list):
        return [as_text(one) for one in value]
    if isinstance(value, dict):
        return {as_text(key): as_text(one) for key, one in value.items()}
    return value


def read_seen(text: bytes | str) -> Seen:
    """Read what the probe printed."""
    fields: dict[str, Any] = as_text(json.loads(text))
    status = dict(line.split(":", 1) for line in fields["status"].splitlines())
    return Seen(
        argv=tuple(fields["argv"]),
        environment=tuple(fields["environment"]),
        cwd=fields["cwd"],
        hostname=fields["hostname"],
        pid=fields["pid"],
        ppid=fields["ppid"],
        pgid=fields["pgid"],
        sid=fields["sid"],
        descriptors={int(fd): Descriptor(**facts) for fd, facts in fields["descriptors"].items()},
        namespaces=fields["namespaces"],
        rlimits=tuple((soft, hard) for soft, hard in fields["rlimits"]),
        mounts=parse_mounts(fields["mountinfo"]),
        status={key: value.strip() for key, value in status.items()},
        attempts=fields["attempts"],
        entries={path: {name: Entry(*facts) for name, facts in of.items()} for path, of in fields["entries"].items()},
        files=fields["files"],
    )
