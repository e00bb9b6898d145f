"""Writing a classic BPF program of the kind seccomp(2) takes: load a word of the call's data, compare, return.

Jumps go forward only, so the program is written from its end: what an instruction leads to is there before it.
A place in it is the count of instructions that were written earlier, that is, that come after it.
"""

from __future__ import annotations

import struct

# Opcodes, from linux/bpf_common.h. They are also all that the kernel follows when it works out, as the filter is
# attached, which numbers are allowed whatever their arguments; for those it does not run the filter (since 5.11).
LOAD_WORD = 0x20  # BPF_LD | BPF_W | BPF_ABS
KEEP_BITS = 0x54  # BPF_ALU | BPF_AND | BPF_K
SKIP = 0x05  # BPF_JMP | BPF_JA
IF_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
IF_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K, unsigned
RETURN = 0x06  # BPF_RET | BPF_K

LONGEST = 4096  # instructions: BPF_MAXINSNS, the kernel answers EINVAL to more

# A conditional jump has 8 bits for how many instructions it skips. Bringing its two targets near can put one
# instruction between it and either of them.
_REACH = 255 - 1


class Program:
    """A program in the making; each method returns the place of what it wrote, for others to lead to.

    The same thing is written once, however often it is asked for.
    """

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._places: dict[tuple[int, ...], int] = {}
        self._copies: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._code)

    def answer(self, value: int) -> int:
        """End, with this SECCOMP_RET value."""
        key = (RETURN, value)
        if key not in self._places:
            self._places[key] = self._write(RETURN, value)
        return self._places[key]

    def load(self, offset: int, then: int) -> int:
        """Load the word at ``offset`` of struct seccomp_data and go on."""
        return self._lead_on(LOAD_WORD, offset, then)

    def keep_bits(self, bits: int, then: int) -> int:
        """Keep these bits of what was loaded and go on."""
        return self._lead_on(KEEP_BITS, bits, then)

    def branch(self, test: int, value: int, yes: int, no: int) -> int:
        """Compare what was loaded with ``value``, by IF_EQUAL or IF_AT_LEAST."""
        key = (test, value, yes, no)
        if key not in self._places:
            yes, no = self._bring_near(yes), self._bring_near(no)
            self._places[key] = self._write(test, value, self._distance(yes), self._distance(no))
        return self._places[key]

    def encode(self) -> bytes:
        """The program as an array of struct sock_filter: 8 bytes an instruction, in this machine's byte order."""
        return b"".join(struct.pack("=HBBI", *instruction) for instruction in reversed(self._code))

    def _lead_on(self, opcode: int, operand: int, then: int) -> int:
        """An instruction that the one after it follows, which is ``then`` or a way to it."""
        key = (opcode, operand, then)
        if key not in self._places:
            if self._distance(self._copies.get(then, then)) > 0:
                self._copy(then)
            self._places[key] = self._write(opcode, operand)
        return self._places[key]

    def _bring_near(self, place: int) -> int:
        """``place``, or a copy of it, within reach of the next conditional jump."""
        nearest = self._copies.get(place, place)
        return nearest if self._distance(nearest) <= _REACH else self._copy(place)

    def _copy(self, place: int) -> int:
        """Write what does the same as ``place``: its return again, or a long jump to it."""
        opcode, _, _, operand = self._code[place]
        again = self._write(RETURN, operand) if opcode == RETURN else self._write(SKIP, self._distance(place))
        self._copies[place] = again
        return again

    def _distance(self, place: int) -> int:
        """How many instructions one written now skips to get to ``place``."""
        return len(self._code) - place - 1

    def _write(self, opcode: int, operand: int, yes: int = 0, no: int = 0) -> int:
        self._code.append((opcode, yes, no, operand))
        return len(self._code) - 1
