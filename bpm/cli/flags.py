"""The grammar of the command line, which is the contract's: that of Go's pflag.

Flags stand before or after the job's name and end at ``--``; a value follows as ``-p x``, ``-px``, ``-p=x``,
``--process x`` or ``--process=x``; short ones group, as in ``-aq``; a switch takes a value only after ``=``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SWITCH, TEXT, TEXTS, NUMBER = "switch", "text", "texts", "number"

WORDS_OF_A_SWITCH = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}

LARGEST_NUMBER = 2**63 - 1


class UsageError(Exception):
    """The command line does not follow the grammar; ``str()`` says where."""


class Flag:
    """One flag of a command.

    Args:
        name: The long name, without its dashes.
        short: The letter, or empty.
        kind: ``SWITCH``, ``TEXT`` (the last one counts), ``TEXTS`` (all count) or ``NUMBER``.
        help: What the usage text says.
        value: What the usage text calls its value.
        default: A number's default.
    """

    __slots__ = ("default", "help", "kind", "name", "short", "value")

    def __init__(
        self, name: str, short: str = "", *, help: str, kind: str = SWITCH, value: str = "", default: int = 0
    ) -> None:
        self.name = name
        self.short = short
        self.kind = kind
        self.help = help
        self.value = value
        self.default = default

    def __str__(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


class Arguments:
    """What a command line said: its flags by name, and the words that are none."""

    def __init__(self, flags: Iterable[Flag]) -> None:
        self.words: list[str] = []
        self._flags = {flag.name: flag for flag in flags}
        self._by_letter = {flag.short: flag for flag in self._flags.values() if flag.short}
        self._switches: dict[str, bool] = {}
        self._texts: dict[str, list[str]] = {}
        self._numbers: dict[str, int] = {}

    def switch(self, name: str) -> bool:
        """Whether a switch is on."""
        return self._switches.get(name, False)

    def text(self, name: str) -> str:
        """A text's last value; empty without one."""
        return self._texts.get(name, [""])[-1]

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a text, in order."""
        return tuple(self._texts.get(name, ()))

    def number(self, name: str) -> int:
        """A number's last value, or its default."""
        return self._numbers.get(name, self._flags[name].default)

    def read(self, argv: Sequence[str]) -> None:
        """Takes a whole command line apart."""
        rest = list(argv)
        while rest:
            word = rest.pop(0)
            if word == "--":
                self.words += rest
                return
            if word.startswith("--"):
                self._read_long(word[2:], rest)
            elif word.startswith("-") and word != "-":
                self._read_letters(word[1:], rest)
            else:
                self.words.append(word)

    def _read_long(self, text: str, rest: list[str]) -> None:
        name, equals, value = text.partition("=")
        if not name or name.startswith("-"):
            raise UsageError(f"bad flag syntax: --{text}")
        flag = self._flags.get(name)
        if flag is None:
            raise UsageError(f"unknown flag: --{name}")
        if equals:
            self._set(flag, value)
        elif flag.kind == SWITCH:
            self._set(flag, "true")
        elif rest:
            self._set(flag, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: --{name}")

    def _read_letters(self, letters: str, rest: list[str]) -> None:
        while letters:
            flag = self._by_letter.get(letters[0])
            if flag is None:
                raise UsageError(f"unknown shorthand flag: {letters[0]!r} in -{letters}")
            if len(letters) > 2 and letters[1] == "=":
                return self._set(flag, letters[2:])
            if flag.kind != SWITCH:
                return self._read_value(flag, letters, rest)
            self._set(flag, "true")
            letters = letters[1:]
        return None

    def _read_value(self, flag: Flag, letters: str, rest: list[str]) -> None:
        if len(letters) > 1:
            self._set(flag, letters[1:])
        elif rest:
            self._set(flag, rest.pop(0))
        else:
            raise UsageError(f"flag needs an argument: {letters!r} in -{letters}")

    def _set(self, flag: Flag, value: str) -> None:
        if flag.kind == SWITCH:
            if value not in WORDS_OF_A_SWITCH:
                raise _invalid(flag, value, "expected true or false")
            self._switches[flag.name] = WORDS_OF_A_SWITCH[value]
        elif flag.kind == NUMBER:
            self._numbers[flag.name] = _read_number(flag, value)
        else:
            self._texts.setdefault(flag.name, []).append(value)


def find_command(argv: Sequence[str], flags: Iterable[Flag]) -> int | None:
    """Where the command's name stands, when ``flags`` are those known without it; None without a name.

    A flag that is not yet known is taken to have a value, in the next word unless after ``=``.
    """
    known = {spelling for flag in flags for spelling in (f"--{flag.name}", f"-{flag.short}")}
    skip = False
    for index, word in enumerate(argv):
        if skip:
            skip = False
        elif word == "--":
            return None
        elif word.startswith("-"):
            skip = "=" not in word and word not in known and (word.startswith("--") or len(word) == 2)
        elif word:
            return index
    return None


def _read_number(flag: Flag, text: str) -> int:
    """A whole number, with a sign or without, as Go writes one: decimal, 0x, 0o, 0b, 0 and octal, ``_`` between."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits[:1] == "0" and (digits[1:2].isdigit() or digits[1:2] == "_"):
        digits = "0o" + digits[1:]
    try:
        if not digits.isascii() or not digits[:1].isdigit() or not digits[-1].isalnum():
            raise ValueError(text)
        number = int(digits, 0)
    except ValueError:
        raise _invalid(flag, text, "expected a whole number") from None
    if number > LARGEST_NUMBER:
        raise _invalid(flag, text, "the number is too large")
    return -number if text.startswith("-") else number


def _invalid(flag: Flag, value: str, reason: str) -> UsageError:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return UsageError(f'invalid argument "{quoted}" for "{flag}" flag: {reason}')
