"""Scopes from a real systemd, which is reloaded, restarted, loses its bus, or has a unit of the name already.

The tests stop and restart what a machine needs, so they run only in one that is thrown away afterwards.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from bpm.cgroup import Group, observe_hierarchies, observe_systemd
from bpm.cgroup.systemd import PATIENCE, PRIVATE, start_scope
from bpm.errors import CgroupError
from bpm.plan import Scope, ScopeProperty
from bpm.plan.cgroup import slice_path, unit_name
from tests.cgroup.hosts import eventually
from tests.effort import SLOW_HOST

pytestmark = pytest.mark.skipif(
    observe_systemd(observe_hierarchies()[1]) is None or SLOW_HOST not in os.environ,
    reason="systemd is not pid 1 of a machine of tests/vm",
)


def systemctl(*arguments: str) -> str:
    command = ["systemctl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout.strip()


@pytest.fixture
def scope() -> Iterator[Scope]:
    """A scope as bpm would make one here; none of it is left."""
    systemd = observe_systemd(observe_hierarchies()[1])
    assert systemd is not None
    unit = unit_name(systemd, f"bpm-test-{os.getpid()}")
    yield Scope(unit, slice_path(systemd).rpartition("/")[2], (ScopeProperty("TasksMax", 7, "test"),), "test")
    systemctl("stop", unit)
    systemctl("reset-failed", unit)


def start_and_end(scope: Scope) -> str:
    """What systemd says of a scope while its placeholder lives; then it is let go, and goes."""
    placeholder = start_scope(scope)
    try:
        said = systemctl("show", "--property=ActiveState,TasksMax", scope.unit)
    finally:
        placeholder.end()
    assert eventually(lambda: "not-found" in systemctl("show", "--property=LoadState", scope.unit))
    return " ".join(sorted(said.split()))


ACTIVE = "ActiveState=active TasksMax=7"


def test_a_scope_comes_and_goes(scope: Scope) -> None:
    """It has its limits while somebody is in it, and is forgotten when it is empty."""
    assert ACTIVE == start_and_end(scope)


def test_a_failed_unit_of_the_same_name(scope: Scope) -> None:
    """A unit that failed stays known to systemd until it is cleared away: which is done."""
    command = ["systemd-run", "--scope", f"--unit={scope.unit}", "--property=RuntimeMaxSec=1", "sleep", "100"]
    subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert eventually(lambda: "failed" == systemctl("is-failed", scope.unit))

    assert ACTIVE == start_and_end(scope)


def test_a_unit_of_the_same_name_with_an_orphan(scope: Scope) -> None:
    """Where a unit of the name is still active, it is stopped and made anew. (What is in it, the caller looks at.)"""
    orphan = subprocess.Popen(["systemd-run", "--scope", f"--unit={scope.unit}", "sleep", "100"], stderr=-3)
    assert eventually(lambda: "active" == systemctl("is-active", scope.unit))

    assert ACTIVE == start_and_end(scope)
    assert orphan.wait(30)


def test_a_refusal(scope: Scope) -> None:
    """What systemd refuses it words itself."""
    with pytest.raises(CgroupError, match=r"systemd refuses: .*slice"):
        start_scope(Scope(scope.unit, "no-slice.service", (), "test"))


def test_a_limit_that_kills_who_waits(scope: Scope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a memory limit kills who holds the scope, before anybody could join it, the error has its key and value."""
    eater = tmp_path / "cat"
    eat = "exec /usr/bin/python3 -c 'b = bytearray(200 << 20)'"
    eater.write_text(
        f"#!/bin/sh\nread line; echo\nuntil grep -q {scope.unit} /proc/self/cgroup; do sleep 0.01; done\n{eat}\n"
    )
    eater.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    limit = ScopeProperty("MemoryMax", 32 << 20, "limits.memory")
    placeholder = start_scope(evolve(scope, properties=(limit, *scope.properties)))
    assert eventually(lambda: placeholder.killed)
    assert eventually(lambda: "not-found" in systemctl("show", "--property=LoadState", scope.unit))
    systemd = observe_systemd(observe_hierarchies()[1])
    assert systemd is not None
    group = Group((systemd.mount_point + slice_path(systemd) + "/" + scope.unit,), placeholder=placeholder)
    with pytest.raises(CgroupError) as raised:
        group.open_for_join()

    assert str(32 << 20) == raised.value.value
    assert "(because limits.memory)" in str(raised.value)
    assert "too small to start it" in str(raised.value)


@pytest.mark.parametrize("trouble", [("daemon-reload",), ("daemon-reexec",), ("restart", "dbus.service")], ids="-".join)
def test_while_systemd_or_its_bus_restarts(scope: Scope, trouble: tuple[str, ...]) -> None:
    """Scopes that are asked for in the middle of it are made."""
    over, troubles = threading.Event(), list[str]()

    def disturb() -> None:
        while not over.wait(0.1):
            troubles.append(systemctl(*trouble))

    disturbance = threading.Thread(target=disturb)
    disturbance.start()
    try:
        for number in itertools.count():
            start_scope(Scope(f"{number}-{scope.unit}", scope.slice, scope.properties, "test")).end()
            if len(troubles) >= 3:  # With five in ten seconds systemd would give dbus.service up.
                break
    finally:
        over.set()
        disturbance.join()


def test_without_a_bus(scope: Scope, tmp_path: Path) -> None:
    """Where nobody is on the bus's socket, systemd is asked on its own, and answers at the first call."""
    addresses = (str(tmp_path / "none"), PRIVATE)
    for number in range(20):
        unit = f"{number}-{scope.unit}"
        start_scope(Scope(unit, scope.slice, scope.properties, "test"), PATIENCE, addresses).end()

    assert eventually(lambda: "not-found" in systemctl("show", "--property=LoadState", unit))
