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
from tests.vm.kernels import explain_absence, get_kernel
from tests.vm.machine import Outcome, end_all, run
from tests.vm.report import Result, read_tally, write_table
from tests.vm.suite import pytest_command

_terminal = threading.Lock()


def main() -> int:
    arguments = parse_arguments()
    if absence := explain_absence():
        print(f"no virtual hosts: {absence}")
        return 0 if arguments.where_possible else 1
    hosts = [HOSTS[name] for name in arguments.host or HOSTS]
    for suite in {host.suite for host in hosts}:
        get_kernel(suite)
    cpus: SimpleQueue[int] = SimpleQueue()
    for cpu in sorted(os.sched_getaffinity(0), reverse=True):
        cpus.put(cpu)

    def test(host: Host) -> Result | None:
        cpu = cpus.get()
        try:
            result = try_host(host, arguments.pytest, cpu, arguments.timeout)
        finally:
            cpus.put(cpu)
        if arguments.table and result:
            with _terminal:
                write_table([result])
        return result

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ThreadPoolExecutor(cpus.qsize()) as pool:
        try:
            results = list(pool.map(test, hosts))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
            raise
    return 0 if all(result and result.tally.run and not result.tally.failed for result in results) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    hosts = ", ".join(HOSTS)
    parser.add_argument("--host", nargs="+", action="extend", choices=HOSTS, metavar="HOST", help=hosts)
    parser.add_argument("--table", action="store_true", help="write these hosts' rows of the table in docs/hosts.md")
    parser.add_argument("--where-possible", action="store_true", help="be content where no such kernel can be had")
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
    price = f"{took:.0f} s, {outcome.cpu_seconds:.0f} s of CPU"
    show(f"Linux {result.kernel}, {result.hierarchy}: {tally}, in {price} (exit status {outcome.status})")
    return result


def environment() -> dict[str, str]:
    """What the tests need of ours, and word that examples are dear there."""
    ours = {name: os.environ[name] for name in ("HOME", "LANG", "PATH") if name in os.environ}
    return {**ours, SLOW_HOST: "yes"}


def describe_hierarchy(outcome: Outcome) -> str:
    found = outcome.found
    return f"{', '.join(found['hierarchies'])}; {found['pid1']} is pid 1; own cgroup {', '.join(found['own'])}"


if __name__ == "__main__":
    sys.exit(main())
