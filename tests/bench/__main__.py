"""`python -m tests.bench`: what a spawn costs, as ratios in one run; exit status 1 when a bound is broken.

Three servers take turns with idle gaps between, since back to back hides what the kernel makes a first one
wait for: a bare C program, the library in a small process, and the library in a process of 1 GiB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.generate import compile_bare
from tests.bench.job import prepared_request
from tests.conftest import BoshRoot

TO_BARE, TO_SMALL = 1.5, 1.1
GIBIBYTE = 1024
WARM_UP = 10
MICROSECONDS = 1000


class Server:
    """A process that spawns once for each byte it is sent."""

    def __init__(self, name: str, command: list[str]) -> None:
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self.executed: list[int] = []
        self.reaped: list[int] = []

    def spawn(self, *, keep: bool) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(b"x")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} failed")
        if keep:
            executed, reaped = map(int, line.split())
            self.executed.append(executed)
            self.reaped.append(reaped)

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def measure(servers: list[Server], runs: int, gap: float) -> None:
    """Let them take turns."""
    for run in range(runs + WARM_UP):
        for server in servers:
            time.sleep(gap)
            server.spawn(keep=run >= WARM_UP)


def report(servers: list[Server]) -> list[float]:
    """Print the table; how each compares with the first server, by first quartiles.

    Whatever else the machine does only ever adds to a measurement, so the lower ones tell more of the code; what
    the code itself waits for, it waits for every time.
    """
    print(f"{'spawn to exec':24}{'quartile':>10}{'median':>10}{'p90':>10}{'reaped':>10}   us")
    quartiles = []
    for server in servers:
        first, median, _ = statistics.quantiles(server.executed, n=4)
        p90 = statistics.quantiles(server.executed, n=10)[-1]
        quartiles.append(first)
        numbers = first, median, p90, statistics.median(server.reaped)
        print(f"{server.name:24}" + "".join(f"{number / MICROSECONDS:10.0f}" for number in numbers))
    return [quartile / quartiles[0] for quartile in quartiles]


def judge(name: str, ratio: float, bound: float) -> bool:
    """Print one ratio beside its bound; whether it holds."""
    holds = ratio <= bound
    print(f"{name:48}{ratio:8.2f} x   bound {bound:.2f} x   {'holds' if holds else 'BROKEN'}")
    return holds


def run(runs: int, gap: float, root: Path, directory: Path) -> bool:
    """Compile, measure, judge."""
    bosh_root = BoshRoot(root)
    bosh_root.add_job("web", "")
    library = [sys.executable, "-m", "tests.bench.library", str(root)]
    with prepared_request(str(root)) as request:
        bare = compile_bare(request, directory)
        servers = [
            Server("bare C", bare),
            Server("bpm", [*library, "0"]),
            Server("bpm holding 1 GiB", [*library, str(GIBIBYTE)]),
        ]
        try:
            measure(servers, runs, gap)
        finally:
            for server in servers:
                server.close()
    _, small, large = report(servers)
    print()
    return judge("bpm against bare C", small, TO_BARE) & judge("1 GiB against small", large / small, TO_SMALL)


def main() -> None:
    """Measure in a BOSH root of our own."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many spawns of each kind (default: 200)")
    parser.add_argument("--gap", type=float, default=0.03, help="idle seconds before each (default: 0.03)")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="bpm-bench-", dir="/srv"))
    try:
        os.chmod(root, 0o755)
        (root / "build").mkdir()
        holds = run(arguments.runs, arguments.gap, root / "bosh", root / "build")
    finally:
        shutil.rmtree(root)
    sys.exit(not holds)


if __name__ == "__main__":
    main()
