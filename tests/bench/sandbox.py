"""`python -m tests.bench.sandbox`: what the library costs beside its like, as ratios in one run.

From the call to the reaped /bin/true, in the caller's own process. Contenders take turns, so that whatever else the
machine does comes to all of them alike; exit status 1 when a bound is broken.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from bpm import Prepared, Sandbox
from tests.bench.__main__ import GIBIBYTE, Server, measure
from tests.bench.contender import PROGRAM

THREADS, SPAWNS = 8, 1000

# crun of Debian 12 refuses hosts of both versions of cgroups.
ELSEWHERE = ["unshare", "--mount", "sh", "-c", 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"', "sh"]


def contender(name: str, mebibytes: int = 0) -> Server:
    """One of contender.py's."""
    command = [sys.executable, "-m", "tests.bench.contender", name, str(mebibytes)]
    title = f"{name} holding {mebibytes} MiB" if mebibytes else name
    return Server(title, [*ELSEWHERE, *command] if name == "crun" else command)


def compare(runs: int, gap: float) -> bool:
    """Against subprocess, bwrap and crun, and from a large process."""
    names = ("subprocess", "bpm", "bpm, own network", "bpm, limits", "bwrap", "bwrap, the same", "crun")
    servers = [*map(contender, names), contender("bpm", GIBIBYTE)]
    try:
        measure(servers, runs, gap)
    finally:
        for server in servers:
            server.close()
    print(f"{'spawn to reaped':28}{'quartile':>10}{'median':>10}{'p90':>10}   us")
    medians = {}
    for server in servers:
        quartile, median, _ = statistics.quantiles(server.reaped, n=4)
        medians[server.name] = median
        numbers = quartile, median, statistics.quantiles(server.reaped, n=10)[-1]
        print(f"{server.name:28}" + "".join(f"{number / 1000:10.0f}" for number in numbers))
    print()
    ours = medians["bpm"]
    return all(
        [
            judge("bpm / subprocess.run", ours / medians["subprocess"], at_most=2.5),
            judge("bwrap, the same / bpm", medians["bwrap, the same"] / ours, at_least=3),
            judge("crun run / bpm", medians["crun"] / ours, at_least=8),
            judge("bpm of 1 GiB / bpm", medians[f"bpm holding {GIBIBYTE} MiB"] / ours, at_most=1.1),
        ]
    )


def take(prepared: Prepared, threads: int, spawns: int) -> float:
    """Seconds that so many spawns take from so many threads; any error is raised."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: None, range(threads)))
        start = time.perf_counter()
        for done in pool.map(lambda _: prepared.run(PROGRAM, check=True), range(spawns)):
            assert 0 == done.returncode
        return time.perf_counter() - start


def compare_threads(spawns: int) -> bool:
    """Eight threads against one."""
    with Sandbox.system().prepare() as prepared:
        pairs = [(take(prepared, 1, spawns), take(prepared, THREADS, spawns)) for _ in range(3)]
    one, many = (statistics.median(seconds) for seconds in zip(*pairs, strict=True))
    print(f"{spawns} spawns: {one:.2f} s from one thread, {many:.2f} s from {THREADS}")
    return judge(f"{THREADS} threads / one", many / one, at_most=1)


def judge(name: str, ratio: float, *, at_most: float = float("inf"), at_least: float = 0) -> bool:
    """Print one ratio beside its bound; whether it holds."""
    holds = at_least <= ratio <= at_most
    bound = f"at least {at_least:.1f}" if at_least else f"at most {at_most:.1f}"
    print(f"{name:28}{ratio:8.2f} x   bound: {bound} x   {'holds' if holds else 'BROKEN'}")
    return holds


def main() -> None:
    """Measure and judge."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sandbox", description=__doc__)
    parser.add_argument("--runs", type=int, default=200, help="how many spawns of each kind (default: 200)")
    parser.add_argument("--gap", type=float, default=0.002, help="idle seconds before each (default: 0.002)")
    parser.add_argument("--spawns", type=int, default=SPAWNS, help=f"for the threads (default: {SPAWNS})")
    arguments = parser.parse_args()
    compared = compare(arguments.runs, arguments.gap)
    sys.exit(not (compare_threads(arguments.spawns) and compared))


if __name__ == "__main__":
    main()
