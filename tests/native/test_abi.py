"""What C and Python say of each other is the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bpm import _native
from bpm._native import EXIT_SIZE, ExitFacts, Stage, StepKind, binding, parse_exit
from bpm._native import record as exit_record
from bpm._native._ffi import ffi, lib

ABI = Path(_native.__file__).with_name("abi.h").read_text()


def enum_of(name: str, prefix: str) -> dict[str, int]:
    """An enum of the compiled extension, without its prefix."""
    return {key.removeprefix(prefix): value for value, key in ffi.typeof(f"enum {name}").elements.items()}


def test_every_stage_has_the_same_name_and_number() -> None:
    """enum bpm_stage is Stage, and a stage NONE that no failure has."""
    assert enum_of("bpm_stage", "BPM_STAGE_") == {"NONE": 0} | {stage.name: stage.value for stage in Stage}


def test_every_step_kind_has_the_same_name_and_number() -> None:
    """enum bpm_step_kind is StepKind."""
    assert enum_of("bpm_step_kind", "BPM_STEP_") == {kind.name: kind.value for kind in StepKind}


def test_every_flag_has_the_same_name_and_number() -> None:
    """Each of enum bpm_flag is a constant of binding.py."""
    flags = enum_of("bpm_flag", "BPM_FLAG_")

    assert flags == {name: getattr(binding, name, None) for name in flags}


def test_the_exit_record_has_the_size_and_order_that_python_unpacks() -> None:
    """struct bpm_exit as C fills it is what parse_exit() reads."""
    record = ffi.new(
        "struct bpm_exit *",
        {"magic": b"bpmexit1", "code": 1, "status": 2, "started": 3, "ended": 4, "user": 5, "system": 6, "max_rss": 7},
    )
    data = bytes(ffi.buffer(record))  # type: ignore[attr-defined]

    assert (EXIT_SIZE, ExitFacts(1, 2, 3, 4, 5, 6, 7)) == (len(data), parse_exit(data))


@pytest.mark.parametrize("change", [lambda b: b"", lambda b: b[:-1], lambda b: b + b"x", lambda b: b"x" + b[1:]])
def test_anything_but_an_exit_record_is_none(change) -> None:  # type: ignore[no-untyped-def]
    """Less, more, or other than what init writes is no exit record."""
    whole = b"bpmexit1" + bytes(EXIT_SIZE - 8)

    assert (parse_exit(whole) is not None, parse_exit(change(whole))) == (True, None)


def test_as_many_counters_as_python_says() -> None:
    """Their number and their size are constants of binding.py; a text that was cut loses its last line."""
    record = ffi.new("struct bpm_exit *", {"magic": b"bpmexit1", "counters": [b"oom 1\n", b"oom 1\nkill 2", b""]})
    facts = parse_exit(bytes(ffi.buffer(record)))  # type: ignore[attr-defined]
    limits = enum_of("bpm_counter_limit", "BPM_")

    assert {"COUNTERS": exit_record.COUNTERS, "COUNTER_SIZE": exit_record.COUNTER_SIZE} == limits
    assert facts is not None
    assert ("oom 1\n", "oom 1\n", *[""] * (exit_record.COUNTERS - 2)) == facts.counters


def test_a_report_is_twelve_bytes() -> None:
    """(stage, item, errno), as documented: three 32-bit numbers in this order, so that a pipe takes it whole."""
    layout = [(name, field.offset) for name, field in ffi.typeof("struct bpm_report").fields]

    assert (12, [("stage", 0), ("item", 4), ("error", 8)]) == (ffi.sizeof("struct bpm_report"), layout)


@pytest.mark.parametrize("name", re.findall(r"^struct (\w+) \{", ABI, re.MULTILINE))
def test_no_struct_has_a_hole(name: str) -> None:
    """Every byte of a struct is a field's, so that its layout is the same on every 64-bit machine."""
    fields = ffi.typeof(f"struct {name}").fields
    used = sum(ffi.sizeof(field.type) for _, field in fields)

    assert used == ffi.sizeof(f"struct {name}")


def test_python_sees_exactly_these_functions() -> None:
    """Two make init's memfd and know it, one makes a template, one spawns, six are for what is a spawn's own."""
    one_spawns_own = {"bpm_plumb", "bpm_reap", "bpm_close_spawned"}
    one_spawns_own |= {"bpm_close", "bpm_close_plumbing", "bpm_close_theirs"}

    assert {"bpm_make_init", "bpm_is", "bpm_make_template", "bpm_spawn"} | one_spawns_own == {
        name for name in dir(lib) if not name.startswith("BPM_")
    }
