"""The texts whose meaning upstream's own decoder settled, and our values in their notation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from bpm.config import Variables, keys_of

Case = dict[str, Any]

CASES: list[Case] = json.loads((Path(__file__).parent.parent / "data" / "yaml-cases.json").read_text())


def plain(value: Any) -> Any:
    """A configuration as the cases note it: keys of bpm.yml, and only what differs from empty."""
    if attrs.has(type(value)):
        named = {name: plain(getattr(value, name)) for name in keys_of(type(value))}
        return {name: inner for name, inner in named.items() if not _is_empty(inner)}
    if isinstance(value, Variables):
        return dict(value)
    return [plain(inner) for inner in value] if isinstance(value, tuple) else value


def without_empty(noted: Any) -> Any:
    """What a case notes, without the maps that it shows as given but empty."""
    if isinstance(noted, list):
        return [without_empty(inner) for inner in noted]
    if not isinstance(noted, dict):
        return noted
    named = {name: inner if name == "env" else without_empty(inner) for name, inner in noted.items()}
    return {name: inner for name, inner in named.items() if not _is_empty(inner)}


def _is_empty(value: Any) -> bool:
    return value in (None, "", False, 0, [], {})
