"""A BOSH root with jobs, and bpm as operators run it."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpm import Environment
from tests.conftest import BoshRoot
from tests.preloaded import Preloaded

CHECKOUT = Path(__file__).parent.parent.parent


class CommandLine:
    """``python -m bpm`` on one root, as one user's job manager, with an environment as empty as monit's.

    Args:
        root: The BOSH root.
        user: Whom jobs run as.
        preloaded: What runs commands to their end in place of a new interpreter, where that costs too much.
    """

    def __init__(self, root: BoshRoot, user: str, preloaded: Preloaded | None = None) -> None:
        self.root = root
        self.preloaded = preloaded
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPATH": str(CHECKOUT),
            "BPM_BOSH_ROOT": str(root.path),
            "BPM_USER": user,
        }

    def __call__(self, *words: str, **more_environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        environment = {**self.environment, **more_environment}
        if self.preloaded:
            return self.preloaded.run(list(words), environment, timeout=60)
        return subprocess.run(
            self.argv(*words),
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
        )

    def begin(self, *words: str) -> subprocess.Popen[bytes]:
        """Begin a command that does not end by itself."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell gives a background job's children SIGINT ignored; a terminal does not.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
        )

    def argv(self, *words: str) -> list[str]:
        """The whole command line."""
        return [sys.executable, "-m", "bpm", *words]

    def stop_all(self) -> None:
        """End whatever still runs."""
        environment = Environment(str(self.root.path), self.environment["BPM_USER"])
        for identifier in environment.records.ids():
            state = environment.records.read(identifier)
            container = environment.process(state.job, state.process).container() if state else None
            if container is not None:
                container.remove()
                container.close()


@pytest.fixture
def bpm(bosh_root: BoshRoot, job_user: pwd.struct_passwd, preloaded: Preloaded | None) -> Iterator[CommandLine]:
    """bpm on an empty root of its own."""
    command_line = CommandLine(bosh_root, job_user.pw_name, preloaded)
    try:
        yield command_line
    finally:
        command_line.stop_all()


def log_file(root: BoshRoot, job: str, name: str) -> Path:
    """A log file's path, in a directory as bpm makes it."""
    directory = root.path / "data/sys/log" / job
    directory.mkdir(exist_ok=True)
    return root.path / "sys/log" / job / name


def as_nobody(argv: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command line as someone else than root."""
    nobody = pwd.getpwnam("nobody")
    return subprocess.run(
        argv,
        env={**environment, "PYTHONDONTWRITEBYTECODE": "1"},
        user=nobody.pw_uid,
        group=nobody.pw_gid,
        extra_groups=[],
        cwd=os.sep,
        capture_output=True,
        text=True,
        check=False,
    )
