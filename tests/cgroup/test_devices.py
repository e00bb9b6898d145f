"""The device program of a cgroup v2."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Callable

import pytest
from attrs import evolve

from bpm.cgroup import change, create
from bpm.cgroup.devices import assemble, list_programs
from bpm.errors import CgroupError
from bpm.plan import Cgroup, DeviceProgram, DeviceRule
from bpm.plan.devices import DEVICE_RULES
from tests.cgroup.hosts import Host

MKNOD, READ, WRITE = 1, 2, 4
BLOCK, CHAR = 1, 2


def ask(program: bytes, kind: int, access: int, major: int, minor: int) -> int:
    """What the program answers: the few instructions that it may consist of, one by one."""
    registers, context = [0] * 11, (access << 16 | kind, major, minor)
    place = 0
    for _ in range(len(program)):
        code, both, offset, value = struct.unpack_from("=BBhi", program, place * 8)
        to, source = both & 15, both >> 4
        place += 1
        if code == 0x61:
            registers[to] = context[offset // 4]
        elif code == 0xB7:
            registers[to] = value
        elif code == 0xBF:
            registers[to] = registers[source]
        elif code == 0x57:
            registers[to] &= value
        elif code == 0x77:
            registers[to] >>= value
        elif code == 0x55:
            place += offset if registers[to] != value else 0
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"instruction {code:#x}")
    raise AssertionError("it does not end")


def allows(rule: DeviceRule, kind: int, access: int, major: int, minor: int) -> bool:
    bits = sum({"m": MKNOD, "r": READ, "w": WRITE}[letter] for letter in rule.access)
    same = rule.major in (None, major) and rule.minor in (None, minor)
    return kind == {"b": BLOCK, "c": CHAR}[rule.kind] and same and not access & ~bits


def test_the_program_says_what_the_rules_say() -> None:
    """For every kind, access and number that a rule mentions, and their neighbours, program and rules agree."""
    program = assemble(DEVICE_RULES)
    mentioned = [number or 0 for rule in DEVICE_RULES for number in (rule.major, rule.minor)]
    numbers = sorted({abs(number + step) for number in mentioned for step in (-1, 0, 1)})
    for kind in (BLOCK, CHAR):
        for access in (MKNOD, READ, WRITE, READ | WRITE, MKNOD | READ):
            for major in numbers:
                for minor in numbers[:8]:
                    asked = (kind, access, major, minor)
                    assert any(allows(rule, *asked) for rule in DEVICE_RULES) == ask(program, *asked), asked


def program_of(*rules: DeviceRule, optional: bool = False) -> DeviceProgram:
    return DeviceProgram(rules, "test", optional)


def tracked(host: Host, program: DeviceProgram) -> Cgroup:
    """A cgroup that needs v2, which every kind of host has but pure v1."""
    return evolve(host.plan(), device_program=program)


def open_made(kind: int, major: int, minor: int, flags: int) -> Callable[[], int]:
    """Makes a node and opens it: 0, or the errno of the open; 99 where it could not even be made."""

    def attempt() -> int:
        path = f"/dev/bpm-test-{os.getpid()}"
        try:
            os.mknod(path, kind | 0o600, os.makedev(major, minor))
        except OSError:
            return 99
        try:
            os.close(os.open(path, flags))
        except OSError as error:
            return error.errno or 98
        finally:
            os.unlink(path)
        return 0

    return attempt


def test_a_disk_made_inside_cannot_be_opened(host: Host) -> None:
    """A process with every capability may make the node of a disk, and of the kernel's memory, but not open them."""
    if host.unified is None:
        assert "devices" in host.controllers  # v1 has files for it: tests/integration
        return
    group = create(tracked(host, program_of(*DEVICE_RULES)))

    for kind, numbers in ((stat.S_IFBLK, (7, 0)), (stat.S_IFBLK, (254, 0)), (stat.S_IFCHR, (1, 1))):
        for flags in (os.O_RDONLY, os.O_WRONLY):
            assert 1 == host.wait(host.start(group, open_made(kind, *numbers, flags)))  # EPERM
    assert 0 == host.wait(host.start(group, open_made(stat.S_IFCHR, 1, 3, os.O_RDWR)))


def test_the_program_is_replaced(host: Host) -> None:
    """A change of the rules holds at once for who is inside, and there is one program before and after."""
    if host.unified is None:
        return
    plan = tracked(host, program_of(*DEVICE_RULES))
    group = create(plan)
    directory = os.open(next(d.path for d in plan.directories if d.version == 2), os.O_RDONLY | os.O_DIRECTORY)
    try:
        before = list_programs(directory)
        change(evolve(plan, device_program=program_of()))
        after = list_programs(directory)
    finally:
        os.close(directory)

    assert (1, 1) == (len(before), len(after))
    assert before != after
    assert 99 == host.wait(host.start(group, open_made(stat.S_IFCHR, 1, 3, os.O_RDONLY)))


def test_bpf_refused(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where bpf(2) is refused, what is optional is skipped, and what is not fails by name, with nothing left."""

    def refuse(*arguments: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    if host.unified is None:
        return
    monkeypatch.setattr("bpm.cgroup.devices.bpf", refuse)
    skipped = create(tracked(host, program_of(*DEVICE_RULES, optional=True))).skipped
    strict = tracked(host, program_of(*DEVICE_RULES))
    with pytest.raises(CgroupError, match=r"refuses bpf\(2\)"):
        create(strict)

    assert ["bpf(2)"] == [setting.file for setting in skipped]
    assert not any(os.path.exists(directory.path) for directory in strict.directories)
