"""Shows the system calls of a running process and of whatever it starts, with strace, until interrupted."""

from __future__ import annotations

import os
import signal
from types import FrameType

from bpm.cli.failure import Failure
from bpm.cli.flags import Arguments
from bpm.cli.job import PROCESS, find_process

WORDS = "JOB"
FLAGS = (PROCESS,)

TRACER = "strace"
OPTIONS = ("-s", "100", "-f", "-y", "-yy", "-p")


def run(arguments: Arguments) -> int:
    """`bpm trace`."""
    process = find_process(arguments)
    from bpm import NotRunning

    container = process.running()
    try:
        program = container.program
    finally:
        container.close()
    if program is None:
        raise NotRunning("process is not running or could not be found")
    return trace(program)


def trace(pid: int) -> int:
    """Runs strace, and passes on to it what would interrupt us."""
    told: list[int] = []
    tracers: list[int] = []

    def tell(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for tracer in tracers:
            os.kill(tracer, number)

    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, tell)
    try:
        # Python ignores SIGPIPE, and what is ignored stays so across exec.
        tracers.append(os.posix_spawnp(TRACER, [TRACER, *OPTIONS, str(pid)], os.environ, setsigdef=[signal.SIGPIPE]))
    except FileNotFoundError:
        raise Failure("failed to trace job-process: strace is not installed") from None
    for number in told:
        os.kill(tracers[0], number)
    # Waited for without being reaped, so that its number is its own for as long as a signal may be passed on.
    os.waitid(os.P_PID, tracers[0], os.WEXITED | os.WNOWAIT)
    status = os.waitstatus_to_exitcode(os.waitpid(tracers.pop(), 0)[1])
    if told or status == 0:
        return 0
    raise Failure(f"failed to trace job-process: strace ended with status {status}")
