"""Servers of Debian's packages as jobs, started as an operator starts them."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import pytest

from tests.cli.conftest import CommandLine, bpm

__all__ = ["bpm"]


class Servers:
    """Jobs whose processes are servers.

    Args:
        bpm: The command line, on a BOSH root of the test's own.
    """

    def __init__(self, bpm: CommandLine) -> None:
        self.bpm = bpm
        (bpm.root.path / "store").mkdir()

    def define(self, job: str, *processes: dict[str, Any], **files: str) -> None:
        """A job with processes as bpm.yml has them, and with files in its ``config`` directory."""
        directory = self.bpm.root.add_job(job, json.dumps({"processes": processes}))
        for name, text in files.items():
            (directory / "config" / name.replace("_", ".")).write_text(text)

    def must(self, *words: str) -> str:
        """What a command prints, which must succeed."""
        done = self.bpm(*words)
        assert 0 == done.returncode, (words, done.stderr, self.log(words[1]))
        return done.stdout

    def log(self, job: str, process: str | None = None, stream: str = "stderr") -> str:
        """What a process wrote."""
        path = self.bpm.root.path / f"sys/log/{job}/{process or job}.{stream}.log"
        return path.read_text(errors="replace") if path.exists() else ""


@pytest.fixture
def servers(bpm: CommandLine) -> Servers:
    """Jobs that are servers, on a root with a persistent disk."""
    return Servers(bpm)


def require_program(path: str | None, package: str) -> str:
    """The program's path; where it is not installed, the test is skipped."""
    if path is None or not os.access(path, os.X_OK):
        pytest.skip(f"{path or package} is not here: apt-get install {package}")
    return path


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Whether someone takes connections at a port of the loopback interface."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return False
    return True
