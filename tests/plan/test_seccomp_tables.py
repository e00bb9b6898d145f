"""The tables of syscall numbers against the kernel's own headers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from bpm.plan.syscalls import NEWEST, numbers_of

X86_HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")
GENERIC_HEADER = Path("/usr/include/asm-generic/unistd.h")

# What arch/arm64/include/uapi/asm/unistd.h asks the generic header for.
ARM64_WANTS = ("RENAMEAT", "NEW_STAT", "SET_GET_RLIMIT", "TIME32_SYSCALLS", "SYS_CLONE3", "MEMFD_SECRET")

# Given a free number below our newest by later kernels.
FILLED_LATER = {"uretprobe", "uprobe"}


def read_macros(header: Path, *flags: str) -> dict[str, int]:
    """The syscalls that a header defines, by the C preprocessor."""
    compiler = shutil.which("cc")
    if compiler is None or not header.exists():
        pytest.skip(f"needs a C compiler and {header} (linux-libc-dev)")
    command = [compiler, "-E", "-dM", *flags, str(header)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    macros = dict(line.split(maxsplit=2)[1:] for line in lines if line.startswith("#define __NR"))

    def number(text: str) -> int:
        # A number, a number after x32's bit, or the name of another macro.
        return number(macros[text]) if text in macros else int(text.strip("()").rpartition("+")[2])

    names = [
        name
        for name in macros
        if name.startswith("__NR_") and name not in ("__NR_syscalls", "__NR_arch_specific_syscall")
    ]
    return {name.removeprefix("__NR_"): number(macros[name]) for name in names}


@pytest.mark.parametrize(
    ("abi", "header", "flags"),
    [
        ("x86_64", X86_HEADERS / "unistd_64.h", ()),
        ("x86", X86_HEADERS / "unistd_32.h", ()),
        ("x32", X86_HEADERS / "unistd_x32.h", ()),
        ("aarch64", GENERIC_HEADER, tuple(f"-D__ARCH_WANT_{want}" for want in ARM64_WANTS)),
    ],
)
def test_the_table_is_the_headers(abi: str, header: Path, flags: tuple[str, ...]) -> None:
    """Up to the newest syscall that both know, table and header have the same names and numbers, no more, no fewer."""
    installed = read_macros(header, *flags)
    newest = min(NEWEST, max(number for number in installed.values() if number < 512))

    def common(numbers: dict[str, int]) -> dict[str, int]:
        return {n: at for n, at in numbers.items() if (at <= newest or at >= 512) and n not in FILLED_LATER}

    assert common(installed) == common(numbers_of(abi))


@pytest.mark.parametrize("abi", ["x86_64", "x86", "x32", "aarch64"])
def test_every_table_ends_at_the_newest(abi: str) -> None:
    """Nothing is above the newest syscall but x32's own block, and no number has two names."""
    numbers = numbers_of(abi)
    above = sorted(number for number in numbers.values() if number > NEWEST)
    assert (list(range(512, 548)) if abi == "x32" else []) == above
    assert NEWEST in numbers.values()
    assert len(numbers) == len(set(numbers.values()))
