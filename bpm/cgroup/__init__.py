"""Where the cgroup hierarchies are; making, joining, reading, killing and removing a container's cgroup."""

from bpm.cgroup.apply import change, create
from bpm.cgroup.group import Group, Join
from bpm.cgroup.hierarchy import find_hierarchies, observe_hierarchies, swap_accounting
from bpm.cgroup.stats import Usage, read_usage

__all__ = [
    "Group",
    "Join",
    "Usage",
    "change",
    "create",
    "find_hierarchies",
    "observe_hierarchies",
    "read_usage",
    "swap_accounting",
]
