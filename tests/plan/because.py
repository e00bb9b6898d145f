"""What a ``because`` points at: a named default, a flag, or a key of bpm.yml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import fields, has

from bpm.config import JobConfig, Volume
from bpm.plan import reasons
from bpm.plan.reasons import DEFAULTS

# Which of our own mounts are open, and how.
OPEN_DEFAULTS = {
    (reasons.SYSTEM_MOUNTS, "executable"),
    (reasons.JOB_MOUNTS, "executable"),
    (reasons.TEMPORARY, "writable"),
    (reasons.LOGS, "writable"),
    (reasons.KERNEL_MOUNTS, "writable"),
    (reasons.KERNEL_MOUNTS, "executable"),
}


def openings(asker: Any) -> set[str]:
    """In which ways a mount may be open: ``writable``, ``executable``.

    Args:
        asker: What ``resolve()`` gives for it: a Volume, True for a disk, or the name of a default.
    """
    if isinstance(asker, Volume):
        named = {"writable": asker.writable, "executable": asker.allow_executions}
        return {way for way, asked in named.items() if asked}
    if asker is True:
        return {"writable"}
    return {way for default, way in OPEN_DEFAULTS if default == asker}


def every_because(value: Any) -> Iterator[str]:
    """Each ``because`` in a plan, of all its entries."""
    if isinstance(value, tuple):
        for element in value:
            yield from every_because(element)
    elif has(type(value)):
        for field in fields(type(value)):
            if field.name == "because":
                yield value.because
            else:
                yield from every_because(getattr(value, field.name))


def resolve(because: str, said: JobConfig, flags: Mapping[str, tuple[Any, ...]] | None = None) -> Any:
    """What it points at.

    Raises:
        LookupError: It points at nothing.
        AttributeError: It names a key that bpm.yml does not have.
    """
    if because in DEFAULTS:
        return because
    if because.startswith("flag "):
        flag, index = because.removeprefix("flag ").removesuffix("]").split("[")
        return (flags or {})[flag][int(index)]
    value: Any = said
    while because:
        if isinstance(value, Mapping):
            return value[because]  # the rest is the name of a variable, which may hold anything
        if because.startswith("["):
            index, _, because = because[1:].partition("]")
            value = value[int(index)]
        else:
            end = min(because.find(mark) % (len(because) + 1) for mark in ".[")
            value, because = getattr(value, because[:end]), because[end:]
        because = because.removeprefix(".")
    return value
