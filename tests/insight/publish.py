"""Writes docs/plan.schema.json: ``python -m tests.insight.publish``."""

from __future__ import annotations

import json
from pathlib import Path

from bpm import plan_schema

FILE = Path(__file__).parent.parent.parent / "docs/plan.schema.json"


def text() -> str:
    """What the file holds."""
    return json.dumps(plan_schema(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
