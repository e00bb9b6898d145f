"""Declares the extension `bpm._native._ffi`: abi.h is what Python may say, the C files are what is done.

init is a program of its own: it is compiled first, and its image embedded in the extension.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "bpm" / "_native"
SOURCES = ("spawn.c", "letter.c", "child.c", "rootfs.c", "plumb.c")
WARNINGS = ["-std=gnu11", "-Wall", "-Wextra"]

# No libc, no start files, no position independence to be relocated at run time, and pages of only what is in it.
INIT_FLAGS = [
    *("-Os", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-fno-asynchronous-unwind-tables"),
    *("-fno-tree-loop-distribute-patterns", "-U_FORTIFY_SOURCE"),
    *("-static", "-nostdlib", "-no-pie", "-s"),
    "-Wl,--build-id=none,-z,noseparate-code,-z,noexecstack",
]


def init_image() -> Path:
    """Where the compiled init lies between the two steps of a build."""
    return HERE / "build" / "bpm-init"


def compile_init() -> None:
    """Compile init.c, alone and freestanding, with $CC and no flags but ours."""
    image = init_image()
    image.parent.mkdir(exist_ok=True)
    compiler = shlex.split(os.environ.get("CC", "cc"))
    subprocess.run([*compiler, *WARNINGS, *INIT_FLAGS, "-o", str(image), str(NATIVE / "init.c")], check=True)


def declarations() -> str:
    """abi.h without what only a C compiler understands."""
    lines = (NATIVE / "abi.h").read_text().splitlines()
    guard = ("#include", "#ifndef", "#define", "#endif")
    return "\n".join(line for line in lines if not line.startswith(guard))


def make_builder() -> FFI:
    """The extension, as cffi wants it described."""
    builder = FFI()
    builder.cdef(declarations())
    builder.set_source(
        "bpm._native._ffi",
        '#include "native.h"',
        sources=[f"bpm/_native/{name}" for name in SOURCES],
        depends=[str(path) for path in sorted(NATIVE.glob("*.[ch]"))] + [str(init_image())],
        include_dirs=["bpm/_native"],
        define_macros=[("BPM_INIT_PATH", f'"{init_image()}"')],
        extra_compile_args=[*WARNINGS, "-fvisibility=hidden"],
        py_limited_api=True,
    )
    return builder


ffibuilder = make_builder()

if __name__ == "__main__":
    compile_init()
    ffibuilder.compile(verbose="-v" in sys.argv, tmpdir=str(HERE))
