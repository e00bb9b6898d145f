"""The corners of yaml.v3 that the cases do not reach: merge keys, tags on anything, odd numbers, odd keys."""

from __future__ import annotations

from typing import Any

import pytest

from bpm.config import load
from bpm.errors import ConfigError

HEAD = "processes:\n- name: job\n  executable: /bin/x\n"


def env_of(text: str) -> dict[str, str]:
    return dict(load(text).processes[0].env)


MERGES = {
    "own keys win": ("{<<: {A: merged, B: merged}, A: own}", {"A": "own", "B": "merged"}),
    "the first of a list wins": ("{<<: [{A: '1'}, {A: '2', B: '2'}]}", {"A": "1", "B": "2"}),
    "what a source merges comes before the next source": (
        "{<<: [{<<: {A: inner}}, {A: second, B: second}]}",
        {"A": "inner", "B": "second"},
    ),
    "a source's own key comes before what it merges": (
        "{<<: {<<: {A: inner, B: inner}, A: outer}}",
        {"A": "outer", "B": "inner"},
    ),
    "an own null wins": ("{A: ~, <<: {A: x}}", {"A": ""}),
    "a merged null is empty": ("{<<: {A: ~}}", {"A": ""}),
    "a number's text is not the number": ("{1: own, <<: {1: merged}}", {"1": "merged"}),
    "a merged null undoes nothing": ("{1: own, <<: {1: ~}}", {"1": "own"}),
    "nor a date's the date": ("{2001-01-01: own, <<: {2001-01-01: merged}}", {"2001-01-01": "merged"}),
    "a quoted << is a name": ("{'<<': x}", {"<<": "x"}),
    "a tagged one merges": ("{!!merge '<<': {A: x}}", {"A": "x"}),
    "with a lone ! too": ("{! <<: {A: x}}", {"A": "x"}),
}  # fmt: skip


@pytest.mark.parametrize("name", MERGES)
def test_merging(name: str) -> None:
    """``<<`` takes what a map does not have itself, the first source first."""
    text, expected = MERGES[name]

    assert expected == env_of(HEAD + f"  env: {text}\n")


def test_sources_are_merged_through_aliases() -> None:
    """``<<`` follows an alias, and a list of aliases, in their order."""
    text = "a: &a {A: a}\nb: &b {A: b, B: b}\n" + HEAD + "  env: {<<: [*a, *b]}\n"

    assert {"A": "a", "B": "b"} == env_of(text)


@pytest.mark.parametrize("merged", ["5", "~", "[1]", "[{A: b}, ~]", "*list", "[*list]"])
def test_only_maps_are_merged(merged: str) -> None:
    """``<<`` of anything but a map, or a list of maps that stands right there, is refused."""
    with pytest.raises(ConfigError, match="to merge"):
        load(f"l: &list [{{A: b}}]\n{HEAD}  <<: {merged}\n")


VALUES: dict[str, tuple[str, dict[str, Any]]] = {
    "a flag by tag and text": ("ephemeral_disk: !custom yes", {"ephemeral_disk": True}),
    "a flag in base64": ("ephemeral_disk: !!binary eWVz", {"ephemeral_disk": True}),
    "a string by tag": ("workdir: !!str ~", {"workdir": "~"}),
    "base64 in lines": ('workdir: !!binary "aGVs\\nbG8="', {"workdir": "hello"}),
    "bytes that are not UTF-8": ("workdir: !!binary /w==", {"workdir": "\udcff"}),
    "a day by tag": ("workdir: !!timestamp 2000-2-29", {"workdir": "2000-2-29"}),
    "a time by tag": ("workdir: !!timestamp 2001-12-14t21:59:43.1-05:00", {"workdir": "2001-12-14t21:59:43.1-05:00"}),
    "a quoted ' as a Go program escapes it": ('workdir: "it\\\'s"', {"workdir": "it's"}),
    "and another, and a real one": ('workdir: "é\\\'\\\\\\\'\\""', {"workdir": "é'\\'\""}),
    "a folded line": ('workdir: "a\\\n    b"', {"workdir": "ab"}),
    "nothing with an anchor": ("workdir: &a", {"workdir": ""}),
    "an explicit key": ("? workdir\n  : a", {"workdir": "a"}),
    "a key in base64": ("!!binary d29ya2Rpcg==: a", {"workdir": "a"}),
    "a key with an escape": ('"work\\x64ir": a', {"workdir": "a"}),
}


@pytest.mark.parametrize("name", VALUES)
def test_values(name: str) -> None:
    """A value is what yaml.v3 makes of it in a field of its type."""
    text, expected = VALUES[name]
    process = load(HEAD + f"  {text}\n").processes[0]

    assert expected == {key: getattr(process, key) for key in expected}


