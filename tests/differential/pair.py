"""One plan carried out twice at the same time: by bpm's own spawn, and as an exported bundle by runc."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import evolve, frozen

from bpm import Container, ProcessPlan, export_bundle
from bpm.layout import Layout
from bpm.runtime import prepare_host
from bpm.runtime.records import Records
from bpm.runtime.room import room_for
from bpm.runtime.startup import heal, launch
from tests.inside import Seen, parse_mounts, read_seen, wait_for

PATIENCE = 60.0  # seconds, for what takes some 100 ms


@frozen
class Pair:
    """What the probe saw in each.

    Args:
        ends: How it ended: an exit status, or minus a signal.
        host: The devices of the host's file systems, as ``major:minor``.
    """

    ours: Seen
    theirs: Seen
    ends: tuple[int, int]
    host: frozenset[str]


class Broken(Exception):
    """One of the two could not be, or did not print what the probe prints."""


Started = tuple[str, "subprocess.Popen[bytes]"]


class Runc:
    """runc, with a state directory of its own.

    Args:
        place: An empty directory for bundles, state and output.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.state = place / "state"
        self.count = 0

    @contextmanager
    def started(self, plan: ProcessPlan, output: int, *, prepared: bool = True) -> Iterator[Started]:
        """The plan's bundle, running; its identifier and the runtime's process. What is left of it goes at the end.

        Args:
            output: Where its stdout and stderr go.
            prepared: Whether the host is prepared; else the bundle's own script does that first.
        """
        self.count += 1
        name = f"bpm-test-{os.getpid()}-{self.count}"
        bundle = self.place / name
        export_bundle(plan, str(bundle))
        if not prepared:
            subprocess.run([bundle / "prepare"], check=True)
        process = subprocess.Popen(
            ["runc", "--root", self.state, "run", "--bundle", bundle, name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            yield name, process
        finally:
            if process.poll() is None:
                subprocess.run(["runc", "--root", self.state, "kill", name, "KILL"], capture_output=True, check=False)
                process.wait(PATIENCE)
            if (self.state / name).exists():
                subprocess.run(["runc", "--root", self.state, "delete", "-f", name], capture_output=True, check=False)
            shutil.rmtree(bundle)

    def pid(self, name: str) -> int:
        """The pid of the program of a running container."""

        def ask() -> int:
            told = subprocess.run(
                ["runc", "--root", self.state, "state", name], capture_output=True, text=True, check=False
            )
            state = json.loads(told.stdout) if told.returncode == 0 else {}
            return int(state["pid"]) if state.get("status") == "running" else 0

        return int(wait_for(ask))


@contextmanager
def started(plan: ProcessPlan, output: int) -> Iterator[Container]:
    """The plan carried out by bpm, running; what is left of it goes at the end."""
    heal(Records(Layout(plan.root)), plan)
    with room_for(len(plan.mounts)) as limits, prepare_host(plan) as prepared:
        container = launch(plan, prepared, (prepared.null, output, output), limits)
    try:
        yield container
    finally:
        container.remove()
        container.close()


def run_both(plan: ProcessPlan, runc: Runc, attempts: tuple[str, ...] = (), *, prepared: bool = True) -> Pair:
    """Has the probe look around in both.

    Args:
        plan: Its program is the probe.
        attempts: Further arguments of it.
        prepared: Whether bpm prepares the host, or the bundle's script does.

    Raises:
        Broken: What either of them said in place of the probe's answer.
    """
    plan = evolve(plan, argv=(*plan.argv, *attempts))
    with tempfile.TemporaryFile(dir=runc.place) as mine, tempfile.TemporaryFile(dir=runc.place) as other:
        ours, theirs = mine.fileno(), other.fileno()
        before = host_devices()
        if prepared:
            prepare_host(plan).close()
        with runc.started(plan, theirs, prepared=prepared) as (_, process), started(plan, ours) as container:
            record = container.wait(PATIENCE)
            status = process.wait(PATIENCE)
        end = record.exit_code if record.exit_code is not None else -(record.signal or 0)
        # Only what is there before and after: as soon as a container has ended, its numbers are anybody's.
        host = before & host_devices()
        return Pair(read(ours, f"bpm ({end})"), read(theirs, f"runc ({status})"), (end, status), host)


def host_devices() -> frozenset[str]:
    """The devices of all that is mounted here."""
    return frozenset(line.device for line in parse_mounts(Path("/proc/self/mountinfo").read_text()))


def read(output: int, who: str) -> Seen:
    """What the probe printed, if that is what was printed."""
    text = os.pread(output, 1 << 23, 0)
    try:
        return read_seen(text)
    except ValueError:
        raise Broken(f"{who}: {os.fsdecode(text)[-2000:]}") from None
