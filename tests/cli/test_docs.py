"""The manual's page on the command line."""

from __future__ import annotations

import pytest

from bpm.cli import COMMANDS
from bpm.cli.commands import load_command
from tests.cli.conftest import CHECKOUT

pytestmark = pytest.mark.same_everywhere

PAGE = (CHECKOUT / "docs/cli.md").read_text()
SECTIONS = dict(section.split("\n", 1) for section in PAGE.split("\n## ")[1:])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_manual(name: str) -> None:
    """Every command has a section in docs/cli.md, which names all its flags."""
    section = SECTIONS[name]

    assert f"bpm {name}" in section
    assert [] == [flag.name for flag in load_command(name).FLAGS if f"-{flag.short or '-' + flag.name}" not in section]


def test_the_manual_has_no_other_command() -> None:
    """Every section of docs/cli.md is a command's, but the last two."""

    assert sorted(COMMANDS) == sorted(SECTIONS.keys() - {"Exit statuses", "Environment variables"})


@pytest.mark.parametrize("variable", ["BPM_BOSH_ROOT", "BPM_USER", "BPM_DEBUG", "NO_COLOR"])
def test_every_variable_is_in_the_manual(variable: str) -> None:
    """Every variable that bpm reads is in docs/cli.md, and every one that is there is read somewhere."""
    sources = "".join(path.read_text() for path in (CHECKOUT / "bpm").rglob("*.py"))

    assert variable in SECTIONS["Environment variables"]
    assert f'"{variable}"' in sources
