"""Laws of `load`, for texts that nobody wrote."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bpm.config import (
    JobConfig,
    ProcessConfig,
    Variables,
    Volume,
    clean_path,
    keys_of,
    load,
    parse_size,
    parse_variable,
    parse_volume,
    validate_volume,
)
from bpm.errors import ConfigError
from tests.config.cases import CASES
from tests.strategies import job_configs

# The machine that runs this may be busy: a slow example is no broken law.
LAW = settings(deadline=None)

TEXTS = [case["yaml"] for case in CASES if case["name"] != "bomb"]

# What YAML, and yaml.v3 in particular, gives a meaning to.
PIECES = st.sampled_from(
    [
        *"\t\n\r #&*!|>'\"%@`?:,-[]{}\\~=<./0\x07\x85\ufeff\u2028é",
        *("<<: ", "*a", "&a ", "- ", "? ", "---\n", "...\n", "null", "yes", "0x1F", "1e400", "-.inf", "_"),
        *("!!int ", "!!str ", "!!binary ", "!!null ", "!!timestamp ", "!x "),
    ]
)


@st.composite
def mutated_texts(draw: st.DrawFn) -> str:
    """A text with a meaning, changed in a few places."""
    text: str = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 8, len(text))))
        text = text[:start] + draw(PIECES | st.just("") | st.just(text[:start][-12:])) + text[end:]
    return text


def raises_only_config_errors(function: Callable[..., Any], *arguments: Any) -> None:
    try:
        function(*arguments)
    except ConfigError as error:
        assert error.problems
        assert all(problem.reason for problem in error.problems)
        assert str(error)


@LAW
@given(st.text(st.characters()) | st.lists(PIECES).map("".join) | mutated_texts())
def test_no_text_makes_load_raise_anything_but_config_error(text: str) -> None:
    """No input makes `load` raise anything but ConfigError: any text, and texts that are nearly right."""
    raises_only_config_errors(load, text)


@LAW
@given(st.binary() | st.builds(bytes.__add__, st.sampled_from([b"\xff\xfe", b"\xfe\xff", b"a: "]), st.binary()))
def test_no_bytes_make_load_raise_anything_but_config_error(source: bytes) -> None:
    """No input makes `load` raise anything but ConfigError: any bytes, with a byte order mark or not."""
    raises_only_config_errors(load, source)


@LAW
@given(mutated_texts())
def test_no_text_makes_load_raise_anything_else_without_libyaml(text: str) -> None:
    """No input makes `load` raise anything but ConfigError: also where PyYAML has no libyaml."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "__with_libyaml__", False)
        raises_only_config_errors(load, text)


@LAW
@given(st.text())
def test_no_flag_or_size_raises_anything_but_config_error(text: str) -> None:
    """No text makes a flag's or a size's parser raise anything but ConfigError."""
    for function in (parse_size, parse_volume, parse_variable):
        raises_only_config_errors(function, text)


@LAW
@given(mutated_texts())
def test_problems_stand_where_the_text_is(text: str) -> None:
    """The place of every problem and warning lies in the text, at most one past the end."""
    try:
        problems = load(text, file="bpm.yml").warnings
    except ConfigError as error:
        problems = error.problems

    lines = text.replace("\r\n", "\n").replace("\r", "\n").replace("\x85", "\n").replace("\u2028", "\n").split("\n")
    for problem in problems:
        assert problem.file == "bpm.yml"
        assert 0 <= problem.line <= len(lines) + 1
        assert problem.line == 0 or 1 <= problem.column <= max(map(len, lines)) + 2


def writable(value: Any) -> Any:
    """A configuration as what PyYAML can write: maps, lists, and bytes for text that is not UTF-8."""
    if attrs.has(type(value)):
        return {name: writable(getattr(value, name)) for name in keys_of(type(value))}
    if isinstance(value, Variables):
        return {writable(name): writable(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [writable(inner) for inner in value]
    if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
        return value.encode("utf-8", "surrogateescape")
    return value


def made_valid(config: JobConfig) -> JobConfig:
    """The same without what `load` refuses: volumes that lie where none may, and a negative core file."""

    def is_valid(volume: Volume) -> bool:
        try:
            validate_volume(volume, config.job, "/var/vcap")
        except ConfigError:
            return False
        return True

    def valid(process: ProcessConfig) -> ProcessConfig:
        core = process.limits.core_file_size
        return attrs.evolve(
            process,
            additional_volumes=tuple(filter(is_valid, process.additional_volumes)),
            limits=attrs.evolve(process.limits, core_file_size=None if core is None else abs(core)),
        )

    return attrs.evolve(config, processes=tuple(map(valid, config.processes)))


@LAW
@given(job_configs().map(made_valid), st.booleans())
def test_a_config_written_out_loads_back_equal(config: JobConfig, is_quoted: bool) -> None:
    """A configuration written out as YAML loads back equal: in plain blocks, or all quoted, tagged and in brackets."""
    style = {"default_style": '"', "default_flow_style": True} if is_quoted else {"default_flow_style": False}
    text: str = yaml.safe_dump(writable(config), None, **style)

    loaded = load(text, job=config.job)

    assert config == loaded
    assert () == loaded.warnings


@LAW
@given(st.text("/.a", max_size=12))
def test_a_clean_path_is_clean_and_means_the_same(path: str) -> None:
    """Cleaning twice changes nothing more, keeps what is rooted rooted, and leaves no empty name."""
    clean = clean_path(path)

    assert clean == clean_path(clean)
    assert path.startswith("/") == clean.startswith("/")
    assert clean == "/" or all(clean.removeprefix("/").split("/"))
    assert ".." not in clean.lstrip("./").split("/")
