"""The devices of a cgroup v2: a small program that the kernel asks at every open and mknod of a device.

The program is of type BPF_PROG_TYPE_CGROUP_DEVICE; v1 has the files devices.allow and devices.deny for it.
"""

from __future__ import annotations

import os
import struct

from bpm.cgroup.calls import address_of, bpf
from bpm.plan import DeviceRule

NAME = b"bpm_devices"

# include/uapi/linux/bpf.h
_PROG_LOAD, _PROG_ATTACH, _PROG_GET_FD_BY_ID, _OBJ_GET_INFO_BY_FD, _PROG_QUERY = 5, 8, 13, 15, 16
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE = 15, 6
_ALLOW_MULTI, _REPLACE = 2, 4
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS

_LOAD_WORD = 0x61  # BPF_LDX | BPF_MEM | BPF_W
_MOVE, _MOVE_REGISTER = 0xB7, 0xBF
_AND, _SHIFT_RIGHT = 0x57, 0x77
_JUMP_UNLESS_EQUAL = 0x55
_EXIT = 0x95

_RESULT, _CONTEXT, _KIND, _ACCESS, _MAJOR, _MINOR, _REST = range(7)

_KINDS = {"b": 1, "c": 2}
_ACCESSES = {"m": 1, "r": 2, "w": 4}
_ANYTHING = 7


def assemble(rules: tuple[DeviceRule, ...]) -> bytes:
    """The program: 1 for what a rule allows, 0 for the rest.

    struct bpf_cgroup_dev_ctx is three words: the access in the upper half of the first, and the kind of device in the
    lower; major; minor.
    """
    program = [
        _instruction(_LOAD_WORD, _KIND, _CONTEXT, offset=0),
        _instruction(_MOVE_REGISTER, _ACCESS, _KIND),
        _instruction(_AND, _KIND, value=0xFFFF),
        _instruction(_SHIFT_RIGHT, _ACCESS, value=16),
        _instruction(_LOAD_WORD, _MAJOR, _CONTEXT, offset=4),
        _instruction(_LOAD_WORD, _MINOR, _CONTEXT, offset=8),
    ]
    for rule in rules:
        program += _assemble_rule(rule)
    return b"".join((*program, _instruction(_MOVE, _RESULT, value=0), _instruction(_EXIT)))


def _assemble_rule(rule: DeviceRule) -> list[bytes]:
    """Tests, each of which skips what is left of the rule where it fails, and then "allowed"."""
    tests: list[tuple[int, int]] = [(_KIND, _KINDS[rule.kind])]
    tests += [(register, n) for register, n in ((_MAJOR, rule.major), (_MINOR, rule.minor)) if n is not None]
    allowed = [_instruction(_MOVE, _RESULT, value=1), _instruction(_EXIT)]
    refused = _ANYTHING & ~sum(_ACCESSES[letter] for letter in rule.access)
    if refused:
        # Nothing may be asked for that the rule does not name.
        allowed[:0] = [
            _instruction(_MOVE_REGISTER, _REST, _ACCESS),
            _instruction(_AND, _REST, value=refused),
            _instruction(_JUMP_UNLESS_EQUAL, _REST, value=0, offset=2),
        ]
    jumps = []
    for i, (register, number) in enumerate(tests):
        rest = len(tests) - i - 1 + len(allowed)
        jumps.append(_instruction(_JUMP_UNLESS_EQUAL, register, value=number, offset=rest))
    return jumps + allowed


def _instruction(code: int, to: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, to | source << 4, offset, value)


def attach_program(directory: int, rules: tuple[DeviceRule, ...]) -> None:
    """Give a cgroup its program, in place of the one that it had from us, with no moment in between.

    Others' programs, and those of the cgroups above, go on being asked too: all must agree.

    Raises:
        OSError: The kernel has no such programs, or whoever is around us refuses them.
    """
    program = _load_program(assemble(rules))
    try:
        old = _find_ours(directory)
        try:
            flags = _ALLOW_MULTI if old is None else _ALLOW_MULTI | _REPLACE
            numbers = (directory, program, _ATTACH_CGROUP_DEVICE, flags, -1 if old is None else old)
            bpf(_PROG_ATTACH, struct.pack("=IIIIi", *numbers))
        finally:
            if old is not None:
                os.close(old)
    finally:
        os.close(program)


def _load_program(instructions: bytes) -> int:
    # No helper of the kernel is called, so any licence will do; the interface wants a name for it.
    (code, _code), (licence, _licence) = address_of(instructions), address_of(b"Apache-2.0\0")
    head = struct.pack("=IIQQIIQII", _TYPE_CGROUP_DEVICE, len(instructions) // 8, code, licence, 0, 0, 0, 0, 0)
    return bpf(_PROG_LOAD, head + NAME.ljust(16, b"\0"))[0]


def _find_ours(directory: int) -> int | None:
    """The program that we attached here before, as a descriptor; None where there is none."""
    for number in list_programs(directory):
        try:
            program = bpf(_PROG_GET_FD_BY_ID, struct.pack("=III", number, 0, 0))[0]
        except FileNotFoundError:
            continue
        if _read_name(program) == NAME:
            return program
        os.close(program)
    return None


def list_programs(directory: int) -> list[int]:
    """The ids of the device programs that are attached to a cgroup itself.

    Raises:
        OSError: The kernel has no such programs, or whoever is around us refuses to say.
    """
    ids, kept = address_of(bytes(4 * _MOST_PROGRAMS))
    query = struct.pack("=IIIIQII", directory, _ATTACH_CGROUP_DEVICE, 0, 0, ids, _MOST_PROGRAMS, 0)
    count = struct.unpack_from("=I", bpf(_PROG_QUERY, query)[1], 24)[0]
    return list(struct.unpack_from(f"={count}I", kept.raw))


def _read_name(program: int) -> bytes:
    # struct bpf_prog_info: the name is 64 bytes in.
    place, kept = address_of(bytes(80))
    bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", program, 80, place))
    name: bytes = kept.raw[64:80].rstrip(b"\0")
    return name
