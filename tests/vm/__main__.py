"""Runs the integration suite on hosts of every kind, one machine for each CPU at a time."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.effort import SLOW_HOST
from tests.vm.hosts import HOSTS, Host
from tests.vm.kernels import get_kernel
from tests.vm.machine import Outcome, end_all, run
from tests.vm.report import Result, read_tally, write_table

# What touches no kernel is the same on all of them.
PURE = {"bench", "config", "data", "inside", "plan", "vm"}
# Every call of every ABI is compared there, and a user-mode kernel has no 32-bit ones.
ON_THE_MACHINE_ITSELF = {"differential"}
KERNEL_TESTS_ELSEWHERE = ["tests/plan/test_seccomp_kernel.py"]

_terminal = threading.Lock()


def main() -> int:
    arguments = parse_arguments()
    hosts = [HOSTS[name] for name in arguments.host]
    for suite in {host.suite for host in hosts}:
        get_kernel(suite)
    cpus: SimpleQueue[int] = SimpleQueue()
    for cpu in sorted(os.sched_getaffinity(0), reverse=True):
        cpus.put(cpu)

    def test(host: Host) -> Result | None:
        cpu = cpus.get()
        try:
            return try_host(host, arguments.pytest, cpu, arguments.timeout)
        finally:
            cpus.put(cpu)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ThreadPoolExecutor(cpus.qsize()) as pool:
        try:
            results = list(pool.map(test, hosts))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    if arguments.table:
        write_table([result for result in results if result])
    return 0 if all(result and result.tally.run and not result.tally.failed for result in results) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    hosts = ", ".join(HOSTS)
    parser.add_argument("--host", nargs="+", choices=HOSTS, default=list(HOSTS), metavar="HOST", help=hosts)
    parser.add_argument("--table", action="store_true", help="write the table in docs/hosts.md")
    parser.add_argument("--timeout", type=float, default=900, help="seconds for one host (%(default)s)")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after a --; without paths: the whole suite")
    return parser.parse_args()


def try_host(host: Host, arguments: list[str], cpu: int, timeout: float) -> Result | None:
    """Run the tests on one host, telling what it is and how they went; None if it never got that far."""

    def show(line: str) -> None:
        with _terminal:
            print(f"{host.name}: {line}", flush=True)

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="bpm-vm-", dir="/tmp") as directory:
        tally_file = Path(directory, "out/junit.xml")
        command = pytest_command(arguments, tally_file)
        outcome = run(host, command, environment(), Path(directory), cpu, timeout, show)
        tally = read_tally(tally_file)
    took = time.monotonic() - began
    if outcome.status is None or not outcome.found:
        show(f"ended after {took:.0f} s without a result; its console:\n{outcome.console}")
        return None
    result = Result(host, outcome.found["kernel"], describe_hierarchy(outcome), tally)
    show(f"Linux {result.kernel}, {result.hierarchy}: {tally}, in {took:.0f} s (exit status {outcome.status})")
    return result


def pytest_command(arguments: list[str], tally: Path) -> list[str]:
    """Pytest by the interpreter that runs this, on the whole suite unless the arguments have paths of tests."""
    chosen = arguments
    if not any(os.path.exists(argument.partition("::")[0]) for argument in arguments):
        chosen = [*arguments, *integration_tests()]
    fixed = ["-q", "--color=no", "--tb=short", "-p", "no:cacheprovider", "--timeout=600", f"--junitxml={tally}"]
    return [sys.executable, "-m", "pytest", *fixed, *chosen]


def integration_tests() -> list[str]:
    """Every directory of tests that is not known to be pure, nor for the machine itself."""
    left_out = PURE | ON_THE_MACHINE_ITSELF
    found = [entry.path for entry in os.scandir("tests") if entry.is_dir() and entry.name not in left_out]
    return [*sorted(path for path in found if "__" not in path), *KERNEL_TESTS_ELSEWHERE]


def environment() -> dict[str, str]:
    """What the tests need of ours, and word that examples are dear there."""
    ours = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return {**ours, SLOW_HOST: "yes", "PYTHONDONTWRITEBYTECODE": "1"}


def describe_hierarchy(outcome: Outcome) -> str:
    found = outcome.found
    return f"{', '.join(found['hierarchies'])}; {found['pid1']} is pid 1; own cgroup {', '.join(found['own'])}"


if __name__ == "__main__":
    sys.exit(main())
