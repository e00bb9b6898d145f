"""The grammar of the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpm.cli.flags import NUMBER, TEXT, TEXTS, Arguments, Flag, UsageError, find_command

pytestmark = pytest.mark.same_everywhere

FLAGS = (
    Flag("all", "a", help=""),
    Flag("quiet", "q", help=""),
    Flag("process", "p", kind=TEXT, help=""),
    Flag("env", "e", kind=TEXTS, help=""),
    Flag("lines", "n", kind=NUMBER, default=25, help=""),
    Flag("version", help=""),
)


def read(*argv: str) -> Arguments:
    arguments = Arguments(FLAGS)
    arguments.read(argv)
    return arguments


@pytest.mark.parametrize(
    "argv",
    [
        ("web", "-p", "x"),
        ("-p", "x", "web"),
        ("-px", "web"),
        ("-p=x", "web"),
        ("--process=x", "web"),
        ("--process", "x", "web"),
        ("web", "-p", "y", "-p", "x"),
        ("-p", "x", "--", "web"),
    ],
    ids=" ".join,
)
def test_a_text_is_written_in_every_way(argv: tuple[str, ...]) -> None:
    """A text follows its flag in any of five ways, before or after the words; the last one counts."""
    arguments = read(*argv)

    assert ("x", ["web"]) == (arguments.text("process"), arguments.words)


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (("-p", "-q"), "-q"),
        (("--process", "--"), "--"),
        (("--process=",), ""),
        (("-p", ""), ""),
        (("-p=",), "="),
        (("-p==",), "="),
        (("-pa=b",), "a=b"),
        (("--process=a=b",), "a=b"),
    ],
)
def test_a_text_may_look_like_anything(argv: tuple[str, ...], value: str) -> None:
    """What follows a flag that wants a text is its text, whatever it looks like."""

    assert value == read(*argv).text("process")


@pytest.mark.parametrize(
    ("argv", "on"),
    [
        ((), set()),
        (("-a",), {"all"}),
        (("-aq",), {"all", "quiet"}),
        (("--all", "--quiet"), {"all", "quiet"}),
        (("--all=false", "-q"), {"quiet"}),
        (("-a=f", "-q=T"), {"quiet"}),
        (("-a", "--all=0"), set()),
        (("-qa=1",), {"all", "quiet"}),
        (("--all", "false"), {"all"}),
    ],
)
def test_switches(argv: tuple[str, ...], on: set[str]) -> None:
    """A switch is on when it is there, grouped or not, and takes a value only after an equals sign."""
    arguments = read(*argv)

    assert on == {name for name in ("all", "quiet") if arguments.switch(name)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("00", 0),
        ("010", 8),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b11", 3),
        ("1_000", 1000),
        ("0_7", 7),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_numbers(text: str, value: int) -> None:
    """A number is written as Go writes one."""

    assert value == read("-n", text).number("lines")


@pytest.mark.parametrize(
    "text", ["", "x", "1.0", "1e3", " 1", "1 ", "--1", "0x", "1_", "_1", "08", "٣", "9223372036854775808"]
)
def test_what_is_no_number(text: str) -> None:
    """Anything else is refused, with the text and the flag named."""
    with pytest.raises(UsageError) as caught:
        read(f"--lines={text}")

    assert str(caught.value).startswith(f'invalid argument "{text}" for "-n, --lines" flag: ')


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--nope",), "unknown flag: --nope"),
        (("--nope=x",), "unknown flag: --nope"),
        (("-x",), "unknown shorthand flag: 'x' in -x"),
        (("-axq",), "unknown shorthand flag: 'x' in -xq"),
        (("-a=",), "unknown shorthand flag: '=' in -="),
        (("-p",), "flag needs an argument: 'p' in -p"),
        (("-aqp",), "flag needs an argument: 'p' in -p"),
        (("--process",), "flag needs an argument: --process"),
        (("---process",), "bad flag syntax: ---process"),
        (("--=x",), "bad flag syntax: --=x"),
        (("--all=maybe",), 'invalid argument "maybe" for "-a, --all" flag: expected true or false'),
        (("--version=maybe",), 'invalid argument "maybe" for "--version" flag: expected true or false'),
        (("--all=",), 'invalid argument "" for "-a, --all" flag: expected true or false'),
    ],
)
def test_what_is_refused(argv: tuple[str, ...], message: str) -> None:
    """What does not follow the grammar is refused in the contract's words."""
    with pytest.raises(UsageError) as caught:
        read(*argv)

    assert message == str(caught.value)


def test_repeated_texts_are_kept_in_order() -> None:
    """A flag that may be repeated gives all its values, in order."""

    assert ("A=1", "B=2", "A=3") == read("-e", "A=1", "--env=B=2", "web", "-eA=3").texts("env")


def test_words_are_kept_in_order() -> None:
    """Words stand among the flags; a lone dash is one; after two dashes everything is."""

    assert ["a", "-", "b", "-q", "--"] == read("a", "-", "-q", "b", "--", "-q", "--").words


def test_defaults() -> None:
    """Without its flag, a number is its default, a text is empty, and a list has nothing in it."""
    arguments = read()

    assert (25, "", ()) == (arguments.number("lines"), arguments.text("process"), arguments.texts("env"))


@pytest.mark.parametrize(
    ("argv", "at"),
    [
        (["start", "web"], 0),
        (["--version", "start"], 1),
        (["-p", "x", "start", "web"], 2),
        (["--process=x", "start"], 1),
        (["-px", "start"], 1),
        (["--process", "x", "start"], 2),
        (["-p", "start"], None),
        (["--", "start"], None),
        (["", "start"], 1),
        ([], None),
        (["--nope"], None),
    ],
)
def test_the_command_is_found_behind_flags(argv: list[str], at: int | None) -> None:
    """A command's flags may stand before its name; one that is not known yet takes the next word with it."""

    assert at == find_command(argv, [Flag("help", "h", help=""), Flag("version", help="")])


WORDS = st.sampled_from(
    ["-", "--", "-a", "-aq", "-p", "-n", "-n=1", "-e", "--all", "--all=x", "--process", "--lines=0x", "web", "=", ""]
) | st.text(max_size=6)


@given(st.lists(WORDS, max_size=6))
def test_nothing_but_a_usage_error_comes_out(argv: list[str]) -> None:
    """Whatever the words, the parser takes them apart or raises UsageError with one line."""
    try:
        arguments = read(*argv)
        taken = [*arguments.words, arguments.text("process"), *arguments.texts("env")]
        assert all(any(text in word for word in argv) for text in taken if text)
    except UsageError as error:
        assert str(error)


@given(st.lists(WORDS, max_size=6))
def test_the_command_is_one_of_the_words(argv: list[str]) -> None:
    """Whatever the words, the command's name is one of them that is no flag, or there is none."""
    at = find_command(argv, FLAGS)

    assert at is None or (argv[at] and not argv[at].startswith("-"))


@given(st.lists(st.text().filter(lambda text: not text.startswith("-")), max_size=4), st.text())
def test_flags_may_stand_anywhere(words: list[str], value: str) -> None:
    """Wherever among the words a flag stands, the same comes out."""
    for at in range(len(words) + 1):
        arguments = read(*words[:at], "--process", value, *words[at:])
        assert (words, value) == (arguments.words, arguments.text("process"))
