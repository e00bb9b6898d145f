"""`python -m tests.bench.contender NAME MEBIBYTES`: one way to run /bin/true to its end, once for each byte on stdin.

Answers with the nanoseconds that it took, in a process that holds so much memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bpm import Limits, Sandbox
from bpm.plan import compile_policy

PAGE = 4096
PROGRAM = ["/bin/true"]

SYSTEM = ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--symlink", "usr/bin", "/bin"]
SYSTEM += ["--symlink", "usr/sbin", "/sbin", "--symlink", "usr/lib", "/lib", "--symlink", "usr/lib64", "/lib64"]
SYSTEM += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--ro-bind", "/sys", "/sys"]
BWRAP = ["bwrap", "--unshare-all", "--share-net", "--die-with-parent", "--uid", "65534", "--gid", "65534", *SYSTEM]

READ_ONLY_BY_BWRAP = {"/proc/bus", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}


@contextmanager
def sandboxed(sandbox: Sandbox) -> Iterator[Callable[[], object]]:
    """By a prepared sandbox."""
    with sandbox.prepare() as prepared:
        yield lambda: prepared.run(PROGRAM, check=True)


@contextmanager
def command(words: list[str]) -> Iterator[Callable[[], object]]:
    """By another program, or by none."""
    yield lambda: subprocess.run(words, check=True)


@contextmanager
def same_by_bwrap() -> Iterator[Callable[[], object]]:
    """By bwrap, asked for all that Sandbox.system() is: the filter, the masks, a session and a /dev/shm of its own."""
    plan = Sandbox.system().plan(PROGRAM)
    assert plan.seccomp is not None
    words = [*BWRAP, "--new-session", "--hostname", "sandbox", "--tmpfs", "/dev/shm"]
    masked, read_only = (
        [c.path for c in covered if os.path.exists(c.path)] for covered in (plan.masked, plan.read_only)
    )
    for path in masked:
        words += ["--tmpfs", path, "--remount-ro", path] if os.path.isdir(path) else ["--ro-bind", os.devnull, path]
    for path in set(read_only) - READ_ONLY_BY_BWRAP:
        words += ["--ro-bind", path, path]
    with tempfile.TemporaryFile() as file:
        file.write(compile_policy(plan.seccomp, os.uname().machine))
        file.flush()
        words += ["--seccomp", str(file.fileno()), *PROGRAM]

        def run() -> None:
            file.seek(0)
            subprocess.run(words, check=True, pass_fds=[file.fileno()])

        yield run


@contextmanager
def crun() -> Iterator[Callable[[], object]]:
    """By `crun run`, with its own default configuration but for the program, and a root of the host's /usr."""
    with tempfile.TemporaryDirectory(prefix="bpm-bench-") as bundle:
        subprocess.run(["crun", "spec"], cwd=bundle, check=True)
        config = json.loads(Path(bundle, "config.json").read_text())
        config["process"] |= {"args": PROGRAM, "terminal": False}
        for name, source in (("bin", "usr/bin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")):
            Path(bundle, "rootfs", name).parent.mkdir(exist_ok=True)
            Path(bundle, "rootfs", name).symlink_to(source)
        for name in ("usr", "etc"):
            Path(bundle, "rootfs", name).mkdir()
            mount = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
            config["mounts"].append(mount)
        Path(bundle, "config.json").write_text(json.dumps(config))
        name = f"bpm-bench-{os.getpid()}"
        yield lambda: subprocess.run(["crun", "run", "--bundle", bundle, name], check=True)


CONTENDERS = {
    "subprocess": lambda: command(PROGRAM),
    "bpm": lambda: sandboxed(Sandbox.system()),
    "bpm, own network": lambda: sandboxed(Sandbox.system(share=())),
    "bpm, limits": lambda: sandboxed(Sandbox.system(limits=Limits(memory="64M", processes=20))),
    "bwrap": lambda: command([*BWRAP, *PROGRAM]),
    "bwrap, the same": same_by_bwrap,
    "crun": crun,
}


def main() -> None:
    """Serve."""
    name, mebibytes = sys.argv[1], int(sys.argv[2])
    ballast = bytearray(mebibytes << 20)
    for offset in range(0, len(ballast), PAGE):
        ballast[offset] = 1
    with CONTENDERS[name]() as run:
        while os.read(0, 1):
            start = time.perf_counter_ns()
            run()
            taken = time.perf_counter_ns() - start
            print(taken, taken, flush=True)


if __name__ == "__main__":
    main()
