"""Values as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from attrs import evolve, field, frozen
from hypothesis import given, settings
from hypothesis import strategies as st

from bpm.config import JobConfig, ProcessConfig
from bpm.errors import RecordError
from bpm.plan import HostFacts, ProcessPlan, digest, from_json, make_plan, to_json
from tests.plan.making import plan_of
from tests.strategies import host_facts, job_configs


@frozen
class Inner:
    number: int = 0


@frozen
class Outer:
    text: str
    flag: bool
    ratio: float
    inner: Inner | None = None
    pair: tuple[str, int] = ("", 0)
    many: tuple[Inner, ...] = ()
    names: frozenset[str] = frozenset()
    ignored: str = field(default="", eq=False)


WHOLE = Outer("t", True, 0.5, Inner(1), ("a", 2), (Inner(3), Inner(4)), frozenset("hgfedcba"), "x")
TEXT = (
    '{"text":"t","flag":true,"ratio":0.5,"inner":{"number":1},"pair":["a",2],'
    '"many":[{"number":3},{"number":4}],"names":["a","b","c","d","e","f","g","h"]}'
)


def test_to_json() -> None:
    """Fields keep their order, sets are sorted, and what does not matter to equality is left out."""
    assert to_json(WHOLE) == TEXT


def test_from_json() -> None:
    """What was written is read; a field with a default may be missing."""
    assert from_json(TEXT, Outer) == WHOLE
    assert Outer("t", False, 1.0) == from_json('{"text":"t","flag":false,"ratio":1}', Outer)


def test_indent() -> None:
    """Indented text holds the same."""
    assert json.loads(TEXT) == json.loads(to_json(WHOLE, indent=2))
    assert to_json(WHOLE, indent=2).startswith('{\n  "text": "t",\n')


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "[" * 100_000,
        TEXT + "x",
        TEXT.replace('"text":"t"', '"text":1'),
        TEXT.replace('"text":"t"', '"text":null'),
        TEXT.replace('"text":"t",', ""),
        TEXT.replace('"text":"t"', '"text":"t","text":"t"'),
        TEXT.replace('"text":"t"', '"text":"t","more":1'),
        TEXT.replace('"text":"t"', '"text":"t","ignored":"x"'),
        TEXT.replace("true", "1"),
        TEXT.replace("0.5", "NaN"),
        TEXT.replace("0.5", "true"),
        TEXT.replace('"number":1', '"number":true'),
        TEXT.replace('"number":1', '"number":1.0'),
        TEXT.replace('["a",2]', '["a"]'),
        TEXT.replace('["a",2]', '["a",2,3]'),
        TEXT.replace('["a",2]', '{"a":2}'),
        TEXT.replace('["a","b","c","d","e","f","g","h"]', '["a",1]'),
        TEXT.replace('["a","b","c","d","e","f","g","h"]', "1"),
    ],
)
def test_strict(text: str) -> None:
    """Anything foreign is a RecordError that names the file."""
    with pytest.raises(RecordError) as raised:
        from_json(text, Outer, path="/x/state.json")

    assert str(raised.value).startswith("/x/state.json: ")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text":"t","flag":1,"ratio":1}', "flag: expected bool, got int"),
        ('{"text":"t","flag":true,"ratio":1,"many":[{"number":""}]}', "many[0].number: expected int, got str"),
        ('{"text":"t","flag":true}', "missing field ratio"),
        ('{"text":"t","flag":true,"ratio":1,"inner":{"x":1}}', "unknown field inner.x"),
        ("[]", "the text: expected dict, got list"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    """The error says where and what."""
    with pytest.raises(RecordError) as raised:
        from_json(text, Outer)

    assert reason == raised.value.reason


def test_truncated() -> None:
    """Each truncation of a plan's text is a RecordError."""
    text = to_json(plan_of())
    for length in range(0, len(text), 97):
        with pytest.raises(RecordError):
            from_json(text[:length])


def test_nothing_foreign_is_written() -> None:
    """A value that cannot be read back is not written."""
    with pytest.raises(TypeError):
        to_json(evolve(WHOLE, text=b"bytes"))  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        to_json(evolve(WHOLE, ratio=float("nan")))


def test_bytes_that_are_not_utf8() -> None:
    """Text with bytes that are not UTF-8 comes back as it was, from ASCII."""
    plan = plan_of(args=("\udcff\udc80é😀",))

    assert to_json(plan).isascii()
    assert plan == from_json(to_json(plan))


def test_methods() -> None:
    """A plan writes and reads itself."""
    plan = plan_of()

    assert plan == ProcessPlan.from_json(plan.to_json())


def test_digest() -> None:
    """Equal plans have one digest, and a plan that differs at all has another."""
    job = JobConfig((ProcessConfig("web", "/x"),), job="web")

    assert digest(make_plan(job, None, HostFacts())) == digest(make_plan(job, None, HostFacts()))
    assert digest(plan_of()) != digest(plan_of(args=("",)))
    assert len(digest(plan_of())) == 64


@settings(max_examples=60, deadline=None)
@given(st.one_of(job_configs(), host_facts()))
def test_what_a_plan_is_made_from(value: Any) -> None:
    """What a plan is made from can be written and read too."""
    assert value == from_json(to_json(value), type(value))
