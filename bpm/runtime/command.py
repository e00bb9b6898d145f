"""The frame of start, stop and run: the process's lock, held for the whole length, and what bpm.log is told of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bpm import safepath
from bpm.errors import BpmError, ConfigError, JobNotFound, ProcessNotFound
from bpm.layout import JobLayout, container_id
from bpm.runtime.lock import locked
from bpm.runtime.log import Log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.plan import User


@contextmanager
def command(paths: JobLayout, process: str, log: Log) -> Iterator[None]:
    """Waits for the lock, holds it, and tells the log when."""
    lock, unlock = log.begin("acquiring-lifecycle-lock"), None
    try:
        lock.info("starting")
        with locked(paths.layout.process_lock(container_id(paths.job, process))):
            lock.info("complete")
            log.info("starting")
            try:
                yield
            except (BpmError, OSError) as error:
                if not log.has_told(error):
                    log.error("failed", error)
                raise
            finally:
                log.info("complete")
                unlock = log.begin("releasing-lifecycle-lock")
                unlock.info("starting")
    finally:
        if unlock is not None:
            unlock.info("complete")


@contextmanager
def task(log: Log, name: str) -> Iterator[Log]:
    """A part of a command that has a name of its own in the log, where it also says how it ended."""
    inner = log.begin(name)
    inner.info("starting")
    try:
        yield inner
    except (BpmError, OSError) as error:
        inner.error("failed", error)
        raise
    inner.info("complete")


@contextmanager
def reading(log: Log) -> Iterator[None]:
    """Tells the log what is wrong with a bpm.yml, by the names that operators look for."""
    try:
        yield
    except ProcessNotFound as error:
        log.error("process-not-defined", error)
        raise
    except (ConfigError, JobNotFound) as error:
        log.error("failed-to-parse-config", error)
        raise
    except BpmError as error:
        log.error("failed-to-plan", error)
        raise


def open_log(name: str, paths: JobLayout, process: str, user: User) -> Log:
    """The job's bpm.log, for the events of one command such as ``bpm.start``. The caller closes it.

    Raises:
        UnsafePathError: The job's user has put something else there.
    """
    safepath.make_directory(paths.log.outside, 0o750, user.uid, user.gid)
    fd = safepath.open_log(paths.bpm_log.outside, 0o600, user.uid, user.gid)
    return Log(fd, name, {"job": paths.job, "process": process})
