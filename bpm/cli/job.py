"""What commands that name a job have in common."""

from __future__ import annotations

from bpm.cli.failure import Failure, describe
from bpm.cli.flags import TEXT, Arguments, Flag, UsageError
from bpm.cli.output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import JobProcess, Problem

PROCESS = Flag("process", "p", kind=TEXT, value="NAME", help="which of the job's processes; else the one named like it")


def find_process(arguments: Arguments) -> JobProcess:
    """The process that the command line names: one of the job's, or the one named like the job.

    Raises:
        UsageError: It names no job.
    """
    if not arguments.words or not arguments.words[0]:
        raise UsageError("must specify a job")
    from bpm import Environment

    return Environment().process(arguments.words[0], arguments.text("process") or None)


def warn(problem: Problem) -> None:
    """Tells of something remarkable in the job's bpm.yml."""
    complain(f"bpm: warning: {problem}")


def failure_of(what: str, error: Exception, tail: str = "") -> Failure:
    """What to raise for an error that a command met.

    Args:
        what: What failed, such as ``failed to start job-process``, where neither bpm.yml nor a flag is to blame.
        error: One of bpm's own, or the system's.
        tail: What follows the reason then.
    """
    from bpm import ConfigError, JobNotFound, ProcessNotFound

    in_file = not isinstance(error, ConfigError) or any(problem.file for problem in error.problems)
    if isinstance(error, ProcessNotFound) or not in_file:
        return Failure(str(error))
    if isinstance(error, (ConfigError, JobNotFound)):
        return Failure(f"failed to parse job configuration: {error}")
    return Failure(f"{what}: {describe(error)}{tail}")
