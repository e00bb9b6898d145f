"""Which limit it was that ended a program."""

from __future__ import annotations

import signal

from bpm.errors import RecordError
from bpm.runtime.records import ExitRecord, Records, StateRecord

# The files of v1 and v2 that hold the memory limit.
MEMORY = ("memory.limit_in_bytes", "memory.max")

# setrlimit(2)
SIGNALS = {signal.SIGXCPU: "RLIMIT_CPU", signal.SIGXFSZ: "RLIMIT_FSIZE"}


def find_hit_limit(records: Records, state: StateRecord, record: ExitRecord) -> str:
    """The key of the limit that ended it, such as ``processes[0].limits.memory``; empty where none of its own did."""
    name = SIGNALS.get(signal.Signals(record.signal)) if record.signal in SIGNALS else None
    if not record.oom_killed and name is None:
        return ""
    try:
        plan = records.read_plan(state)
    except RecordError:
        return ""
    if record.oom_killed:
        keys = [setting.because for setting in plan.cgroup.settings if setting.file in MEMORY]
    else:
        keys = [limit.because for limit in plan.rlimits if limit.name == name]
    return keys[0] if keys else ""
