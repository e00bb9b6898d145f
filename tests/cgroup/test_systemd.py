"""Scopes: what is asked of systemd, and what becomes of it when systemd or its bus are not at their best."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator

import pytest

from bpm.cgroup.systemd import EXTRA, start_scope
from bpm.errors import CgroupError, HostError
from bpm.plan import Scope, ScopeProperty
from tests.cgroup import service_manager as moods
from tests.cgroup.service_manager import ServiceManager

UNIT = "monit-service-bpm-bpm-web.scope"
SCOPE = Scope(UNIT, "system.slice", (ScopeProperty("MemoryMax", 1 << 20, "limits.memory"),), "default: cgroup")

Manager = Callable[..., ServiceManager]


@pytest.fixture
def bus(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("bus") / "socket")


@pytest.fixture
def manager(bus: str) -> Iterator[Manager]:
    """Makes a service manager in given moods; after the test no placeholder is left."""
    made: list[ServiceManager] = []

    def make(*of: moods.Mood) -> ServiceManager:
        made.append(ServiceManager(bus, *of))
        return made[0]

    yield make
    for one in made:
        one.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def start(bus: str, timeout: float = 5.0) -> None:
    start_scope(SCOPE, timeout, (bus,)).end()


def test_what_is_asked_for(manager: Manager, bus: str) -> None:
    """The unit is delegated, in the slice, with the limits and with a process that lives until it is ended."""
    systemd = manager(moods.content)
    placeholder = start_scope(SCOPE, 5.0, (bus,))
    alive = os.path.exists(f"/proc/{placeholder.pid}")
    placeholder.end()
    placeholder.end()

    asked = moods.properties_of(systemd.calls)
    assert alive
    assert not os.path.exists(f"/proc/{placeholder.pid}")
    assert {
        "Slice": ("s", "system.slice"),
        "Delegate": ("b", True),
        "MemoryMax": ("t", 1 << 20),
        "PIDs": ("au", [placeholder.pid]),
        "CollectMode": ("s", "inactive-or-failed"),
    }.items() <= asked.items()


def test_a_slow_bus(manager: Manager, bus: str) -> None:
    """A bus that takes its time gets it."""
    systemd = manager(moods.slow(0.2))
    start(bus)

    assert 1 == systemd.methods.count("StartTransientUnit")


def test_a_bus_that_never_answers(manager: Manager, bus: str) -> None:
    """A bus that takes longer than a start may ends it, with the unit named."""
    manager(moods.slow(1.0))
    with pytest.raises(CgroupError) as raised:
        start(bus, 0.3)

    assert (errno.ETIMEDOUT, UNIT) == (raised.value.errno, raised.value.file)


@pytest.mark.parametrize("method", ["Hello", "AddMatch", "Subscribe", "StartTransientUnit"])
def test_a_bus_that_restarts(manager: Manager, bus: str, method: str) -> None:
    """A connection that breaks anywhere is made anew, and the scope asked for again."""
    systemd = manager(moods.breaks_at(method), moods.content)
    start(bus)

    assert "StartTransientUnit" == systemd.methods[-1]


def test_an_answer_that_was_lost(manager: Manager, bus: str) -> None:
    """Where the scope was made, and only the answer lost, it is not asked for again."""
    systemd = manager(moods.breaks_at("StartTransientUnit"), moods.holds(UNIT))
    start(bus)

    assert 1 == systemd.methods.count("StartTransientUnit")


def test_no_bus(bus: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Where there is no bus, systemd's own socket is tried; where there is nothing, the start fails in time."""
    with pytest.raises(CgroupError, match="No such file or directory"):
        start(bus, 0.2)

    systemd = ServiceManager(bus, moods.content)
    try:
        start_scope(SCOPE, 5.0, (bus + ".gone", bus)).end()
    finally:
        systemd.close()
    assert "StartTransientUnit" in systemd.methods


def test_refused(manager: Manager, bus: str) -> None:
    """A refusal is final, and is told in systemd's words."""
    systemd = manager(moods.refuses("StartTransientUnit", "org.freedesktop.DBus.Error.AccessDenied", "not for you"))
    with pytest.raises(CgroupError, match=r"not for you \(org.freedesktop.DBus.Error.AccessDenied\)"):
        start(bus)

    assert 1 == systemd.methods.count("StartTransientUnit")


def test_a_job_that_fails(manager: Manager, bus: str) -> None:
    """A scope that systemd could not start is a refusal too."""
    manager(moods.fails_the_job)
    with pytest.raises(CgroupError, match="job result failed"):
        start(bus)


@pytest.mark.parametrize("answer", [moods.fails_the_job, moods.refuses("StartTransientUnit", "x.NoSuchProcess")])
def test_a_limit_that_kills_who_waits(manager: Manager, bus: str, answer: moods.Mood) -> None:
    """Where the process that holds the scope was killed on its way there, that is told by the limit, not by systemd."""
    manager(moods.kills(answer))
    with pytest.raises(CgroupError) as raised:
        start(bus)

    assert (errno.ENOMEM, UNIT, str(1 << 20)) == (raised.value.errno, raised.value.file, raised.value.value)
    assert "(because limits.memory)" in str(raised.value)
    assert "too small to start it" in str(raised.value)


def test_a_unit_left_from_a_crash(manager: Manager, bus: str) -> None:
    """A unit of the same name is stopped and forgotten, and then made anew."""
    systemd = manager(
        moods.refuses("StartTransientUnit", "org.freedesktop.systemd1.UnitExists"), moods.content, moods.content
    )
    start(bus)

    assert ["StopUnit", "ResetFailedUnit"] == [m for m in systemd.methods if m in ("StopUnit", "ResetFailedUnit")]
    assert 2 == systemd.methods.count("StartTransientUnit")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the D-Bus library is not installed, the error names the extra."""
    monkeypatch.setitem(sys.modules, "jeepney", None)
    with pytest.raises(HostError) as raised:
        start_scope(SCOPE)

    assert EXTRA in str(raised.value)
