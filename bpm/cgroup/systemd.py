"""Transient scopes, where systemd is pid 1: asked for over D-Bus, joined by the child, gone when they are empty.

    bpm                              systemd
     | starts a placeholder
     |------ StartTransientUnit ------->|   makes the cgroups, moves the placeholder there
     |<----- JobRemoved ----------------|
     | spawns into the cgroup
     | ends the placeholder
     :                                  |   the program ends: the scope is empty, and is removed

systemd makes no scope without a process, and the program itself cannot be it: it would run before its limits hold.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpm.cgroup.directory import pauses
from bpm.errors import CgroupError, HostError
from bpm.plan import Scope

EXTRA = "bosh-bpm[systemd]"

# Seconds. monit gives a start 30.
TIMEOUT = 20.0
PATIENCE = 6.0
"""How long one try may take: a signal that was lost never comes, but the next try sees what it would have told."""

SETTLING = 2.0
"""How long a process that is to hold a scope has to get going."""

PRIVATE = "/run/systemd/private"
"""systemd's own socket, on which it answers root where there is no bus."""

BUS = "/run/dbus/system_bus_socket"

_MANAGER = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")

_BUS_ITSELF = ("/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")

# What systemd, or the bus, says while one of them comes or goes.
_PASSING = (
    "org.freedesktop.DBus.Error.NoReply",
    "org.freedesktop.DBus.Error.Disconnected",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Timeout",
    "org.freedesktop.DBus.Error.TimedOut",
    "org.freedesktop.systemd1.TransactionIsDestructive",
)
_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"


class Placeholder:
    """A process that waits in a scope until the program is there. It ends with us, should we be killed.

    Args:
        scope: The one it is for.
    """

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._ours, theirs = socket.socketpair()
        try:
            actions = [
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ]
            self.pid = os.posix_spawnp("cat", ["cat"], {}, file_actions=actions, setsigmask=[])
        except BaseException:
            self._ours.close()
            raise
        finally:
            theirs.close()

    def settle(self) -> None:
        """Wait until it runs, and has nothing more to do: from then on it needs no memory, whatever a scope leaves it.

        posix_spawn(3) returns in the middle of execve(2), and there a limit would kill it.
        """
        self._ours.settimeout(SETTLING)
        try:
            self._ours.sendall(b"\n")
            self._ours.recv(1)
        except OSError:
            pass  # Who holds the scope is seen by whoever asks for it.

    @property
    def killed(self) -> bool:
        """Whether it was killed before its end, as by a memory limit that does not even hold it."""
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) if self._lives() else None
        except ChildProcessError:
            return False  # The caller takes the status of all its children.
        return ended is not None and ended.si_status == signal.SIGKILL

    def blame(self, error: BaseException) -> None:
        """Where a start went wrong since the scope's memory limit has killed who waited in it, that is the error.

        Raises:
            CgroupError: It is so.
        """
        limit = next((limit for limit in self._scope.properties if limit.name == "MemoryMax"), None)
        if limit is not None and self.killed:
            hint = "the limit is too small to start it: the process that holds the scope was killed"
            raise CgroupError(self._scope.unit, str(limit.value), limit.because, errno.ENOMEM, hint) from error

    def end(self) -> None:
        """Ends it, and returns when it is gone. Once more does nothing."""
        if not self._lives():
            return
        self._ours.close()
        try:
            # Its number is its own until we have waited for it.
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # The caller takes the status of all its children.

    def _lives(self) -> bool:
        return self._ours.fileno() >= 0


def start_scope(scope: Scope, timeout: float = TIMEOUT, addresses: tuple[str, ...] = (BUS, PRIVATE)) -> Placeholder:
    """Make a scope, and return once its cgroups are there.

    A bus that is slow, restarts or is gone is tried again until the time is up, and systemd's own socket after it. A
    unit that is left over from a crash is cleared away.

    Returns:
        The process in it, to be ended when another one is there.

    Raises:
        HostError: The extra is not installed.
        CgroupError: systemd refused, or did not answer in time.
    """
    placeholder = Placeholder(scope)
    try:
        load_jeepney()
        placeholder.settle()
        _start(scope, placeholder.pid, time.monotonic() + timeout, addresses)
    except BaseException as error:
        try:
            placeholder.blame(error)
            raise
        finally:
            placeholder.end()
    return placeholder


