"""What yaml.v3 and upstream's checks make of a text is what `load` makes of it, text by text."""

from __future__ import annotations

import pytest
import yaml

from bpm.config import load, parse_size
from bpm.errors import ConfigError
from tests.config.cases import CASES, Case, plain, without_empty

by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def check(case: Case) -> None:
    if "rejected" in case:
        with pytest.raises(ConfigError):
            load(case["yaml"])
    elif "invalid" in case:
        with pytest.raises(ConfigError) as caught:
            load(case["yaml"])

        assert [case["invalid"]] == [problem.reason for problem in caught.value.problems]
    else:
        assert without_empty(case["config"]) == plain(load(case["yaml"]))


@by_name
def test_it_means_what_it_means_upstream(case: Case) -> None:
    """A text is accepted with the same values, rejected, or invalid with the same sentence."""
    check(case)


@by_name
def test_it_means_the_same_as_bytes(case: Case) -> None:
    """A text that comes as UTF-16 bytes means what it means as a string."""
    check({**case, "yaml": case["yaml"].encode("utf-16")})


@by_name
def test_it_means_the_same_without_libyaml(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyYAML's own parser, where libyaml is missing, leads to the same."""
    monkeypatch.setattr(yaml, "__with_libyaml__", False)

    check(case)


SIZES = [(size, value) for case in CASES for size, value in case.get("memory", {}).items()]


@pytest.mark.parametrize(("size", "value"), SIZES, ids=[repr(size) for size, _ in SIZES])
def test_sizes_are_what_they_are_upstream(size: str, value: int | str) -> None:
    """A size has upstream's number of bytes, or is refused with upstream's sentence."""
    if isinstance(value, int):
        assert value == parse_size(size)
    else:
        with pytest.raises(ConfigError) as caught:
            parse_size(size)

        assert value == str(caught.value)
