"""Processes as JSON objects, for machines: what is not known, or not limited, is null."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import ExitRecord, Report, Status


def since(nanoseconds: int) -> float:
    """How many seconds have passed since a moment."""
    return max(0.0, (time.time_ns() - nanoseconds) / 1e9)


def to_record(report: Report) -> dict[str, object]:
    """All of one process."""
    usage, running = report.usage, report.status.state == "running"
    return {
        **status_to_record(report.status),
        "program_pid": report.program,
        "started": _moment(report.started_ns),
        "uptime_seconds": round(since(report.started_ns), 3) if running else None,
        "restarts": report.restarts,
        "last_exit": exit_to_record(report.last_exit),
        "memory": {
            "now_bytes": usage.memory_now if running else None,
            "peak_bytes": usage.memory_peak,
            "limit_bytes": usage.memory_limit,
            "limit_met": usage.memory_failures,
        },
        "processes": {
            "now": usage.processes_now if running else None,
            "peak": usage.processes_peak,
            "limit": usage.processes_limit,
            "limit_met": usage.processes_failures,
        },
        "cpu_seconds": None if usage.cpu_ns is None else usage.cpu_ns / 1e9,
        "plan_digest": report.plan_digest or None,
    }


def status_to_record(status: Status) -> dict[str, object]:
    """What a listing has of one process."""
    return {
        "name": status.name,
        "job": status.job,
        "process": status.process,
        "state": status.state,
        "pid": status.pid,
        "last_exit": exit_to_record(status.last_exit),
    }


def exit_to_record(record: ExitRecord | None) -> dict[str, object] | None:
    """How one ended."""
    if record is None:
        return None
    failure = record.spawn_failure
    return {
        "exit_code": record.exit_code,
        "signal": record.signal,
        "core_dumped": record.core_dumped,
        "out_of_memory": record.oom_killed,
        "limit": record.limit or None,
        "could_not_be_started": None if failure is None else failure.stage,
        "started": _moment(record.started_ns),
        "ended": _moment(record.ended_ns),
        "cpu_seconds": (record.user_ns + record.system_ns if record.cpu_ns is None else record.cpu_ns) / 1e9,
        "memory_peak_bytes": record.memory_peak_bytes,
    }


def _moment(nanoseconds: int) -> str | None:
    from bpm.cli.units import time_of

    return time_of(nanoseconds) if nanoseconds else None
