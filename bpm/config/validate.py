"""What bpm.yml must say beyond its types: the contract's checks, in its order and its words."""

from __future__ import annotations

from collections.abc import Callable

from bpm.config.models import JobConfig, ProcessConfig, Volume
from bpm.config.paths import clean_path, is_below
from bpm.errors import ConfigError, Problem

_Finding = tuple[tuple[str | int, ...], str]
"""Where, as a path below what was checked, and the reason."""

_SIGNALS = ("", "TERM", "INT")


def validate_volume(volume: Volume, job: str, root: str) -> None:
    """Check a volume of ``additional_volumes`` or of ``-v``.

    Args:
        volume: The volume.
        job: The job that wants it.
        root: The BOSH root on the host, absolute and clean.

    Raises:
        ConfigError: Its path will not do; one Problem, without a place.
    """
    reason = _check_volume(volume, job, root)
    if reason:
        raise ConfigError([Problem(reason)])


def find_invalid(config: JobConfig, job: str, root: str) -> _Finding | None:
    """The first thing that is wrong with a configuration; None for a good one."""
    for index, process in enumerate(config.processes):
        for check in _CHECKS:
            found = check(process, job, root)
            if found:
                return ("processes", index, *found[0]), found[1]
    return None


def _check_name(process: ProcessConfig, job: str, root: str) -> _Finding | None:
    return None if process.name else (("name",), "invalid config: name")


def _check_executable(process: ProcessConfig, job: str, root: str) -> _Finding | None:
    return None if process.executable else (("executable",), "invalid config: executable")


def _check_volumes(process: ProcessConfig, job: str, root: str) -> _Finding | None:
    for index, volume in enumerate(process.additional_volumes):
        reason = _check_volume(volume, job, root)
        if reason:
            return ("additional_volumes", index, "path"), reason
    return None


def _check_volume(volume: Volume, job: str, root: str) -> str:
    clean = clean_path(volume.path)
    if clean != volume.path:
        return f"volume path must be canonical, expected {clean} but got {volume.path}"
    if clean in (clean_path(f"{root}/data/{job}"), clean_path(f"{root}/store/{job}")):
        return f"invalid volume path: {volume.path} cannot conflict with default job data or store directories"
    if not is_below(clean, root):
        return f"invalid volume path: {volume.path} must be within {root}"
    return ""


def _check_shutdown_signal(process: ProcessConfig, job: str, root: str) -> _Finding | None:
    signal = process.shutdown_signal
    if signal in _SIGNALS:
        return None
    reason = f"shutdown signal should either be 'TERM' or 'INT' (or left unspecified), but got '{signal}'"
    return ("shutdown_signal",), reason


_CHECKS: tuple[Callable[[ProcessConfig, str, str], _Finding | None], ...] = (
    _check_name,
    _check_executable,
    _check_volumes,
    _check_shutdown_signal,
)
