"""A stand-in for systemd and its bus: the D-Bus wire protocol on a socket, with the moods of a real one."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import jeepney
from jeepney.low_level import HeaderFields, Parser

JOB = "/org/freedesktop/systemd1/job/7"

# A mood sees a call and answers with what is sent, or None to break the connection.
Mood = Callable[[Any], "list[Any] | None"]


class ServiceManager:
    """Answers one connection after another, each in its mood; the last one's stays.

    Args:
        path: Where its socket is.
    """

    def __init__(self, path: str, *moods: Mood) -> None:
        self.moods = list(moods)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._listener.close()

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            mood = self.moods.pop(0) if len(self.moods) > 1 else self.moods[0]
            with connection:
                try:
                    self._talk(connection, mood)
                except OSError:
                    pass

    def _talk(self, connection: socket.socket, mood: Mood) -> None:
        heard = b""
        while b"BEGIN\r\n" not in heard:
            more = connection.recv(1024)
            if not more:
                return
            heard += more
            if b"AUTH" in more:
                connection.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
                time.sleep(0.01)
        parser = Parser()
        parser.add_data(heard.partition(b"BEGIN\r\n")[2])
        serial = 0
        # As in systemd, a call that was read together with BEGIN waits until there is more to read.
        while data := connection.recv(65536):
            parser.add_data(data)
            while (call := parser.get_next_message()) is not None:
                method = call.header.fields[HeaderFields.member]
                self.calls.append((method, call.body))
                assert call.header.serial == 1 or method != "Hello"  # the bus takes it once
                answers = mood(call)
                if answers is None:
                    return
                for answer in answers:
                    serial += 1
                    connection.sendall(answer.serialise(serial))


def method_of(call: Any) -> str:
    method: str = call.header.fields[HeaderFields.member]
    return method


def returns(call: Any, signature: str = "", *body: Any) -> Any:
    return jeepney.new_method_return(call, signature or None, body)


def removed(result: str = "done") -> Any:
    address = jeepney.DBusAddress("/org/freedesktop/systemd1", interface="org.freedesktop.systemd1.Manager")
    return jeepney.new_signal(address, "JobRemoved", "uoss", (7, JOB, "x.scope", result))


def content(call: Any) -> list[Any]:
    """Does as it is told."""
    method = method_of(call)
    if method == "Hello":
        return [returns(call, "s", ":1.7")]
    if method == "StartTransientUnit":
        # The signal first: that happens.
        return [removed(), returns(call, "o", JOB)]
    if method == "StopUnit":
        return [returns(call, "o", JOB)]
    if method == "GetUnitByPID":
        return [jeepney.new_error(call, "org.freedesktop.systemd1.NoUnitForPID", "s", ("none",))]
    return [returns(call)]


def slow(seconds: float) -> Mood:
    """Does as it is told, in its own time."""

    def mood(call: Any) -> list[Any]:
        time.sleep(seconds)
        return content(call)

    return mood


def breaks_at(method: str) -> Mood:
    """Is restarted while it is asked for that."""
    return lambda call: None if method_of(call) == method else content(call)


def refuses(method: str, name: str, text: str = "no") -> Mood:
    """Answers that with an error."""
    return lambda call: [jeepney.new_error(call, name, "s", (text,))] if method_of(call) == method else content(call)


def fails_the_job(call: Any) -> list[Any]:
    """Takes the order, and does not get it done."""
    if method_of(call) == "StartTransientUnit":
        return [returns(call, "o", JOB), removed("failed")]
    return content(call)


def kills(then: Mood) -> Mood:
    """Kills the process that it was to put into a unit, as the unit's memory limit can, and answers as another."""

    def mood(call: Any) -> list[Any] | None:
        if method_of(call) == "StartTransientUnit":
            (pid,) = dict(call.body[2])["PIDs"][1]
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return then(call)

    return mood


def holds(unit: str) -> Mood:
    """Has the caller's process in that unit already."""

    def mood(call: Any) -> list[Any]:
        if method_of(call) == "GetUnitByPID":
            return [returns(call, "o", "/org/freedesktop/systemd1/unit/x")]
        if method_of(call) == "Get":
            return [returns(call, "v", ("s", unit))]
        return content(call)

    return mood


def properties_of(calls: Iterable[tuple[str, tuple[Any, ...]]]) -> dict[str, Any]:
    """What the last unit was asked to be."""
    body = [body for method, body in calls if method == "StartTransientUnit"][-1]
    return dict(body[2])