def load_jeepney() -> Any:
    """The D-Bus library.

    Raises:
        HostError: The extra is not installed.
    """
    try:
        import jeepney
    except ImportError:
        text = f"systemd is pid 1 on this host, and to ask it for a scope bpm needs the extra: pip install '{EXTRA}'"
        raise HostError(text) from None
    return jeepney


def _start(scope: Scope, pid: int, deadline: float, addresses: tuple[str, ...]) -> None:
    problem = "nobody answers"
    for attempt, _ in enumerate(pauses(deadline)):
        end = min(deadline, time.monotonic() + PATIENCE)
        try:
            with _connected(addresses, end) as connection:
                if attempt and _holds(connection, scope.unit, pid, end):
                    return  # An earlier try got through, and only its answer was lost.
                try:
                    _ask(connection, scope, pid, end)
                    return
                except _Refused as refusal:
                    if refusal.name != _EXISTS:
                        raise
                    problem = str(refusal)
                    _clear_away(connection, scope.unit, end)
        except _Refused as refusal:
            problem = str(refusal)
            if refusal.name not in _PASSING:
                raise CgroupError(scope.unit, "", scope.because, errno.EACCES, f"systemd refuses: {problem}") from None
        except _TimeUp:
            continue
        except (OSError, EOFError, ValueError) as error:
            problem = str(error) or type(error).__name__
    hint = f"no scope from systemd over D-Bus in time: {problem}"
    raise CgroupError(scope.unit, "", scope.because, errno.ETIMEDOUT, hint)


class _TimeUp(TimeoutError):
    """The deadline has passed: what was met before is the reason."""


