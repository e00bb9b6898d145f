"""Finds what is wrong with a bpm.yml, without running anything.

Each finding is a line, FILE:LINE:COLUMN: SEVERITY: TEXT [CODE]; docs/checks.md tells what to do about each code.
A JOB is checked with its files, on this host. A FILE (what has a slash, or ends in .yml; - is stdin) is taken for
itself, as on any BOSH machine, unless it is a job's in the BOSH root. Without either, all jobs are checked.
The exit status is 0 when nothing was found, 1 for warnings, and 2 for errors or when it could not be checked.
"""

from __future__ import annotations

import os

from bpm.cli.failure import Failure, describe
from bpm.cli.flags import Arguments, Flag
from bpm.cli.output import complain, print_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm import Problem

WORDS = "[JOB|FILE]..."
FLAGS = (Flag("json", help="print a JSON list"),)

CLEAN, WARNINGS, ERRORS = 0, 1, 2
WRONG_USAGE = ERRORS

STDIN = "-"

# As much as a bpm.yml may have.
LARGEST = 4 << 20


def run(arguments: Arguments) -> int:
    """`bpm check`."""
    from bpm import BpmError

    try:
        found, status = check_all(arguments.words)
    except (BpmError, OSError) as error:
        raise Failure(describe(error), ERRORS) from error
    show(found, json=arguments.switch("json"))
    severities = {severity for severity, _ in found}
    return max(status, ERRORS if "error" in severities else WARNINGS if severities else CLEAN)


def check_all(words: list[str]) -> tuple[list[tuple[str, Problem]], int]:
    """What there is to be found, each with its severity; and ERRORS where something could not be checked."""
    from bpm import BpmError, check_job, check_text
    from bpm.cli.job import find_environment, unknown_job

    jobs = {word: word if not is_file(word) else job_of(word) for word in words}
    environment = find_environment() if not words or any(jobs.values()) else None
    there = environment.jobs() if environment else ()
    found: list[tuple[str, Problem]] = []
    status = CLEAN
    for word in words or there:
        job = jobs.get(word, word)
        try:
            if environment is None or job is None:
                findings = check_text(read(word), job=name_of(word), file="<stdin>" if word == STDIN else word)
            elif job not in there:
                raise unknown_job(environment, job)
            else:
                findings = check_job(environment, job)
        except (BpmError, OSError) as error:
            complain(f"Error: {describe(error)}")
            status = ERRORS
            continue
        found += [("error", problem) for problem in findings.errors]
        found += [("warning", problem) for problem in findings.warnings]
    return found, status


def read(word: str) -> bytes:
    """As much of a file, or of stdin, as is looked at; there is nothing to be found in more."""
    with open(0 if word == STDIN else word, "rb", closefd=word != STDIN) as file:
        return file.read(LARGEST + 1)


def is_file(word: str) -> bool:
    """Whether a word of the command line is a file's path, and no job's name."""
    return word == STDIN or "/" in word or word.endswith((".yml", ".yaml"))


def name_of(path: str) -> str:
    """The job that a file is for: of JOB/config/bpm.yml and JOB/templates/bpm.yml.erb, and of JOB.yml."""
    if path == STDIN:
        return "job"
    directory, name = os.path.split(os.path.abspath(path))
    stem = name.partition(".")[0]
    if stem != "bpm":
        return stem or "job"
    if os.path.basename(directory) in ("config", "templates"):
        directory = os.path.dirname(directory)
    return os.path.basename(directory) or "job"


def job_of(path: str) -> str | None:
    """The job in the BOSH root whose bpm.yml this is."""
    from bpm import BpmError, Environment

    try:
        environment = Environment()
        for job in environment.jobs():
            if os.path.samefile(environment.layout.job(job).config, path):
                return job
    except (BpmError, OSError):
        pass
    return None


def show(found: list[tuple[str, Problem]], *, json: bool) -> None:
    """Prints the findings."""
    if json:
        from json import dumps

        print_line(dumps([to_record(severity, problem) for severity, problem in found], indent=2))
        return
    from bpm.cli.style import RED, YELLOW, has_colours, paint, plain

    colours = {"error": RED, "warning": YELLOW} if has_colours() else {}
    for severity, problem in found:
        shown = paint(severity, colours[severity]) if colours else severity
        place = ":".join(str(part) for part in (problem.file, problem.line, problem.column) if part)
        print_line(f"{plain(place)}: {shown}: {plain(problem.reason)} [{problem.code}]")


def to_record(severity: str, problem: Problem) -> dict[str, object]:
    """A finding for machines; a line or column of 0 is unknown."""
    return {
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "severity": severity,
        "text": problem.reason,
        "code": problem.code,
        "key": problem.key,
    }
