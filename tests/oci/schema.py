"""The published JSON schema of the OCI runtime specification, as Debian packages it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator
from referencing import Registry
from referencing.jsonschema import DRAFT4

PACKAGE = "golang-github-opencontainers-specs-dev"
DIRECTORY = Path("/usr/share/gocode/src/github.com/opencontainers/runtime-spec/schema")

needs_schema = pytest.mark.skipif(not DIRECTORY.is_dir(), reason=f"Debian's package {PACKAGE} is not installed")


@cache
def validator() -> Draft4Validator:
    """Of a config.json; its files refer to each other by their names."""
    files = {path.name: json.loads(path.read_text()) for path in DIRECTORY.glob("*.json")}
    resources = [(name, DRAFT4.create_resource(contents)) for name, contents in files.items()]
    return Draft4Validator(files["config-schema.json"], registry=Registry().with_resources(resources))


def violations(config: dict[str, Any]) -> list[str]:
    """Where a configuration does not follow the schema, and why."""
    return [f"{error.json_path}: {error.message}" for error in validator().iter_errors(config)]
