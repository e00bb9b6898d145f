"""What the cgroup tests share: groups on this host's own hierarchies, and children that join them as a spawn does."""

from __future__ import annotations

import ctypes
import itertools
import os
import signal
import struct
import time
from collections.abc import Callable

from attrs import evolve

from bpm.cgroup import Group, create
from bpm.plan import Cgroup, CgroupDirectory, CgroupSetting, Controller

MIB = 1024 * 1024

_SYS_CLONE3 = 435  # on every architecture
_CLONE_INTO_CGROUP = 0x2_0000_0000

_numbers = itertools.count()


class Host:
    """This host's hierarchies, and all that a test made in them."""

    def __init__(self, controllers: tuple[Controller, ...], unified: Controller | None) -> None:
        self.controllers = {controller.name: controller for controller in controllers}
        self.unified = unified
        self.made: list[Group] = []
        self.children: list[int] = []

    def plan(self, *names: str, settings: tuple[CgroupSetting, ...] = (), track: bool = True) -> Cgroup:
        """A cgroup of a fresh name with these controllers, and a v2 directory beside them where there is one."""
        name = f"bpm-test-{os.getpid()}-{next(_numbers)}"
        homes = [self.controllers[controller] for controller in names]
        if track and self.unified:
            homes.append(self.unified)
        directories: dict[str, CgroupDirectory] = {}
        for home in homes:
            path = f"{home.mount_point}{home.own_path.rstrip('/')}/{name}"
            known = directories.setdefault(path, CgroupDirectory((), home.version, path, "test"))
            if home is not self.unified:
                directories[path] = evolve(known, controllers=(*known.controllers, home.name))
        plan = Cgroup(name, tuple(directories.values()), settings)
        self.made.append(Group.from_paths(path for path in directories))
        return plan

    def create(self, *names: str, settings: tuple[CgroupSetting, ...] = (), track: bool = True) -> Group:
        return create(self.plan(*names, settings=settings, track=track))

    def memory_limit(self, limit: int) -> tuple[CgroupSetting, ...]:
        """Memory and swap together below one figure, as this host's version has it."""
        if self.controllers["memory"].version == 1:
            return setting("memory", "limit_in_bytes", limit), setting("memory", "memsw.limit_in_bytes", limit)
        return setting("memory", "max", limit), setting("memory", "swap.max", 0)

    def start(self, group: Group, action: Callable[[], object]) -> int:
        """A child that has joined as a spawn does, and runs the action: exit status 0, what that returned, or 1."""
        joined, tell = os.pipe()
        with group.open_for_join() as join:
            pid = clone_into(join.unified_fd)
            if not pid:
                status = 1
                try:
                    for tasks in join.tasks:
                        os.write(tasks, b"0")
                    os.write(tell, b".")
                    status = int(action() or 0)
                finally:
                    os._exit(status)
        self.children.append(pid)
        os.close(tell)
        os.read(joined, 1)
        os.close(joined)
        return pid

    def wait(self, pid: int) -> int:
        """How a child ended, as ``subprocess`` has it: its status, or minus the signal."""
        self.children.remove(pid)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def clean(self) -> None:
        for group in self.made:
            group.kill(time.monotonic() + 10)
        for pid in list(self.children):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        for group in self.made:
            group.remove()


def setting(controller: str, file: str, value: object, optional: bool = False) -> CgroupSetting:
    return CgroupSetting(controller, f"{controller}.{file}", str(value), f"limits.{controller}", optional)


def clone_into(unified_fd: int) -> int:
    """A fork that is born in a v2 cgroup, or, for -1, a plain one."""
    if unified_fd < 0:
        return os.fork()
    # PyDLL keeps the interpreter's lock, which the child could not get back otherwise.
    arguments = struct.pack("=11Q", _CLONE_INTO_CGROUP, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, unified_fd)
    libc = ctypes.PyDLL(None, use_errno=True)
    pid: int = libc.syscall(_SYS_CLONE3, arguments, len(arguments))
    if pid < 0:
        raise OSError(ctypes.get_errno(), "clone3")
    return pid


def sleep_forever() -> None:
    """What a program does that does not want to leave: no signal that can be ignored ends it."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(60)


def eventually(condition: Callable[[], bool], seconds: float = 30) -> bool:
    """Whether it comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.002)
    return True
