"""Ending: how a program ended, what it used, and which limits it met."""

from __future__ import annotations

import signal
from typing import Literal

from attrs import frozen

from bpm import cgroup
from bpm._native import Reaped
from bpm.config import Limits

Reason = Literal["exited", "signalled", "oom", "timeout", "killed", "unknown"]

BILLION = 1_000_000_000
CLD_EXITED, CLD_DUMPED = 1, 3  # waitid(2)


@frozen
class Resources:
    """What a program has used.

    Args:
        wall: Seconds from its start to its end.
        user, system: Seconds of processor time, of it and of all its descendants that were waited for.
        max_rss: The largest resident size that any one of them had, in bytes; None where all were killed at once, since
            nobody was left then to count it.
        memory_peak: The most memory that all together had, in bytes; None where it was in no cgroup that counts it.
        cpu: Seconds of processor time of all together, waited for or not; None where no cgroup counted it.
        processes_peak: The most processes and threads at a time; None where no cgroup counted them.
    """

    wall: float
    user: float
    system: float
    max_rss: int | None = None
    memory_peak: int | None = None
    cpu: float | None = None
    processes_peak: int | None = None


@frozen
class Ending:
    """How a program ended.

    Args:
        returncode: As subprocess has it: the exit status, or minus the signal's number.
        reason: ``exited``; ``signalled`` by something else; ``oom`` when its memory limit was met; ``timeout`` when its
            time was up; ``killed`` by a signal that we sent; ``unknown`` when nothing tells.
        limits_hit: The limits that it met, as far as the kernel tells, by their names in Limits: ``memory``, ``swap``,
            ``memory_high``, ``processes``, ``cpu``, ``wall_time``, ``cpu_time``, ``file_size``. Not all end a program.
            Of ``open_files`` only the program itself is told (EMFILE), and of ``swap`` on cgroup v1 not every kernel
            tells.
        core_dumped: Whether it left a core dump.
        resources: What it used.
    """

    returncode: int
    reason: Reason
    limits_hit: tuple[str, ...]
    core_dumped: bool
    resources: Resources

    def describe(self) -> str:
        """One sentence: how it ended, which limits it met, and what it used."""
        used = self.resources
        words = [self._how()]
        if self.limits_hit:
            words.append("limits met: " + ", ".join(self.limits_hit))
        words.append(f"{used.wall:.3f} s, of which {used.user + used.system:.3f} s of processor time")
        peak = used.memory_peak if used.memory_peak is not None else used.max_rss
        if peak is not None:
            words.append(f"at most {peak / 2**20:.1f} MiB of memory")
        return "; ".join(words)

    def _how(self) -> str:
        if self.reason == "unknown":
            return "nobody knows how"
        if self.returncode >= 0:
            return f"exit status {self.returncode}"
        name = signal_name(-self.returncode)
        if self.reason == "signalled":
            return f"died of {name}" + (" and dumped core" if self.core_dumped else "")
        return {
            "oom": f"killed for its memory limit (oom, {name})",
            "timeout": f"killed when its time was up (timeout, {name})",
            "killed": f"killed by us ({name})",
        }[self.reason]


def judge(reaped: Reaped, usage: cgroup.Usage, limits: Limits, sent: set[int], wall: float) -> Ending:
    """How a program ended.

    Args:
        reaped: How its init ended, and what it recorded if it was not killed together with the program.
        usage: What the cgroup counted.
        limits: What the program was held to.
        sent: The signals that we sent.
        wall: Seconds since its start, where init has not recorded them.
    """
    facts = reaped.record
    if facts is not None:
        returncode = facts.status if facts.code == CLD_EXITED else -facts.status
        wall = (facts.ended - facts.started) / BILLION
        user, system = facts.user / BILLION, facts.system / BILLION
    else:
        returncode = -signal.SIGKILL if reaped.returncode is None else reaped.returncode
        user, system = reaped.user / BILLION, reaped.system / BILLION
    timed_out = facts is not None and bool(facts.timed_out)
    known = facts is not None or reaped.returncode is not None
    met = {
        "memory": bool(usage.oom_kills),
        "swap": limits.swap is not None and bool(usage.swap_failures),
        "memory_high": limits.memory_high is not None and bool(usage.memory_slowed),
        "processes": bool(usage.processes_failures),
        "cpu": limits.cpu is not None and bool(usage.cpu_throttled),
        "wall_time": timed_out,
        "cpu_time": limits.cpu_time is not None and returncode == -signal.SIGXCPU,
        "file_size": limits.file_size is not None and returncode == -signal.SIGXFSZ,
    }
    return Ending(
        returncode=returncode,
        reason=_reason(returncode, timed_out, bool(usage.oom_kills), sent) if known else "unknown",
        limits_hit=tuple(name for name, hit in met.items() if hit),
        core_dumped=facts is not None and facts.code == CLD_DUMPED,
        resources=Resources(
            wall=wall,
            user=user,
            system=system,
            max_rss=None if facts is None else facts.max_rss,
            memory_peak=usage.memory_peak,
            cpu=None if usage.cpu_ns is None else usage.cpu_ns / BILLION,
            processes_peak=usage.processes_peak,
        ),
    )


def _reason(returncode: int, timed_out: bool, out_of_memory: bool, sent: set[int]) -> Reason:
    if timed_out:
        return "timeout"
    if returncode >= 0:
        return "exited"
    if returncode == -signal.SIGKILL and out_of_memory and signal.SIGKILL not in sent:
        return "oom"
    return "killed" if -returncode in sent else "signalled"


def signal_name(number: int) -> str:
    """A signal's name, such as ``SIGKILL``."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
