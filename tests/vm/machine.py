"""One machine from power on to power off, as seen from outside."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import field, frozen

from tests.vm.hosts import Host
from tests.vm.kernels import Kernel, get_kernel

MEMORY = "2G"

# Bytes of a disk that tests can swap to; on ours it takes no more than is swapped.
SWAP = 1 << 28

_CONSOLE_LINES = 40

_running: set[int] = set()


@frozen
class Outcome:
    """How a machine ended.

    Args:
        status: The command's exit status, 128 and more for a signal; None where the machine ended without one.
        found: What the guest says of itself: ``kernel``, ``pid1``, ``hierarchies``, and ``own``, the command's cgroup.
        console: The last that its kernel and its pid 1 had to say.
        cpu_seconds: What it took of the CPU, its processes included.
    """

    status: int | None
    found: dict[str, Any] = field(factory=dict)
    console: str = ""
    cpu_seconds: float = 0.0


def run(
    host: Host,
    command: list[str],
    environment: dict[str, str],
    directory: Path,
    cpu: int,
    timeout: float,
    show: Callable[[str], None],
) -> Outcome:
    """Boot a host, run a command in it as root, in the current directory, and power it off.

    Args:
        host: Which kind.
        command: Its path and arguments.
        environment: All of its environment.
        directory: An empty one, where the guest finds its orders. What the command writes below ``directory/out`` can
            be read when this returns; whatever else it writes is lost.
        cpu: The one to run on: a guest's processes take turns, and moving between CPUs doubles their time.
        timeout: Seconds after which the machine is ended.
        show: Given every line of the command's output, as it comes.
    """
    kernel = get_kernel(host.suite)
    orders = {
        "command": command,
        "environment": environment,
        "directory": os.getcwd(),
        "python": os.path.realpath(sys.executable),
        "module": str(kernel.module),
        "hierarchy": host.hierarchy,
        "systemd": host.systemd,
        "nested": host.nested,
        "out": str(directory / "out"),
    }
    (directory / "out").mkdir()
    (directory / "orders.json").write_text(json.dumps(orders))
    _make_swap(directory / "swap")
    console = directory / "console"
    cpu_seconds = _execute(kernel, host, directory, console, cpu, timeout, show)
    status, found = directory / "out/status", directory / "out/host.json"
    return Outcome(
        int(status.read_text()) if status.exists() else None,
        json.loads(found.read_text()) if found.exists() else {},
        "\n".join(console.read_text(errors="replace").splitlines()[-_CONSOLE_LINES:]),
        cpu_seconds,
    )


def _execute(
    kernel: Kernel, host: Host, directory: Path, console: Path, cpu: int, timeout: float, show: Callable[[str], None]
) -> float:
    """Run the kernel, a program whose threads and helpers are one session, from start to end; the CPU time it took."""
    reader, writer = os.pipe()
    linker = [f"{name}={value}" for name, value in kernel.environment.items()]
    line = [
        *("setarch", "--addr-no-randomize", "taskset", "--cpu-list", str(cpu)),
        # Its memory is a file there; /tmp may be a disk.
        *("env", "TMPDIR=/dev/shm", *linker, str(kernel.program)),
        *("rootfstype=hostfs", "root=/dev/root", "ro", f"mem={MEMORY}", f"uml_dir={directory}/", "umid=vm"),
        f"ubd0={directory}/swap",
        *("quiet", "loglevel=3", "selinux=0", *host.boot_options),
        *("con=null", "con0=null,fd:1", "ssl=null", f"ssl0=null,fd:{writer}"),
        *(f"init={os.path.realpath(sys.executable)}", "--", "-IS", str(Path(__file__).with_name("guest.py"))),
        *(str(directory / "orders.json"), "boot"),
    ]
    with open(console, "wb") as output, open(reader, errors="replace") as lines:
        machine = subprocess.Popen(
            line,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
            start_new_session=True,
        )
        os.close(writer)
        _running.add(machine.pid)
        alarm = threading.Timer(timeout, _end, [machine.pid])
        alarm.start()
        try:
            for text in lines:
                show(text.rstrip("\n"))
        finally:
            alarm.cancel()
            _end(machine.pid)
            _, status, usage = os.wait4(machine.pid, 0)
            machine.returncode = os.waitstatus_to_exitcode(status)
            _running.discard(machine.pid)
    return usage.ru_utime + usage.ru_stime


def _make_swap(path: Path) -> None:
    """The disk to swap to: what mkswap(8) writes, version 1 and the number of the last page."""
    page = 4096
    with open(path, "wb") as file:
        file.truncate(SWAP)
        file.seek(1024)
        file.write(struct.pack("=III", 1, SWAP // page - 1, 0))
        file.seek(page - 10)
        file.write(b"SWAPSPACE2")


def end_all() -> None:
    """End every machine that runs, from another thread than those that wait for them."""
    for session in list(_running):
        _end(session)


def _end(session: int) -> None:
    """End a machine with all of its helpers, which would outlive it."""
    try:
        os.killpg(session, signal.SIGKILL)
    except ProcessLookupError:
        pass