class _Refused(Exception):
    """An error that came as an answer: its name, and its text."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        super().__init__(f"{text} ({name})")


@contextmanager
def _connected(addresses: tuple[str, ...], deadline: float) -> Iterator[_Connection]:
    """A connection to the first of these sockets that takes us."""
    first: Exception | None = None
    for address in addresses:
        try:
            connection = _connect(address, deadline)
            break
        except _TimeUp:
            raise
        except (OSError, EOFError, ValueError, load_jeepney().auth.AuthenticationError) as error:
            first = first or error
    else:
        raise ConnectionError(str(first) or type(first).__name__) from first
    try:
        yield connection
    finally:
        connection.close()


def _connect(address: str, deadline: float) -> _Connection:
    connection = _Connection(address, deadline)
    try:
        if address != PRIVATE:  # there, systemd is the other end, and no bus
            _call(connection, "Hello", "", deadline=deadline, place=_BUS_ITSELF)
    except BaseException:
        connection.close()
        raise
    return connection


class _Connection:
    """Calls and signals, each with a deadline. (jeepney's own connection waits for the bus's first word for ever.)"""

    def __init__(self, address: str, deadline: float) -> None:
        self.is_bus = address != PRIVATE
        self.signals: list[Any] = []
        self._parser = load_jeepney().Parser()
        self._serial = 0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._authenticate(address, deadline)
        except BaseException:
            self.close()
            raise

    def _authenticate(self, address: str, deadline: float) -> None:
        """Connect, and have the other side take us for who we are.

        BEGIN does not wait for the OK. systemd reads its own socket by the buffer, and of one that holds BEGIN and a
        call it takes BEGIN, then sleeps until there is more to read: a call may not come after BEGIN, but after the OK.
        """
        auth = load_jeepney().auth
        dialog = auth.Authenticator()
        self._socket.settimeout(_left(deadline))
        self._socket.connect(address)
        self._socket.sendall(dialog.data_to_send() + auth.BEGIN)
        while not dialog.authenticated:
            dialog.feed(self._read(deadline))

    def close(self) -> None:
        self._socket.close()

    def call(self, message: Any, deadline: float) -> Any:
        """The answer, an error too; signals that come before it are kept."""
        fields = load_jeepney().HeaderFields
        self._serial += 1
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(message.serialise(self._serial))
        while True:
            heard = self.receive(deadline)
            if heard.header.fields.get(fields.reply_serial) == self._serial:
                return heard
            self.signals.append(heard)

    def receive(self, deadline: float) -> Any:
        """The next message."""
        while (message := self._parser.get_next_message()) is None:
            self._parser.add_data(self._read(deadline))
        return message

    def _read(self, deadline: float) -> bytes:
        self._socket.settimeout(_left(deadline))
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionResetError(errno.ECONNRESET, "the connection broke")
        return data


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise _TimeUp
    return left


def _call(
    connection: _Connection, method: str, signature: str, *body: Any, deadline: float, place: Any = _MANAGER
) -> Any:
    jeepney = load_jeepney()
    path, name, interface = place
    address = jeepney.DBusAddress(path, bus_name=name, interface=interface)
    message = jeepney.new_method_call(address, method, signature or None, body)
    reply = connection.call(message, deadline)
    if reply.header.message_type == jeepney.MessageType.error:
        name = reply.header.fields.get(jeepney.HeaderFields.error_name, "")
        raise _Refused(name, str(reply.body[0]) if reply.body else "no reason given")
    return reply.body


def _ask(connection: _Connection, scope: Scope, pid: int, deadline: float) -> None:
    """Ask for the scope, and wait until systemd has made it."""
    jeepney = load_jeepney()
    path, _, interface = _MANAGER
    rule = jeepney.MatchRule(type="signal", interface=interface, member="JobRemoved", path=path)
    if connection.is_bus:
        _call(connection, "AddMatch", "s", rule.serialise(), deadline=deadline, place=_BUS_ITSELF)
    _call(connection, "Subscribe", "", deadline=deadline)
    body: tuple[Any, ...] = (scope.unit, "fail", describe(scope, pid), [])
    (job,) = _call(connection, "StartTransientUnit", "ssa(sv)a(sa(sv))", *body, deadline=deadline)
    # The signal may have come before the answer that says which job to wait for.
    signals = connection.signals
    while not (done := [signal.body for signal in signals if rule.matches(signal) and signal.body[1] == job]):
        signals[:] = [connection.receive(deadline)]
    result = done[0][3]
    if result != "done":
        raise _Refused(f"job result {result}", "the scope could not be started")


def describe(scope: Scope, pid: int) -> list[tuple[str, tuple[str, Any]]]:
    """The properties of the unit, as D-Bus has them."""
    return [
        ("Description", ("s", f"bpm: {scope.unit}")),
        ("PIDs", ("au", [pid])),
        ("Slice", ("s", scope.slice)),
        # All below is ours, controllers included; systemd keeps off.
        ("Delegate", ("b", True)),
        # At shutdown systemd stops bpm's own service, or monit, and they stop this.
        ("DefaultDependencies", ("b", False)),
        # Nothing is left when it ends, badly or not: what happened is in our own records.
        ("CollectMode", ("s", "inactive-or-failed")),
        *((name, ("b", True)) for name in ("CPUAccounting", "MemoryAccounting", "TasksAccounting")),
        *((limit.name, ("t", limit.value)) for limit in scope.properties),
    ]


def _holds(connection: _Connection, unit: str, pid: int, deadline: float) -> bool:
    """Whether the unit of that process is this one."""
    try:
        (path,) = _call(connection, "GetUnitByPID", "u", pid, deadline=deadline)
    except _Refused:
        return False
    properties = (path, _MANAGER[1], "org.freedesktop.DBus.Properties")
    body = ("org.freedesktop.systemd1.Unit", "Id")
    ((_, name),) = _call(connection, "Get", "ss", *body, deadline=deadline, place=properties)
    return bool(name == unit)


def _clear_away(connection: _Connection, unit: str, deadline: float) -> None:
    """Have systemd forget a unit of this name, in which nothing runs any more (the caller has looked)."""
    for method, arguments in (("StopUnit", (unit, "replace")), ("ResetFailedUnit", (unit,))):
        try:
            _call(connection, method, "s" * len(arguments), *arguments, deadline=deadline)
        except _Refused as refusal:
            if refusal.name != _NO_SUCH_UNIT and refusal.name not in _PASSING:
                raise
