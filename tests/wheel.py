"""`python -m tests.wheel`: a wheel built from the sdist, alone in a new environment, imports and spawns `true`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

SPAWN_TRUE = """
import os
from bpm._native import SpawnRequest, Step, StepKind, spawn

usr, root = os.open("/", os.O_PATH), Step(StepKind.BIND, 0, b"", source_fd=os.open("/", os.O_PATH), recursive=True)
spawned = spawn(SpawnRequest(
    argv=(b"true",), env=(), candidates=(b"/bin/true",), stdio=(0, 1, 2), namespaces=0x00020000 | 0x20000000,
    steps=(root,), uid=65534, gid=65534,
))
ended = os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED)
assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0), ended
print("a wheel alone spawns true, as pid", spawned.pid)
"""


def run(*command: str | Path, cwd: Path) -> None:
    """Run a command; its failure is ours."""
    subprocess.run(command, cwd=cwd, check=True)


def main() -> None:
    """Build, install, spawn."""
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        run(sys.executable, "-m", "build", "--outdir", room, TOP, cwd=room)
        (wheel,) = room.glob("*.whl")
        assert "-cp310-abi3-" in wheel.name, wheel.name
        venv.create(room / "venv", with_pip=True)
        python = room / "venv/bin/python"
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=room)
        run(room / "venv/bin/bpm", "version", cwd=room)
        run(python, "-I", "-c", SPAWN_TRUE, cwd=room)


if __name__ == "__main__":
    main()
