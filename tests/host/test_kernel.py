"""Whether the kernel has what a spawn needs."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys

import pytest

from bpm import host
from bpm.errors import HostError
from bpm.host.kernel import CALLS, NUMBERS, Call, explain_answer, parse_release

MOUNT = next(call for call in CALLS if call.name == "fsopen")
CLONE3 = CALLS[0]


def test_this_kernel_will_do() -> None:
    """This machine's kernel has every call."""
    assert host.check_kernel() is None


def test_numbers_are_the_kernels() -> None:
    """Every call has the number that this machine's headers give it."""
    source = "#include <sys/syscall.h>\n" + "".join(f"{call.name} SYS_{call.name}\n" for call in CALLS)
    done = subprocess.run(["cc", "-E", "-P", "-"], input=source, capture_output=True, text=True, check=True)
    found = dict(re.findall(r"^(\w+) (\d+)$", done.stdout, re.MULTILINE))
    machine = os.uname().machine
    assert found == {call.name: str(call.number or NUMBERS[machine][call.name]) for call in CALLS}


@pytest.mark.parametrize(
    ("call", "number", "release", "capable", "words"),
    [
        (CLONE3, errno.ENOSYS, "5.2.1", True, ["Linux 5.2.1 lacks clone3(2)", "came with 5.3", "5.15 or newer"]),
        (CLONE3, errno.ENOSYS, "6.1.0-9-amd64", True, ["clone3(2) is refused here (ENOSYS)", "filters system calls"]),
        (CLONE3, errno.EPERM, "6.1.0", True, ["clone3(2) is refused here (EPERM)", "filters system calls"]),
        (MOUNT, errno.EPERM, "6.1.0", True, ["fsopen(2) is refused here (EPERM)", "CAP_SYS_ADMIN is missing"]),
    ],
)
def test_what_is_missing_is_named(call: Call, number: int, release: str, capable: bool, words: list[str]) -> None:
    """An answer that means trouble names the call, and whether the kernel or what is around us is to blame."""
    problem = explain_answer(call, number, release, capable)
    assert problem
    assert [] == [word for word in words if word not in problem]
    assert 1 == len(problem.splitlines())


@pytest.mark.parametrize(
    ("call", "number", "capable"),
    [(CLONE3, errno.EINVAL, True), (MOUNT, errno.EPERM, False), (MOUNT, errno.EINVAL, True)],
)
def test_what_is_there_is_not_named(call: Call, number: int, capable: bool) -> None:
    """A call that looks at its arguments is there; mount calls ask who we are first, which is no news without root."""
    assert explain_answer(call, number, "6.1.0", capable) is None


def deny(number: int, answer: int) -> None:
    """Makes one system call answer with an errno, for this process from now on."""
    load, equal, ret, allow = 0x20, 0x15, 0x06, 0x7FFF0000
    rows = [(load, 0, 0, 0), (equal, 0, 1, number), (ret, 0, 0, 0x00050000 | answer), (ret, 0, 0, allow)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *row) for row in rows))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(rows), ctypes.addressof(code)))
    prctl = ctypes.CDLL(None).prctl
    assert 0 == prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    assert 0 == prctl(22, 2, ctypes.c_void_p(ctypes.addressof(program)), 0, 0)  # PR_SET_SECCOMP, a filter


@pytest.mark.same_everywhere
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)
def test_each_call_is_missed(call: Call) -> None:
    """Where a filter takes one call away, that call is the one that is named."""
    number = call.number or NUMBERS[os.uname().machine][call.name]
    code = (
        "from tests.host.test_kernel import deny\n"
        "from bpm import host\n"
        f"deny({number}, {errno.ENOSYS})\n"
        "try:\n    host.check_kernel()\nexcept host.kernel.HostError as error:\n    print(error)\n"
    )
    top = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    done = subprocess.run([sys.executable, "-c", code], cwd=top, capture_output=True, text=True, check=True)
    assert f"{call.name}(2) is refused here (ENOSYS)" in done.stdout


def test_other_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an architecture that bpm has no numbers for, that is what is said."""
    monkeypatch.setattr("bpm.host.kernel.NUMBERS", {"pdp11": {}})
    with pytest.raises(HostError, match=f"bpm runs on pdp11, and this machine is {os.uname().machine}"):
        host.check_kernel()


@pytest.mark.parametrize(
    ("release", "version"),
    [("5.15.0-91-generic", (5, 15)), ("6.1", (6, 1)), ("7.2-rc1", (7, 2)), ("6.18.44-fc", (6, 18)), ("odd", (0, 0))],
)
def test_releases(release: str, version: tuple[int, int]) -> None:
    """Versions are compared as numbers."""
    assert version == parse_release(release)
