"""Sizes and paths as Go has them."""

from __future__ import annotations

import pytest

from bpm.config import clean_path, is_below, parse_size
from bpm.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "value"),
    [
        ("1B", 1), ("1K", 2**10), ("1kb", 2**10), ("1MiB", 2**20), ("1g", 2**30), ("1TB", 2**40), ("1P", 2**50),
        ("1EiB", 2**60), ("0.1B", 0), ("0M", 0), ("+1.K", 1024), (".5G", 2**29), ("\u2003 2M\n", 2**21),
        ("1_0B", 10), ("15E", 15 * 2**60), ("16E", 2**63), ("1Mıb", 2**20),
    ],
)  # fmt: skip
def test_a_size_is_a_number_of_bytes(size: str, value: int) -> None:
    """A number and a unit, in any case, in powers of 1024; what does not fit is what Go makes of it."""
    assert value == parse_size(size)


@pytest.mark.parametrize(
    "size",
    ["1", "", "B", "M1", "1 M", "-1M", "1Z", "1KK", "1iB", "1e3M", "0x1M", "1__0M", "٣M", "\x1c1M", "9" * 400 + "B"],
)
def test_what_is_no_size_is_refused(size: str) -> None:
    """Without a unit, negative, with spaces or letters inside: refused with the sentence of bytefmt."""
    with pytest.raises(ConfigError, match=r"^byte quantity must be a positive integer with a unit of measurement"):
        parse_size(size)


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("", "."), (".", "."), ("/", "/"), ("//", "/"), ("///a", "/a"), ("/..", "/"), ("/../a", "/a"), ("..", ".."),
        ("../..", "../.."), ("a/..", "."), ("a/../..", ".."), ("a//b/./c/", "a/b/c"), ("/a/../../b", "/b"),
        ("a/../../b", "../b"), ("...", "..."), ("/a b/ ", "/a b/ "), ("unix:///x", "unix:/x"),
    ],
)  # fmt: skip
def test_a_path_is_cleaned_by_its_names_alone(path: str, clean: str) -> None:
    """A clean path is the shortest of the same meaning, no file looked at."""
    assert clean == clean_path(path)


@pytest.mark.parametrize(
    ("path", "directory", "is_inside"),
    [("/a/b", "/a", True), ("/a", "/a", False), ("/ab", "/a", False), ("/a", "/", True), ("/", "/", False)],
)
def test_below_is_strict(path: str, directory: str, is_inside: bool) -> None:
    """A path is below a directory when it has the directory's names and at least one more."""
    assert is_inside == is_below(path, directory)
