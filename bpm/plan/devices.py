"""The container's own /dev, and the paths that are masked or read-only inside."""

from __future__ import annotations

from collections.abc import Iterable

from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.model import Covered, DeviceRule, Link, Mount, Node
from bpm.plan.mounts import clean, is_within


def _node(name: str, major: int, minor: int) -> Node:
    return Node(f"/dev/{name}", major, minor, 0o666, reasons.DEVICES)


# Their numbers are the kernel's for good: Documentation/admin-guide/devices.txt.
NODES = (
    _node("null", 1, 3),
    _node("zero", 1, 5),
    _node("full", 1, 7),
    _node("random", 1, 8),
    _node("urandom", 1, 9),
    _node("tty", 5, 0),
)

# What may be opened, privileged or not: the nodes above, and terminals. Any node may be made: it stays shut.
DEVICE_RULES = (
    DeviceRule("c", None, None, "m"),
    DeviceRule("b", None, None, "m"),
    *(DeviceRule("c", node.major, node.minor, "rwm") for node in NODES),
    DeviceRule("c", 5, 2, "rwm"),  # the multiplexer of any devpts
    DeviceRule("c", 136, None, "rwm"),  # and its terminals
)

KCORE = "/proc/kcore"

LINKS = (
    # The multiplexer of the container's own devpts, not the host's 5:2.
    Link("/dev/ptmx", "pts/ptmx", reasons.DEVICES),
    Link("/dev/fd", "/proc/self/fd", reasons.DEVICES),
    Link("/dev/stdin", "/proc/self/fd/0", reasons.DEVICES),
    Link("/dev/stdout", "/proc/self/fd/1", reasons.DEVICES),
    Link("/dev/stderr", "/proc/self/fd/2", reasons.DEVICES),
    Link("/dev/core", KCORE, reasons.DEVICES),
)

MASKED = tuple(
    Covered(path, reasons.MASKED)
    for path in (
        "/etc/sv",
        "/proc/kcore",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/firmware",
    )
)

READ_ONLY = tuple(
    Covered(path, reasons.READ_ONLY)
    for path in ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
)


def plan_devices(asked: Asked, mounts: Iterable[Mount]) -> tuple[tuple[Node, ...], tuple[Link, ...]]:
    """The nodes and links of the container's own /dev.

    None where an unrestricted volume is mounted over /dev: that one is the host's, and bpm makes nothing there.
    Nor where one is mounted at or below the very name.
    """
    targets = [clean(mount.target) for mount in mounts if mount.kind == "bind"]
    if "/dev" in targets:
        return (), ()
    nodes = tuple(node for node in NODES if node.path not in targets)
    links = tuple(link for link in LINKS if not any(is_within(target, link.path) for target in targets))
    if KCORE not in asked.facts.existing:
        links = tuple(link for link in links if link.target != KCORE)
    return nodes, links


def plan_covers(asked: Asked) -> tuple[tuple[Covered, ...], tuple[Covered, ...]]:
    """What is masked and what is read-only inside; nothing for a privileged process."""
    return ((), ()) if asked.privileged else (MASKED, READ_ONLY)
