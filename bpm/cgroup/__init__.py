"""Where the cgroup hierarchies are; making, joining, reading, killing and removing a container's cgroup."""

from bpm.cgroup.apply import change, create
from bpm.cgroup.group import Group, Join
from bpm.cgroup.hierarchy import (
    find_hierarchies,
    is_crowded,
    observe_hierarchies,
    observe_mountable,
    observe_systemd,
    swap_accounting,
)
from bpm.cgroup.stats import Usage, opened_counters, parse_usage, read_usage

__all__ = [
    "Group",
    "Join",
    "Usage",
    "change",
    "create",
    "find_hierarchies",
    "is_crowded",
    "observe_hierarchies",
    "observe_mountable",
    "observe_systemd",
    "opened_counters",
    "parse_usage",
    "read_usage",
    "swap_accounting",
]