NUMBERS = {
    "0": (0, 0), "-0": (0, 0), "+7": (7, 7), "007": (7, 7), "0_7": (7, 7), "1__0_": (10, 10), "0X1f": (31, 31),
    "0B11": (3, 3), "0O17": (15, 15), "-0x10": (None, -16), "0b-11": (None, -3), "0o+17": (15, 15), ".5": (0, 0),
    "+1.5e1": (15, 15), "1_0.5": (10, 10), ".5_5": (0, 0), "!!float 3": (3, 3), "!!float '0x10'": (16, 16),
    "-1.5": (2**64 - 1, -1), "-.inf": (2**63, -(2**63)), "-1e30": (2**63, -(2**63)), ".nan": (None, None),
    "9223372036854775807.0": (2**63, -(2**63)), "18446744073709551616": (2**63, None), "1.9e19": (None, None),
    "+9223372036854775808": (2**63, -(2**63)), "-9223372036854775808": (None, -(2**63)), "2" * 5000: (None, None),
    "0" * 5000 + "7": (7, 7), "0x" + "f" * 17: (None, None), "-": (None, None), "+_1": (1, 1), "_1": (None, None),
    "0o8": (None, None), "09": (9, 9), "0b2": (None, None), "٣": (None, None), "1٣": (None, None),
    "1e5.5": (None, None), "2001-01-01": (None, None), "true": (None, None),
    "!!str 5": (None, None), "!custom 5": (None, None),
}  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS, ids=[text[:30] for text in NUMBERS])
def test_numbers(text: str) -> None:
    """A number is what yaml.v3 makes of it in a field of 64 bits, without a sign or with one; None is refused."""

    def limit(name: str) -> int | None:
        try:
            value: int = getattr(load(HEAD + f"  limits:\n    {name}: {text}\n").processes[0].limits, name)
        except ConfigError:
            return None
        return value

    assert NUMBERS[text] == (limit("open_files"), limit("processes"))


@pytest.mark.parametrize(
    "text",
    ["2001-2-29", "2001-13-1", "2001-1-1 24:00:00", "2001-1-1t1:2:3", "2001-1-1 1:2:3Z", "2001-1-1x", "1-1-1", "12"],
)
def test_what_is_no_date_is_not_taken_for_one(text: str) -> None:
    """``!!timestamp`` on anything but a date, or a date and time, is refused."""
    with pytest.raises(ConfigError, match="what its tag !!timestamp says"):
        load(HEAD + f"  workdir: !!timestamp {text}\n")


def test_a_colon_that_nothing_follows_belongs_to_its_text() -> None:
    """Between brackets ``a:`` before a comma or a bracket is text, also in a file that has more of them."""
    text = HEAD + "  args: [it's:, b:, 'c']\n  env: {A:, B: c, D:}\n  limits: {memory:}\n"
    process = load(text).processes[0]

    assert ("it's:", "b:", "c") == process.args
    assert {"A:": "", "B": "c", "D:": ""} == process.env
    assert process.limits.memory is None
    assert ['unknown key "memory:", which changes nothing; did you mean "memory"?'] == [
        warning.reason for warning in load(text).warnings
    ]


def test_a_key_that_is_no_string_is_refused() -> None:
    """A list or a map as a key is of the wrong type."""
    with pytest.raises(ConfigError, match=r"expected a string, found a list \(processes\[0\]\.env at line 4"):
        load(HEAD + "  env: {[a]: b}\n")


def test_what_is_under_an_unknown_key_is_not_decoded() -> None:
    """Under a key that nobody knows anything may stand that is YAML: keys twice, lying tags, values in themselves."""
    text = HEAD + "  zzz: [{a: 1, a: 2}, !!int x, !!binary '*', &a [*a], {<<: 5}]\n"

    assert load(HEAD).processes == load(text).processes


def test_anchors_are_the_last_of_their_name() -> None:
    """An alias stands for the anchor of its name that came last."""
    text = "x: &a 1\ny: &a 2\nprocesses: [{name: job, executable: /x, args: [*a, &a 3, *a]}]\n"

    assert ("2", "3", "3") == load(text).processes[0].args


@pytest.mark.parametrize("text", ["", "\n", "# none\n", "~", "--- ~\n", "---\n", "---\n...\n", "\ufeff", b"\xff\xfe"])
def test_nothing_is_a_job_without_processes(text: str | bytes) -> None:
    """A text without a document, or with a null one, is a job without processes."""
    assert () == load(text).processes
