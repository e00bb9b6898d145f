"""Pid 1 of a throw-away machine: makes a Linux host of the wanted kind, runs one command in it, and powers off.

Executed by ``python -IS``, so with the standard library alone, and with no file system but a root that is read-only::

    boot     pid 1: makes the root, /dev, /proc, /sys; becomes systemd, or mounts the hierarchies and goes on to serve
    serve    runs the command, or a container for it; keeps its exit status; powers off
    contain  pid 1 of that container: runs the command

machine.py writes its orders, and reads what it leaves in the directory that they call ``out``.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import resource
import socket
import struct
import sys
import tty
from collections.abc import Callable
from typing import Any

Orders = dict[str, Any]

NOSUID, NODEV, NOEXEC = 2, 4, 8
MS_REC, MS_SHARED = 1 << 14, 1 << 20
MNT_DETACH = 2
SIOCSIFFLAGS, IFF_UP = 0x8914, 1
POWER_OFF = 0x4321FEDC
# There is User Mode Linux for x86 only.
SYS_PIVOT_ROOT, SYS_FINIT_MODULE = 155, 313

CGROUPS = "/sys/fs/cgroup"
CONTAINER = CGROUPS + "/container"

libc = ctypes.CDLL(None, use_errno=True)


def main(orders_file: str, phase: str) -> None:
    with open(orders_file) as file:
        orders = json.load(file)
    if phase == "boot":
        boot(orders, program(orders, orders_file, "serve"))
    elif phase == "contain":
        mount("proc", "/proc")
        check("umount the host's hierarchy", libc.umount2(CGROUPS.encode(), MNT_DETACH))
        mount("cgroup2", CGROUPS)
        sys.exit(run(orders["command"], lambda: enter(orders)))
    serve(orders, program(orders, orders_file, "contain"))


def program(orders: Orders, orders_file: str, phase: str) -> list[str]:
    """This program again."""
    return [orders["python"], "-IS", os.path.abspath(__file__), orders_file, phase]


def boot(orders: Orders, service: list[str]) -> None:
    """Make a host of this kernel; returns where there is no systemd to do the rest."""
    enter_overlay(orders["module"])
    mount_kernel_file_systems()
    raise_loopback()
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 524288))  # as under systemd
    mount("hostfs", orders["out"], orders["out"], 0)
    check("make / shared", libc.mount(None, b"/", None, MS_REC | MS_SHARED, None))  # as systemd has it
    if orders["systemd"]:
        become_systemd(service)
    mount_hierarchies(orders["hierarchy"])


def serve(orders: Orders, container: list[str]) -> None:
    """Run what was ordered, with the serial line for its output; keep its exit status; power off."""
    line = os.open("/dev/ttyS0", os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, source in enumerate((nothing, line, line)):
        os.dup2(source, descriptor)
    if orders["nested"]:
        os.mkdir(CONTAINER)
        # Who waits for the container stays out of its cgroup, where it would be a process that nobody inside can see.
        join = f'echo 0 > {CONTAINER}/cgroup.procs && exec unshare --cgroup "$@"'
        namespaces = ["--mount", "--pid", "--uts", "--ipc", "--fork"]
        status = run(["unshare", *namespaces, "sh", "-c", join, "sh", *container], lambda: None)
    else:
        status = run(orders["command"], lambda: enter(orders))
    write(orders["out"] + "/status", str(status))
    os.sync()
    libc.reboot(POWER_OFF)


def run(command: list[str], prepare: Callable[[], object]) -> int:
    """Run a command to its end, which a child prepares for, and wait for all that is left to pid 1 meanwhile."""
    child = os.fork()
    if not child:
        try:
            os.setsid()
            prepare()
            os.execvp(command[0], command)
        except Exception as error:
            print(f"cannot run {command[0]}: {error}", file=sys.stderr, flush=True)
            os._exit(127)
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def enter(orders: Orders) -> None:
    """Say what this host is; then have the directory and the environment that were ordered."""
    write(orders["out"] + "/host.json", json.dumps(describe_host()))
    os.chdir(orders["directory"])
    os.environ.clear()
    os.environ.update(orders["environment"])


def describe_host() -> dict[str, object]:
    """What this host is, as it shows itself to the command."""
    hierarchies = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            mount_point = line.split()[4]
            kind, _, options = line.rpartition(" - ")[2].split()
            if kind == "cgroup2":
                with open(mount_point + "/cgroup.controllers") as controllers:
                    hierarchies.append(f"v2 ({controllers.read().strip() or 'no controllers'})")
            elif kind == "cgroup":
                words = [word for word in options.split(",") if word not in ("rw", "xattr")]
                hierarchies.append("v1 " + ",".join(words))
    with open("/proc/self/cgroup") as file:
        own = sorted({line.rstrip("\n").split(":", 2)[2] for line in file})
    with open("/proc/1/comm") as file:
        pid1 = file.read().strip()
    return {"kernel": os.uname().release, "pid1": pid1, "hierarchies": sorted(hierarchies), "own": own}


def enter_overlay(module: str) -> None:
    """A root that can be written, in memory, over the one that cannot."""
    descriptor = os.open(module, os.O_RDONLY)
    check("load the overlay file system", libc.syscall(SYS_FINIT_MODULE, descriptor, b"", 0))
    mount("tmpfs", "/mnt", "mode=755,size=75%", 0)
    for name in ("upper", "work"):
        os.mkdir("/mnt/" + name)
    mount("overlay", "/mnt/root", "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work", 0)
    os.chdir("/mnt/root")
    os.makedirs(".old", exist_ok=True)
    check("pivot_root", libc.syscall(SYS_PIVOT_ROOT, b".", b".old"))
    os.chroot(".")
    os.chdir("/")
    check("umount the old root", libc.umount2(b"/.old", MNT_DETACH))
    os.rmdir("/.old")


def mount_kernel_file_systems() -> None:
    mount("proc", "/proc")
    mount("sysfs", "/sys")
    mount("devtmpfs", "/dev", "mode=755", NOSUID)
    mount("devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", NOSUID | NOEXEC)
    mount("tmpfs", "/dev/shm", "mode=1777", NOSUID | NODEV)
    mount("tmpfs", "/run", "mode=755", NOSUID | NODEV)
    os.makedirs("/run/lock", exist_ok=True)
    for name, target in ("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"):
        link("/dev/" + name, target)
    link("/dev/ptmx", "pts/ptmx")


def raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def mount_hierarchies(kind: str) -> None:
    """What systemd would mount: v2; or v1, a hierarchy each; or hybrid, which is v1 with an empty v2 beside it."""
    if kind == "v2":
        mount("cgroup2", CGROUPS, "nsdelegate")
        with open(CGROUPS + "/cgroup.controllers") as file:
            controllers = file.read().split()
        write(CGROUPS + "/cgroup.subtree_control", " ".join("+" + name for name in controllers))
        return
    mount("tmpfs", CGROUPS, "mode=755")
    with open("/proc/cgroups") as file:
        names = [line.split()[0] for line in file.readlines()[1:]]
    if kind == "v1":
        # Together, as systemd and cgroupfs-mount have them.
        names = [name for name in names if name not in ("cpu", "cpuacct")] + ["cpu,cpuacct"]
    for name in names:
        mount("cgroup", f"{CGROUPS}/{name}", name)
    mount("cgroup", CGROUPS + "/systemd", "none,name=systemd")
    if kind == "hybrid":
        mount("cgroup2", CGROUPS + "/unified", "nsdelegate")


def become_systemd(service: list[str]) -> None:
    """Become systemd, with the system bus and one service: none of this machine's own."""
    units = "/etc/systemd/system/"
    for name in os.listdir(units):
        if name.endswith(".wants"):
            for wanted in os.listdir(units + name):
                os.unlink(f"{units}{name}/{wanted}")
    if os.path.exists("/.dockerenv"):
        os.unlink("/.dockerenv")  # else systemd takes this for a container
    write("/etc/fstab", "")
    write("/etc/machine-id", os.urandom(16).hex() + "\n")  # else this is a first boot, which enables units again
    link("/etc/tmpfiles.d/tmp.conf", os.devnull)  # else it empties /tmp
    for name in SLOW_AND_OF_NO_USE:
        link(units + name, os.devnull)
    write(units + "guest.service", UNIT.format(" ".join(service)))
    os.execv("/lib/systemd/systemd", ["/lib/systemd/systemd"])


UNIT = """
[Unit]
Requires=basic.target dbus.socket
After=basic.target dbus.socket

[Service]
Type=exec
TasksMax=infinity
Delegate=yes
ExecStart={}
"""

SLOW_AND_OF_NO_USE = (
    "kmod-static-nodes.service",
    "modprobe@.service",
    "proc-sys-fs-binfmt_misc.automount",
    "systemd-binfmt.service",
    "systemd-journal-flush.service",
    "systemd-modules-load.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-sysusers.service",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
    "systemd-update-utmp.service",
    "timers.target",
)


def mount(kind: str, where: str, options: str = "", flags: int = NOSUID | NODEV | NOEXEC) -> None:
    os.makedirs(where, exist_ok=True)
    arguments = (kind.encode(), where.encode(), kind.encode(), flags, options.encode())
    check(f"mount {kind} on {where}", libc.mount(*arguments))


def check(what: str, result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def link(path: str, target: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


if __name__ == "__main__":
    main(*sys.argv[1:3])  # the kernel adds words of its own
