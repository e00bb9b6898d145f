"""Patterns mean what Go's filepath.Glob makes of them."""

from __future__ import annotations

import os
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpm.host.patterns import BadPattern, _matches, _parse, expand, has_pattern


@pytest.fixture
def tree(tmp_path: object) -> str:
    """jobs with configurations, a hidden one, one without, a file among directories, and a dangling link."""
    top = str(tmp_path)
    for path in ("jobs/a/config/x.yml", "jobs/b/config/x.yml", "jobs/.c/config/x.yml", "jobs/d/other", "jobs/file"):
        os.makedirs(os.path.dirname(f"{top}/{path}"), exist_ok=True)
        open(f"{top}/{path}", "w").close()
    os.symlink("nowhere", f"{top}/jobs/link")
    os.symlink("a", f"{top}/jobs/z")
    return top


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("jobs/*/config/x.yml", [f"jobs/{name}/config/x.yml" for name in (".c", "a", "b", "z")]),
        ("jobs/*", ["jobs/.c", "jobs/a", "jobs/b", "jobs/d", "jobs/file", "jobs/link", "jobs/z"]),
        ("jobs/?", ["jobs/a", "jobs/b", "jobs/d", "jobs/z"]),
        ("jobs/[ab]", ["jobs/a", "jobs/b"]),
        ("jobs/[^ab]", ["jobs/d", "jobs/z"]),
        ("jobs/[a-c]/*", ["jobs/a/config", "jobs/b/config"]),
        ("jobs/**/config", ["jobs/.c/config", "jobs/a/config", "jobs/b/config", "jobs/z/config"]),
        ("**/x.yml", []),
        ("jobs/[!ab]", ["jobs/a", "jobs/b"]),
        ("jobs/f*e", ["jobs/file"]),
        ("jobs/li*", ["jobs/link"]),
        (r"jobs/\a", ["jobs/a"]),
        ("jobs/*/", []),
        ("jobs//*/config", ["jobs/.c/config", "jobs/a/config", "jobs/b/config", "jobs/z/config"]),
        ("jobs/*//config", []),
        ("jobs/*/..", []),
        ("jobs/../jobs/d*", ["jobs/d"]),
        ("none/*", []),
        ("jobs/file/*", []),
        ("jobs/*\0", []),
        ("jo\0bs/*", []),
        ("jobs/a", ["jobs/a"]),
        ("jobs/link", ["jobs/link"]),
        ("jobs/none", []),
        ("jobs/\0", []),
    ],
)
def test_matches(tree: str, pattern: str, matches: list[str]) -> None:
    """Sorted matches, hidden ones too; directories are listed, and links in the way followed."""
    assert [f"{tree}/{match}" for match in matches] == list(expand(f"{tree}/{pattern}"))


def test_matches_of_a_relative_pattern(tree: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative pattern has relative matches."""
    monkeypatch.chdir(tree)
    assert [("jobs",), ("jobs/a", "jobs/b")] == [expand("j*"), expand("jobs/[ab]")]


def test_matches_from_the_root() -> None:
    """Slashes at the beginning count as one."""
    assert ("/etc",) == expand("/et[c]") == expand("//et[c]")


def test_names_that_are_no_text(tree: str) -> None:
    """Names with newlines and bytes that are not UTF-8 match like others."""
    os.mkdir(os.fsencode(tree) + b"/odd")
    open(os.fsencode(tree) + b"/odd/\xff\n*", "w").close()
    assert (f"{tree}/odd/\udcff\n*",) == expand(f"{tree}/odd/?\n[*]") == expand(f"{tree}/odd/*")


@pytest.mark.parametrize(
    "pattern",
    [
        "[",
        "a[",
        "[]",
        "[]a]",
        "[^]",
        "[^]a]",
        "[a-]",
        "[-a]",
        "[a-",
        "[a",
        "\\",
        "a*\\",
        "[\\",
        "[a-\\]",
        "x[a/b]",
        r"\/a",
    ],
)
def test_malformed(pattern: str) -> None:
    """A malformed pattern is an error wherever it stands, also where nothing exists."""
    for place in ("/no/such/place/", "/no*/such/", ""):
        with pytest.raises(BadPattern):
            expand(place + pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("]", "]", True),
        ("[a]]", "a]", True),
        ("[^^]", "a", True),
        ("[^^]", "^", False),
        (r"[\]]", "]", True),
        (r"[a\-c]", "-", True),
        (r"[a\-c]", "b", False),
        ("[z-a]", "b", False),
        ("[a-cx-z]", "y", True),
        (r"\*", "*", True),
        (r"\*", "a", False),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("*ab*ab*", "abab", True),
        ("*ab*ab*", "aba", False),
        ("[é-í]", "ê", True),
        ("", "", True),
        ("*", "", True),
    ],
)
def test_names(pattern: str, name: str, matches: bool) -> None:
    """Sets, ranges, escapes and stars, each at its edges."""
    assert matches == _matches(_parse(pattern), name)


PIECES = st.sampled_from(
    [
        ("*", ".*"),
        ("?", "."),
        ("a", "a"),
        ("b", "b"),
        ("[ab]", "[ab]"),
        ("[^a]", "[^a]"),
        ("[a-b]", "[ab]"),
        (r"\c", "c"),
    ],
)


@given(st.lists(PIECES, max_size=8), st.text("abc", max_size=8))
def test_names_as_a_regular_expression_has_them(pieces: list[tuple[str, str]], name: str) -> None:
    """A pattern matches just the names that its regular expression does."""
    pattern, expression = ("".join(part) for part in zip(*pieces, strict=True)) if pieces else ("", "")
    assert bool(re.fullmatch(expression, name, re.DOTALL)) == _matches(_parse(pattern), name)


def test_many_stars_take_no_time() -> None:
    """A pattern of a hundred stars does not make matching explode."""
    start = time.process_time()
    assert not _matches(_parse("*a" * 100 + "b"), "a" * 255)
    assert time.process_time() - start < 1


def test_what_a_pattern_is() -> None:
    """A star, a question mark, an opening bracket or a backslash makes a path a pattern."""
    assert ["/a*", "/a?", "/[a", r"/\a"] == [
        p for p in ("/a", "/a*", "/a?", "/[a", "/a]", r"/\a", "/{a}") if has_pattern(p)
    ]
