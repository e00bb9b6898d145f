"""`python -m tests.interpreters`: one wheel passes the library's tests under every supported Python of this machine."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path

from tests.wheel import TOP, run

OLDEST = (3, 10)

# What depends on the interpreter: asyncio, the subprocess that ours is like, imports.
TESTS = (
    "tests/sandbox/test_aio.py",
    "tests/sandbox/test_like_asyncio.py",
    "tests/sandbox/test_like_subprocess.py",
    "tests/sandbox/test_run.py",
    "tests/sandbox/test_process.py",
    "tests/test_public_api.py",
)

PLACES = ("/usr/bin", "/usr/local/bin", *map(str, Path.home().glob(".pyenv/versions/*/bin")))


def interpreters() -> dict[tuple[int, int], Path]:
    """A Python of each version that is supported and installed here."""
    found: dict[tuple[int, int], Path] = {}
    for place in PLACES:
        for path in Path(place).glob("python3.*"):
            version = re.fullmatch(r"python3\.(\d+)", path.name)
            if version and (3, int(version[1])) >= OLDEST:
                found.setdefault((3, int(version[1])), path)
    return dict(sorted(found.items()))


def main() -> None:
    """Build once; install and test with each."""
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", room, TOP, cwd=room)
        (wheel,) = room.glob("*.whl")
        for name in ("tests", "docs"):
            shutil.copytree(TOP / name, room / name, ignore=shutil.ignore_patterns("__pycache__", "example"))
        shutil.copy(TOP / "pyproject.toml", room)
        for (major, minor), interpreter in interpreters().items():
            print(f"Python {major}.{minor}: {interpreter}", flush=True)
            python = room / f"venv{minor}/bin/python"
            run(interpreter, "-m", "venv", python.parent.parent, cwd=room)
            run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[test]", cwd=room)
            run(python, "-m", "pytest", "-q", *TESTS, cwd=room)


if __name__ == "__main__":
    main()
