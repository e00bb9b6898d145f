"""Writes what the manual has of the code: ``python -m tests.insight.publish``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from attrs import fields

from bpm import JobConfig, plan_schema
from bpm.config.schema import Many, Number, Record, Shape, record_of

DOCS = Path(__file__).parent.parent.parent / "docs"

CONFIG = """\
# bpm.yml

Every key that it may have. What upstream does not know, it ignores. `bpm check` finds what is wrong with a file, and
`bpm plan` shows what comes of it.
"""

SMALL = 1 << 16
"""Below it, a range of numbers is told."""

DEFAULTS = {True: "`true`", False: "`false`"}
"""Those that are no mere absence."""


def config_page() -> str:
    """docs/config.md."""
    return CONFIG + "".join(_tables("", record_of(JobConfig)))


def _tables(path: str, record: Record) -> Iterator[str]:
    """A table of a map's keys, and of those of the maps in it."""
    yield f"\n## `{path}`\n\n" if path else "\n## The file\n\n"
    yield "| key | what it is | default | what it means |\n| --- | --- | --- | --- |\n"
    yield from (_row(record, name, shape) for name, shape in record.keys.items())
    for name, shape in record.keys.items():
        within = shape.entry if isinstance(shape, Many) else shape
        if isinstance(within, Record):
            yield from _tables(f"{path}.{name}".strip(".") + "[]" * isinstance(shape, Many), within)


def _row(record: Record, name: str, shape: Shape) -> str:
    of_class = getattr(fields(record.make), name)
    default = "required" if of_class.metadata["required"] else DEFAULTS.get(of_class.default, "")
    noun = "a whole number" if isinstance(shape, Number) and shape.values[-1] > SMALL else shape.noun
    return f"| `{name}` | {noun} | {default} | {of_class.metadata['doc'].replace('``', '`')} |\n"


PAGES = {
    "plan.schema.json": lambda: json.dumps(plan_schema(), indent=2) + "\n",
    "config.md": config_page,
}


if __name__ == "__main__":
    for name, text in PAGES.items():
        (DOCS / name).write_text(text())
