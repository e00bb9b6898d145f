"""The examples of a page of the manual: its Python blocks, each with the output that stands below it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from attrs import evolve, field, frozen

CHECKOUT = Path(__file__).resolve().parent.parent

FENCE = re.compile(r"^```(\w+) ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@frozen
class Example:
    """One program of a page.

    Args:
        place: The page and the line of its first word.
        code: The program.
        outputs: What it prints, by whom it prints that for: ``root``, ``user``, or the empty word for everybody.
    """

    place: str
    code: str
    outputs: dict[str, str] = field(factory=dict)

    def output_for(self, who: str) -> str:
        """What it prints for them."""
        return self.outputs.get(who, self.outputs.get("", ""))


def examples_of(page: str) -> list[Example]:
    """The programs of a page, in its order."""
    return list(_examples(page, (CHECKOUT / page).read_text()))


def _examples(page: str, text: str) -> Iterator[Example]:
    example: Example | None = None
    for block in FENCE.finditer(text):
        language, who, body = block.groups()
        if language == "python":
            if example:
                yield example
            line = text.count("\n", 0, block.start()) + 2
            example = Example(f"{page}:{line}", body)
        elif language == "text" and example:
            example = evolve(example, outputs={**example.outputs, who: body})
    if example:
        yield example
