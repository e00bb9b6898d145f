"""A classic BPF machine as seccomp(2) has it, and the calls to try on it.

The checker takes no program that the kernel would refuse; it knows only the instructions that filters are made of.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache

from bpm.plan.model import SeccompPolicy

LOAD_WORD = 0x20
AND = 0x54
JUMP = 0x05
JUMP_IF = {
    0x15: lambda value, operand: value == operand,
    0x25: lambda value, operand: value > operand,
    0x35: lambda value, operand: value >= operand,
    0x45: lambda value, operand: value & operand != 0,
}
RETURN = 0x06

ALLOW = 0x7FFF_0000
ERRNO = 0x0005_0000
KILL_PROCESS = 0x8000_0000

X86_64 = 0xC000_003E
X86 = 0x4000_0003
AARCH64 = 0xC000_00B7
ARM = 0x4000_0028
X32_BIT = 0x4000_0000

WORD = 0xFFFF_FFFF

# (machine, ABI, architecture, what its numbers are counted from)
ABIS = (
    ("x86_64", "x86_64", X86_64, 0),
    ("x86_64", "x32", X86_64, X32_BIT),
    ("x86_64", "x86", X86, 0),
    ("aarch64", "aarch64", AARCH64, 0),
)

# Numbers that no ABI comes near, within it, and numbers that are negative as an int, counted from 0.
FAR = (1000, 0xFFFF, 0x10_0000, X32_BIT - 1)
NEGATIVE = (-1, -2, -X32_BIT, -X32_BIT - 1, -0x8000_0000)

Instruction = tuple[int, int, int, int]


@lru_cache(maxsize=8)
def decode(program: bytes) -> tuple[Instruction, ...]:
    """The instructions of a program that the kernel would take.

    Raises:
        ValueError: It would not: the place and what is wrong there.
    """
    if not 8 <= len(program) <= 8 * 4096 or len(program) % 8:
        raise ValueError(f"{len(program)} bytes are not 1 to 4096 instructions")
    code = tuple(struct.iter_unpack("=HBBI", program))
    for place, (opcode, yes, no, operand) in enumerate(code):
        after = len(code) - place - 1
        if opcode == LOAD_WORD:
            fine = operand % 4 == 0 and operand < 64
        elif opcode == JUMP:
            fine = operand < after
        elif opcode in JUMP_IF:
            fine = yes < after and no < after
        else:
            fine = opcode in (AND, RETURN)
        if not fine:
            raise ValueError(f"instruction {place} of {len(code)}: {opcode:#x} {yes} {no} {operand:#x}")
    if code[-1][0] != RETURN:
        raise ValueError("the last instruction is no return")
    return code


def run(program: bytes, architecture: int, number: int, arguments: tuple[int, ...] = (0,) * 6) -> tuple[int, bool]:
    """The program's answer to one call, and whether it looked at the arguments to give it."""
    code = decode(program)
    words = [number & WORD, architecture, 0, 0]
    for argument in arguments:
        words += (argument & WORD, argument >> 32 & WORD)
    place = loaded = 0
    looked = False
    while True:
        opcode, yes, no, operand = code[place]
        place += 1
        if opcode == LOAD_WORD:
            loaded = words[operand >> 2]
            looked = looked or operand >= 16
        elif opcode == RETURN:
            return operand, looked
        elif opcode == AND:
            loaded &= operand
        elif opcode == JUMP:
            place += operand
        else:
            place += yes if JUMP_IF[opcode](loaded, operand) else no


def arguments_around(policy: SeccompPolicy, name: str | None) -> Iterator[tuple[int, ...]]:
    """Arguments around every value the policy compares with: it, its neighbours, each of its bits turned, and each
    upper half with the other rules' lower ones."""
    everything = (1 << 64) - 1
    rules = [rule for rule in policy.allow_if if rule.name == name]
    yield (0,) * 6
    yield (everything,) * 6
    yield (WORD,) * 6
    for rule in rules:
        values = {
            rule.equals,
            rule.equals + 1,
            rule.equals - 1,
            rule.equals | ~rule.mask,
            rule.equals & WORD,
            rule.mask,
        }
        values.update(rule.equals ^ 1 << bit for bit in range(64))
        values.update(rule.equals & ~WORD | other.equals & WORD for other in rules)
        for value in values:
            for others in (0, 0x5A5A_5A5A_A5A5_A5A5):
                arguments = [others] * 6
                arguments[rule.argument] = value & everything
                yield tuple(arguments)
