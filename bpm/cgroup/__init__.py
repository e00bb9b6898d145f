"""Where the cgroup hierarchies are; making, joining, reading, killing and removing a container's cgroup."""

from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
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

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(__name__, "group", "stats", "hierarchy", "apply")
