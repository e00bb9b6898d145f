"""The recorded command lines, put so that those of two implementations can be compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

FILE = Path(__file__).parent.parent / "data/cli-transcripts.json"
DATA = json.loads(FILE.read_text())

JOBS: dict[str, str] = DATA["jobs"]
TRANSCRIPT: list[dict[str, str]] = DATA["transcript"]

# The version that upstream printed.
VERSION = "[DEV BUILD]"


def normalise(stream: str, root: str = "ROOT", version: str = VERSION) -> str:
    """One stream of one command: paths, pids and version by name, and every usage text as ``USAGE``.

    What precedes a usage text is help, and what follows it after an empty line is the error.
    """
    text = stream.replace(root, "ROOT").replace(version, "VERSION")
    text = re.sub(r"\A(?:(?!Error: )[^\n]*\n)*?Usage:\n.*?(?=\nError: |\Z)", "USAGE\n", text, flags=re.DOTALL)
    text = re.sub(r"\A\d+\n\Z", "PID\n", text)
    return _normalise_table(text)


def _normalise_table(text: str) -> str:
    """A listing with its pids by name; how wide their column is depends on the kernel's mood."""
    if not text.startswith("Name "):
        return text
    rows = [re.sub(r"\A\d+\Z", "PID", "\t".join(line.split())) for line in text.splitlines()]
    return "".join(re.sub(r"\t\d+\t", "\tPID\t", row) + "\n" for row in rows)
