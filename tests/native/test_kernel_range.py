"""The oldest kernel that bpm is made for has every call that it makes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from bpm import _native
from bpm.host.kernel import CALLS

LAST_OF_5_15 = 448  # process_mrelease(2), by include/uapi/asm-generic/unistd.h


def test_no_call_is_younger_than_5_15() -> None:
    """By their numbers, which are given in the order of their coming since 5.1."""
    sources = [path.read_text() for path in Path(_native.__file__).parent.glob("*.c")]
    names = {call.name for call in CALLS}.union(*(re.findall(r"\bkernel\((\w+)", source) for source in sources))
    program = "#include <sys/syscall.h>\n" + "".join(f"{name} SYS_{name}\n" for name in sorted(names))
    done = subprocess.run(["cc", "-E", "-P", "-"], input=program, capture_output=True, text=True, check=True)
    numbers = dict(re.findall(r"^(\w+) (\d+)$", done.stdout, re.MULTILINE))

    assert names == numbers.keys()
    assert [] == [name for name, number in numbers.items() if int(number) > LAST_OF_5_15]
