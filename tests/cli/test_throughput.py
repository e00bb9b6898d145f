"""How fast output passes through `bpm run`, which writes it twice."""

from __future__ import annotations

import filecmp
import os
import pwd
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine
from tests.conftest import BoshRoot

pytestmark = [pytest.mark.needs_root, pytest.mark.same_everywhere]

SIZE = 1 << 30
FLOOD = f"head -c {SIZE} /dev/zero | cat"
ATTEMPTS = 20


@pytest.fixture
def in_memory(job_user: pwd.struct_passwd) -> Iterator[CommandLine]:
    """bpm on a root in memory: what a disk takes depends on who else writes to it."""
    with tempfile.TemporaryDirectory(prefix="bpm-root-", dir="/dev/shm") as directory:
        os.chmod(directory, 0o755)
        yield CommandLine(BoshRoot(Path(directory)), job_user.pw_name)


@pytest.mark.timeout(300)
def test_a_gigabyte_passes_at_half_the_speed_of_cat(in_memory: CommandLine) -> None:
    """1 GB reaches both log file and stdout, whole, in no more than twice what cat takes to write it to one file."""
    bpm = in_memory
    bpm.root.add_job("web", f'processes: [{{name: web, executable: /bin/sh, args: [-c, "{FLOOD}"]}}]\n')
    copy, output = bpm.root.path / "copy", bpm.root.path / "output"
    log = bpm.root.path / "sys/log/web/web.stdout.log"
    ratios: list[float] = []
    # Other users of the machine have their moods: the best of a few is what bpm can do.
    while len(ratios) < ATTEMPTS and not (ratios and ratios[-1] >= 0.5):
        for path in (copy, output, log):
            path.unlink(missing_ok=True)
        with copy.open("wb") as file:
            cat = seconds(["/bin/sh", "-c", FLOOD], file.fileno(), {"PATH": "/usr/bin:/bin"})
        with output.open("wb") as file:
            run = seconds(bpm.argv("run", "web"), file.fileno(), bpm.environment)
        assert (SIZE, SIZE, SIZE) == tuple(path.stat().st_size for path in (copy, output, log))
        ratios.append(cat / run)

    assert filecmp.cmp(output, log, shallow=False)
    assert max(ratios) >= 0.5, ratios


def seconds(argv: list[str], stdout: int, environment: dict[str, str]) -> float:
    """How long a command takes."""
    begun = time.monotonic()
    subprocess.run(argv, stdout=stdout, stdin=subprocess.DEVNULL, env=environment, check=True)
    return time.monotonic() - begun
