"""A SpawnRequest as straight-line C: the headers that bare.c and bare_init.c include."""

from __future__ import annotations

import os
import shlex
import struct
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import bpm
from bpm._native import SpawnRequest, Step, StepKind

HERE = Path(__file__).parent
NATIVE = Path(bpm.__file__).parent / "_native"
INIT_FLAGS = ["-Os", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-fno-asynchronous-unwind-tables"]
INIT_FLAGS += ["-fno-tree-loop-distribute-patterns", "-static", "-nostdlib", "-no-pie", "-s", "-U_FORTIFY_SOURCE"]
INIT_FLAGS += ["-Wl,--build-id=none,-z,noseparate-code,-z,noexecstack"]


def quoted(text: bytes) -> str:
    """A C string literal."""
    return (
        '"'
        + "".join(f"\\{byte:03o}" if byte < 32 or byte > 126 or byte in b'"\\?' else chr(byte) for byte in text)
        + '"'
    )


def split(path: bytes) -> tuple[str, str]:
    parent, _, name = path.strip(b"/").rpartition(b"/")
    return quoted(parent or b"."), quoted(name)


def step_lines(steps: Iterable[Step]) -> Iterator[str]:
    """One line of steps.h for each system call or two."""
    binds, has_root = 0, False
    for step in steps:
        parent, name = split(step.path)
        if step.kind is StepKind.DIRECTORY:
            yield f"DIRECTORY({parent}, {name}, 0{step.mode:o});"
        elif step.kind is StepKind.FILE:
            yield f"PLAIN_FILE({parent}, {name}, 0{step.mode:o});"
        elif step.kind is StepKind.NODE:
            yield f"NODE({parent}, {name}, 0{step.mode:o}, {step.device});"
        elif step.kind is StepKind.LINK:
            yield f"LINK({parent}, {name}, {quoted(step.source)});"
        elif step.kind is StepKind.BIND:
            target = quoted(step.path.strip(b"/"))
            yield f"BIND({binds}, {target}, {step.set_attributes}, {step.clear_attributes});"
            binds += 1
        else:
            yield f"OPEN({quoted(step.source)});"
            for key, value in step.options:
                yield f"BARE_OPTION({quoted(key)});" if value is None else f"OPTION({quoted(key)}, {quoted(value)});"
            target = quoted(step.path.strip(b"/"))
            yield f"HANG({target}, {step.set_attributes});" if has_root else f"ROOT({step.set_attributes});"
            has_root = True


def source_lines(steps: Iterable[Step]) -> Iterator[str]:
    for step in steps:
        if step.kind is StepKind.BIND:
            path = os.fsencode(os.readlink(f"/proc/self/fd/{step.source_fd}"))
            yield f"SOURCE({quoted(path)}, {int(step.recursive)})"


def identity_lines(request: SpawnRequest) -> Iterator[str]:
    yield f"#define UID {request.uid}"
    yield f"#define GID {request.gid}"
    if request.filter:
        program = struct.iter_unpack("=HBBI", request.filter)
        yield "#define FILTER " + ", ".join(f"{{{a}, {b}, {c}, {d}u}}" for a, b, c, d in program)
    yield f"static const char candidate[] = {quoted(request.candidates[0])};"
    for name, texts in (("arguments", request.argv), ("environment", request.env)):
        yield f"static const char *const program_{name}[] = {{ {', '.join(map(quoted, texts))}, NULL }};"


def compile_bare(request: SpawnRequest, directory: Path) -> list[str]:
    """The command that runs bare.c for this request."""
    headers = {
        "steps.h": step_lines(request.steps),
        "sources.h": source_lines(request.steps),
        "covers.h": (
            f"{'READ_ONLY' if c.read_only else 'MASK'}({quoted(c.path.strip(b'/'))});" for c in request.covers
        ),
        "limits.h": (f"LIMIT({number}, {soft}u, {hard}u);" for number, soft, hard in request.rlimits),
        "identity.h": identity_lines(request),
    }
    for name, lines in headers.items():
        (directory / name).write_text("".join(f"{line}\n" for line in lines))
    include = [f"-I{directory}", f"-I{NATIVE}", "-std=gnu11", "-Wall", "-Wextra"]
    compiler = shlex.split(os.environ.get("CC", "cc"))
    workdir = quoted(request.workdir.strip(b"/") or b".")
    defines = [f"-DNAMESPACES={request.namespaces}", f"-DWORKDIR={workdir}"]
    program, init = directory / "bare", directory / "bare-init"
    subprocess.run([*compiler, "-O2", *include, *defines, "-o", program, HERE / "bare.c"], check=True)
    subprocess.run([*compiler, *INIT_FLAGS, *include, "-o", init, HERE / "bare_init.c"], check=True)
    return [str(program), str(init)]
