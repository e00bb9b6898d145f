"""A small world: spawn requests made by hand, with the descriptors that they need."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from attrs import evolve, frozen

from bpm._native import EXIT_SIZE, ExitFacts, Spawned, SpawnRequest, Step, StepKind, parse_exit, spawn
from tests.inside.probe import Seen, read_seen

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x0002_0000, 0x0400_0000, 0x0800_0000, 0x2000_0000
ISOLATED = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8  # MOUNT_ATTR_*, linux/mount.h
NO_LIMIT = 2**64 - 1
PATIENCE = 20.0  # seconds, for what takes milliseconds

SYSTEM = ("usr", "bin", "sbin", "lib", "lib64", "etc")
DEVICES = (("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0))


@frozen
class Ended:
    """A program that has ended: what it wrote, what init recorded, and how init itself ended.

    Args:
        code: init's exit status, or minus the signal that ended it.
    """

    output: bytes
    facts: ExitFacts | None
    code: int

    @property
    def seen(self) -> Seen:
        """The output, where the program was the probe."""
        return read_seen(self.output)


def wait_for(true: Callable[[], Any], patience: float = PATIENCE) -> Any:
    """Ask until the answer is true, and return it; the last answer when patience ends."""
    end = time.monotonic() + patience
    while not (answer := true()) and time.monotonic() < end:
        time.sleep(0.005)
    return answer


def is_readable(fd: int, patience: float = PATIENCE) -> bool:
    """Whether a descriptor becomes readable in time, as a pidfd does at its process's end."""
    poll = select.poll()  # which, unlike select(2), takes descriptors above 1023
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def end_of(pidfd: int) -> int:
    """Wait for a child's end: its exit status, or minus its signal."""
    if not is_readable(pidfd):
        raise TimeoutError("the container did not end")
    info = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
    assert info is not None
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


class World:
    """Makes requests, and closes what they needed.

    Args:
        probe: The compiled probe; it appears inside as /probe.
    """

    def __init__(self, probe: Path) -> None:
        self.probe = probe
        self._descriptors: list[int] = []
        self._running: list[Spawned] = []

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for spawned in self._running:
            self.end(spawned)
        for fd in self._descriptors:
            os.close(fd)

    def keep(self, fd: int) -> int:
        """A descriptor that lives as long as this world."""
        self._descriptors.append(fd)
        return fd

    def source(self, path: str | Path) -> int:
        """An O_PATH descriptor for a bind."""
        return self.keep(os.open(path, os.O_PATH | os.O_CLOEXEC))

    def null(self) -> int:
        """A new descriptor of /dev/null."""
        return self.keep(os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC))

    def memory(self) -> int:
        """A new file in memory."""
        return self.keep(os.memfd_create("test"))

    def bind(self, outside: str | Path, target: bytes, item: int = 0, **changes: Any) -> tuple[Step, ...]:
        """A mount point, and a read-only recursive bind there."""
        kind = StepKind.DIRECTORY if os.path.isdir(outside) else StepKind.FILE
        step = Step(
            StepKind.BIND, item, target, source_fd=self.source(outside), recursive=True, set_attributes=RDONLY | NOSUID
        )
        return Step(kind, item, target, mode=0o755), evolve(step, **changes)

    def root_steps(self) -> tuple[Step, ...]:
        """A tmpfs with the host's system, /proc, /dev, /tmp and /probe."""
        kinds = StepKind
        steps = [Step(kinds.FILESYSTEM, 0, b"", b"tmpfs", ((b"source", b"tmpfs"), (b"mode", b"755")))]
        for name in SYSTEM:
            steps += self.bind("/" + name, name.encode())
        steps += self.bind(self.probe, b"probe")
        steps += [
            Step(kinds.DIRECTORY, 1, b"tmp", mode=0o1777),
            Step(kinds.DIRECTORY, 2, b"proc", mode=0o755),
            Step(
                kinds.FILESYSTEM, 2, b"proc", b"proc", ((b"source", b"proc"),), set_attributes=NOSUID | NOEXEC | NODEV
            ),
            Step(kinds.DIRECTORY, 3, b"dev", mode=0o755),
            Step(kinds.FILESYSTEM, 3, b"dev", b"tmpfs", ((b"source", b"tmpfs"), (b"mode", b"755"))),
        ]
        for name, major, minor in DEVICES:
            device = os.makedev(major, minor)
            steps.append(Step(kinds.NODE, 3, b"dev/" + name.encode(), mode=0o666, device=device))
        return tuple(steps)

    def request(self, *argv: str | bytes, extra: Sequence[Step] = (), **changes: Any) -> SpawnRequest:
        """A request for a program by its path, as uid 2000 in the small root, isolated; changes are its fields.

        Args:
            extra: Steps after those of the small root.
        """
        words = tuple(os.fsencode(word) for word in argv)
        null = self.null()
        request = SpawnRequest(
            argv=words,
            env=(b"PATH=/usr/bin:/bin",),
            candidates=words[:1],
            stdio=(null, null, null),
            namespaces=ISOLATED,
            steps=(*self.root_steps(), *extra),
            uid=2000,
            gid=3000,
        )
        return evolve(request, **changes)

    @staticmethod
    def with_stdio(request: SpawnRequest, stdio: tuple[int, int, int]) -> SpawnRequest:
        """The same request with other standard descriptors."""
        return evolve(request, stdio=stdio)

    def spawn(self, request: SpawnRequest) -> Spawned:
        """Spawn; what still runs when this world ends is ended with it."""
        spawned = spawn(request)
        self._running.append(spawned)
        return spawned

    def start(self, *argv: str | bytes, **changes: Any) -> Spawned:
        """Spawn a program in the small root."""
        return self.spawn(self.request(*argv, **changes))

    def finish(self, spawned: Spawned) -> int:
        """Wait for its end: init's exit status, or minus its signal."""
        code = end_of(spawned.pidfd)
        self._running.remove(spawned)
        os.close(spawned.pidfd)
        return code

    def killed(self, spawned: Spawned) -> Spawned:
        """The same container, told to end at once."""
        os.kill(spawned.pid, 9)  # not reaped yet, so the pid is still its own
        return spawned

    def end(self, spawned: Spawned) -> None:
        """Kill the container, if it still runs, and reap it."""
        try:
            end_of(self.killed(spawned).pidfd)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(spawned.pidfd)

    def run_request(self, request: SpawnRequest) -> Ended:
        """Spawn, wait for the end, and read what was written to 1 and recorded."""
        output, record = self.memory(), self.memory()
        stdio = (request.stdio[0], output, request.stdio[2])
        code = self.finish(self.spawn(evolve(request, stdio=stdio, exit_fd=record)))
        text = os.pread(output, os.fstat(output).st_size, 0)
        return Ended(text, parse_exit(os.pread(record, EXIT_SIZE + 1, 0)), code)

    def run(self, *argv: str | bytes, **changes: Any) -> Ended:
        """Run a program in the small root to its end."""
        return self.run_request(self.request(*argv, **changes))

    def shell(self, script: str, **changes: Any) -> Ended:
        """Run a shell script in the small root to its end."""
        return self.run("/bin/sh", "-c", script, **changes)

    def see(self, *attempts: str, **changes: Any) -> Seen:
        """What the probe sees in the small root, and what its attempts are answered."""
        return self.run("/probe", *attempts, **changes).seen
