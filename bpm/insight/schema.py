"""The JSON schema of a plan, read from the classes of the model: docs/plan.schema.json."""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

from attrs import NOTHING, fields, has

from bpm.plan import ProcessPlan

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def plan_schema() -> dict[str, Any]:
    """The schema of what ``ProcessPlan.to_json()`` writes and ``ProcessPlan.from_json()`` reads, draft 2020-12."""
    definitions: dict[str, Any] = {}
    _define(ProcessPlan, definitions)
    whole = definitions.pop("ProcessPlan")
    return {"$schema": DRAFT, "title": "ProcessPlan", **whole, "$defs": dict(sorted(definitions.items()))}


def _define(cls: type, definitions: dict[str, Any]) -> None:
    """The schema of one class, and of those in it."""
    if cls.__name__ in definitions:
        return
    definitions[cls.__name__] = {}
    hints, known = get_type_hints(cls), [field for field in fields(cls) if field.eq]
    definitions[cls.__name__] = {
        "description": " ".join((cls.__doc__ or "").split("\n\n")[0].split()),
        "type": "object",
        "properties": {field.name: _schema_of(hints[field.name], definitions) for field in known},
        "required": [field.name for field in known if field.default is NOTHING],
        "additionalProperties": False,
    }


def _schema_of(hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    arguments = get_args(hint)
    if get_origin(hint) is tuple:
        if len(arguments) == 2 and arguments[1] is ...:
            return {"type": "array", "items": _schema_of(arguments[0], definitions)}
        items = [_schema_of(argument, definitions) for argument in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if type(None) in arguments:
        (kind,) = (argument for argument in arguments if argument is not type(None))
        return {"anyOf": [_schema_of(kind, definitions), {"type": "null"}]}
    if has(hint):
        _define(hint, definitions)
        return {"$ref": f"#/$defs/{hint.__name__}"}
    return {"type": {str: "string", bool: "boolean", int: "integer", float: "number"}[hint]}
