"""Golden plans: NAME.yml, with NAME.facts.json where the host matters, and the plan it makes in NAME.json.

``python -m tests.plan.golden`` writes the plans anew; the change is reviewed as a diff.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bpm.config import load
from bpm.plan import HostFacts, ProcessPlan, from_json, make_plan, to_json

HERE = Path(__file__).parent
JOB = "web"
WIDTH = 110


def names() -> list[str]:
    """The names of all golden plans."""
    return sorted(path.stem for path in HERE.glob("*.yml"))


def plan_of(name: str) -> ProcessPlan:
    """The plan as it is made now, of the file's first process."""
    facts_file = HERE / f"{name}.facts.json"
    facts = from_json(facts_file.read_text(), HostFacts) if facts_file.exists() else HostFacts()
    config = load((HERE / f"{name}.yml").read_text(), job=JOB, root=facts.root)
    return make_plan(config, config.processes[0], facts)


def render(plan: ProcessPlan) -> str:
    """The plan's JSON, an entry a line; of the seccomp policy only its name, since it has a test of its own."""
    value = json.loads(to_json(plan))
    if value["seccomp"]:
        value["seccomp"] = value["seccomp"]["name"]
    return _lines(value, "") + "\n"


def _lines(value: Any, margin: str) -> str:
    flat = json.dumps(value)
    if not isinstance(value, dict | list) or not value or (margin and len(margin) + len(flat) <= WIDTH):
        return flat
    inner = margin + "  "
    if isinstance(value, dict):
        entries = [f"{json.dumps(key)}: {_lines(element, inner)}" for key, element in value.items()]
        opening, closing = "{}"
    elif all(isinstance(element, dict) for element in value):
        entries = [json.dumps(element) for element in value]
        opening, closing = "[]"
    else:
        entries = [_lines(element, inner) for element in value]
        opening, closing = "[]"
    body = ",\n".join(inner + entry for entry in entries)
    return f"{opening}\n{body}\n{margin}{closing}"
