"""What is remarkable about a bpm.yml that can be read, and needs no look at any host. Each lint is one function."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from bpm.config import JobConfig, ProcessConfig, codes, parse_size, quote
from bpm.errors import ConfigError, Problem

# Measured: below these, /bin/true of a Debian 12 is killed, is not forked beside its init, or finds no libc.
LEAST_MEMORY = 1 << 20
LEAST_PROCESSES = 2
LEAST_FILES = 4

# Ports below this are for who has NET_BIND_SERVICE: ip(7).
FIRST_FREE_PORT = 1024

# What programs that are often run as root for one thing need for it.
NEEDED = {
    "bosh-dns": "NET_BIND_SERVICE",
    "chronyd": "SYS_TIME",
    "dnsmasq": "NET_BIND_SERVICE",
    "haproxy": "NET_BIND_SERVICE",
    "named": "NET_BIND_SERVICE",
    "nginx": "NET_BIND_SERVICE",
    "ntpd": "SYS_TIME",
    "ping": "NET_RAW",
    "tcpdump": "NET_RAW",
    "unbound": "NET_BIND_SERVICE",
}

Lint = Callable[[ProcessConfig, str], Iterator[Problem]]
"""Takes a process and its key; gives problems without a place."""


def lint(config: JobConfig) -> Iterator[Problem]:
    """All of it, process by process; each Problem has its key and its code, and no place."""
    yield from find_duplicate_processes(config)
    for index, process in enumerate(config.processes):
        for look in LINTS:
            yield from look(process, f"processes[{index}]")


def find_duplicate_processes(config: JobConfig) -> Iterator[Problem]:
    """Processes that nobody can ask for, since another one has their name."""
    first: dict[str, int] = {}
    for index, process in enumerate(config.processes):
        earlier = first.setdefault(process.name, index)
        if earlier != index:
            reason = f"processes[{earlier}] has the name {quote(process.name)} too, and is the one that is run"
            yield Problem(reason, f"processes[{index}].name", code=codes.DUPLICATE_PROCESS)


def find_loose_volumes(process: ProcessConfig, key: str) -> Iterator[Problem]:
    """What may be written there may be executed: a hole in the program becomes a program of someone else's."""
    lists = (
        ("additional_volumes", process.additional_volumes),
        ("unsafe.unrestricted_volumes", process.unsafe.unrestricted_volumes),
    )
    for name, volumes in lists:
        for index, volume in enumerate(volumes):
            if volume.writable and volume.allow_executions:
                reason = f"{volume.path} is writable, and programs on it may be executed"
                yield Problem(reason, f"{key}.{name}[{index}]", code=codes.WRITABLE_EXECUTABLE)


def find_needless_privilege(process: ProcessConfig, key: str) -> Iterator[Problem]:
    """Root with nearly all capabilities, where something tells that one of them would do."""
    if not process.unsafe.privileged:
        return
    evidence = _low_port(process) or _known_program(process)
    if evidence:
        capability, why = evidence
        reason = f"privileged, where capabilities: [{capability}] may do: {why}"
        yield Problem(reason, f"{key}.unsafe.privileged", code=codes.NEEDLESS_PRIVILEGE)
    if process.capabilities:
        reason = "a privileged process has all capabilities anyway; without privileged, these would be all it has"
        yield Problem(reason, f"{key}.capabilities", code=codes.REDUNDANT_CAPABILITY)


def _low_port(process: ProcessConfig) -> tuple[str, str] | None:
    """A port below 1024 in what the program is told: ``:80``, ``--port=80``, ``PORT: 80``."""
    words = [("args", word) for word in process.args]
    previous = ""
    for where, word in words:
        name, _, value = word.rpartition("=")
        if _names_port(name or previous) and _is_low(value or word):
            return "NET_BIND_SERVICE", f"{where} tell it to use port {value or word}"
        if ":" in word and _is_low(word.rpartition(":")[2]):
            return "NET_BIND_SERVICE", f"{where} tell it to use port {word.rpartition(':')[2]}"
        previous = word
    for name, value in process.env.items():
        port = value.rpartition(":")[2]
        if (_names_port(name) or ":" in value) and _is_low(port):
            return "NET_BIND_SERVICE", f"env.{name} tells it to use port {port}"
    return None


def _names_port(word: str) -> bool:
    return word.lower().endswith("port") or word in ("-p", "-P")


def _is_low(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= 4 and 0 < int(word) < FIRST_FREE_PORT


def _known_program(process: ProcessConfig) -> tuple[str, str] | None:
    name = process.executable.rpartition("/")[2]
    return (NEEDED[name], f"that is what {name} usually needs root for") if name in NEEDED else None


def find_relative_hooks(process: ProcessConfig, key: str) -> Iterator[Problem]:
    """The hook is no shell command, and is looked for where bpm happens to be."""
    hook = process.hooks.pre_start
    if hook and not hook.startswith("/"):
        reason = f"the hook {quote(hook)} is not an absolute path: it is looked for in whatever directory bpm runs in"
        yield Problem(reason, f"{key}.hooks.pre_start", code=codes.RELATIVE_HOOK)


def find_low_limits(process: ProcessConfig, key: str) -> Iterator[Problem]:
    """Limits that no program can live with, and those that are none."""
    limits = process.limits
    memory = _size(limits.memory)
    if memory is not None and 0 < memory < LEAST_MEMORY:
        reason = f"{limits.memory} of memory is less than a small program needs to begin"
        yield Problem(reason, f"{key}.limits.memory", code=codes.LOW_LIMIT)
    if limits.processes is not None and 0 < limits.processes < LEAST_PROCESSES:
        reason = "the container's init is one process itself, so there is no room for the program"
        yield Problem(reason, f"{key}.limits.processes", code=codes.LOW_LIMIT)
    if limits.open_files is not None and limits.open_files < LEAST_FILES:
        reason = "stdin, stdout and stderr are three open files, so that no library can be opened"
        yield Problem(reason, f"{key}.limits.open_files", code=codes.LOW_LIMIT)
    if memory == 0:
        yield Problem("0 bytes are no limit at all", f"{key}.limits.memory", code=codes.NO_LIMIT)
    if limits.processes == 0:
        yield Problem("0 processes are no limit at all", f"{key}.limits.processes", code=codes.NO_LIMIT)


def _size(text: str | None) -> int | None:
    try:
        return None if text is None else parse_size(text)
    except ConfigError:
        return None  # The plan refuses it, with the reason.


LINTS: tuple[Lint, ...] = (find_loose_volumes, find_needless_privilege, find_relative_hooks, find_low_limits)
