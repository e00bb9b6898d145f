"""What commands that name a job have in common."""

from __future__ import annotations

import os

from bpm.cli.failure import Failure, describe
from bpm.cli.flags import TEXT, Arguments, Flag, UsageError
from bpm.cli.output import complain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Environment, JobNotFound, JobProcess, Problem

PROCESS = Flag("process", "p", kind=TEXT, value="NAME", help="which of the job's processes; else the one named like it")


def find_process(arguments: Arguments, *, note_unknown: bool = True) -> JobProcess:
    """The process that the command line names: one of the job's, or the one named like the job.

    Args:
        note_unknown: Whether to tell which jobs there are, where this is none.

    Raises:
        UsageError: It names no job.
    """
    if not arguments.words or not arguments.words[0]:
        raise UsageError("must specify a job")
    from bpm import Environment

    process = Environment().process(arguments.words[0], arguments.text("process") or None)
    if note_unknown and not os.path.lexists(process.environment.layout.job(process.job).directory.outside):
        complain(f"bpm: note: {unknown_job(process.environment, process.job)}")
    return process


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
        return Failure(describe(error))
    if isinstance(error, (ConfigError, JobNotFound)):
        return Failure(f"failed to parse job configuration: {describe(error)}")
    return Failure(f"{what}: {describe(error)}{tail}")


def find_known_process(arguments: Arguments) -> JobProcess:
    """The process that the command line names, for commands that only look: it is in a job's bpm.yml.

    Raises:
        UsageError: It names no job.
        JobNotFound, ProcessNotFound: There is none; the error names those that there are.
    """
    if not arguments.words or not arguments.words[0]:
        raise UsageError("must specify a job")
    job = arguments.words[0]
    environment = find_environment()
    if job not in environment.jobs():
        raise unknown_job(environment, job)
    return pick_process(environment, job, arguments.text("process"))


def pick_process(environment: Environment, job: str, name: str) -> JobProcess:
    """One of a job's processes: the one of this name, or else the one named like the job, or else the only one."""
    from bpm import ProcessNotFound
    from bpm.cli.style import plain

    there = [process.name for process in environment.config(job).processes]
    wanted = name or (there[0] if len(there) == 1 else job)
    if wanted in there:
        return environment.process(job, wanted)
    shown = ", ".join(map(plain, there)) or "none"
    raise ProcessNotFound(f'there is no process "{plain(wanted)}" in the job {plain(job)} (processes there: {shown})')


def find_environment() -> Environment:
    """The BOSH root, for commands that only look: it can be another machine's, whose user this one does not know."""
    from bpm import Environment, HostError, User

    environment = Environment()
    try:
        environment.user  # noqa: B018 - it is looked up only when it is asked for
    except HostError as error:
        who = f"the one of a BOSH stemcell, {User().uid}:{User().gid}, is meant"
        complain(f"bpm: note: {str(error).partition(': ')[0]}; {who}")
        return Environment(user=User())
    return environment


def unknown_job(environment: Environment, job: str) -> JobNotFound:
    """What to raise for a job that is none: the error names those that there are."""
    from difflib import get_close_matches

    from bpm import JobNotFound
    from bpm.cli.style import plain

    jobs = environment.jobs()
    near = get_close_matches(job, jobs, 1)
    guess = f'; did you mean "{plain(near[0])}"?' if near else ""
    there = ", ".join(map(plain, jobs)) or "none"
    return JobNotFound(
        f'there is no job "{plain(job)}" in {environment.layout.jobs.outside}{guess} (jobs there: {there})'
    )
