"""The configuration as values."""

from __future__ import annotations

import attrs
import pytest

from bpm.config import Hooks, JobConfig, Limits, ProcessConfig, Unsafe, Variables, Volume, keys_of, load
from bpm.config.schema import Number, Record, TextMap, record_of
from bpm.errors import Problem

NEW_LIMITS = ("cpu", "cpu_weight", "swap", "memory_high")

CLASSES = [JobConfig, ProcessConfig, Limits, Volume, Hooks, Unsafe]


@pytest.mark.parametrize("cls", CLASSES)
def test_values_cannot_be_changed(cls: type) -> None:
    """A configuration is a value: no field can be set, and equal ones have equal hashes."""
    value = cls()

    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(value, keys_of(cls)[0], "x")
    assert cls() == value
    assert hash(cls()) == hash(value)


@pytest.mark.parametrize("cls", CLASSES)
def test_each_key_is_documented_and_can_be_read(cls: type) -> None:
    """Each field that is a key has a sentence for the manual, and the loader has a shape for it."""
    documented = [field.name for field in attrs.fields(cls) if field.metadata.get("doc", "").endswith(".")]

    assert list(keys_of(cls)) == documented == list(record_of(cls).keys)


def test_keys_are_named_as_in_the_contract() -> None:
    """The keys are the public interface of upstream, and the limits that it has not."""
    assert ("processes",) == keys_of(JobConfig)
    assert (
        *("name", "executable", "args", "env", "workdir", "hooks", "capabilities", "limits"),
        *("ephemeral_disk", "persistent_disk", "additional_volumes", "unsafe", "shutdown_signal"),
    ) == keys_of(ProcessConfig)
    assert ("memory", "open_files", "processes", "core_file_size", *NEW_LIMITS) == keys_of(Limits)
    assert ("path", "writable", "allow_executions", "mount_only", "shared") == keys_of(Volume)
    assert ("pre_start",) == keys_of(Hooks)
    assert ("privileged", "unrestricted_volumes", "host_pid_namespace") == keys_of(Unsafe)


def test_a_new_key_is_one_field() -> None:
    """The loader reads the shape of a key from the type of its field, and from nothing else."""
    shape = record_of(ProcessConfig).keys

    assert TextMap() == shape["env"]
    assert isinstance(shape["limits"], Record)
    assert Number(range(1 << 64)) == shape["limits"].keys["open_files"]
    assert Number(range(-(1 << 63), 1 << 63)) == shape["limits"].keys["processes"]


def test_variables_are_a_value() -> None:
    """Variables are ordered by name, hashable, equal to any equal map, and cannot be set."""
    variables = Variables({"B": "2", "A": "1"})

    assert ["A", "B"] == list(variables)
    assert Variables({"A": "1", "B": "2"}) == variables
    assert hash(Variables({"A": "1", "B": "2"})) == hash(variables)
    assert {"A": "1", "B": "2"} == variables
    assert variables != {"A": "1"}
    with pytest.raises(TypeError):
        variables["A"] = "x"  # type: ignore[index]


def test_warnings_are_no_part_of_what_was_said() -> None:
    """Two configurations that differ in an unknown key alone are equal."""
    assert load("processes: []") == load("processes: []\nzzz: 1\n")
    assert JobConfig(warnings=(Problem("x"),)) == JobConfig()


def test_the_job_is_kept_with_the_configuration() -> None:
    """A configuration knows the job that it belongs to."""
    assert "web" == load("", job="web").job
