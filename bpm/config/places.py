"""Where in its file each key of a bpm.yml stands, for what is noticed only after it was read."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from bpm.config.nodes import Node
from bpm.config.words import format_key
from bpm.errors import Problem


@frozen
class Places:
    """The places of one text.

    Args:
        file: What the text is called.
        found: Line and column of each key, by its path as problems show it.
    """

    file: str
    found: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, file: str, nodes: Mapping[tuple[str | int, ...], Node]) -> Places:
        """Those of the nodes that a decoder has gone through."""
        return cls(file, {format_key(path): (node.line, node.column) for path, node in nodes.items()})

    def find(self, key: str) -> tuple[int, int]:
        """Line and column of a key, or of the nearest one around it that is there; 0 and 0 where there is none."""
        while key and key not in self.found:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return self.found.get(key, (0, 0)) if key else (0, 0)

    def locate(self, problem: Problem) -> Problem:
        """The problem, with the place of its key."""
        line, column = self.find(problem.key)
        return evolve(problem, file=self.file, line=line, column=column)
