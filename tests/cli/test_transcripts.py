"""What upstream's command line did with 86 command lines in a row, and what ours does."""

from __future__ import annotations

import re
import shlex

import pytest
from attrs import frozen

from bpm import __version__
from tests.cli.cases import JOBS, TRANSCRIPT, normalise
from tests.cli.conftest import CommandLine

pytestmark = pytest.mark.needs_root


@frozen
class Difference:
    """Where ours differs on purpose.

    Args:
        reason: Why.
        stderr: Ours, as a pattern.
        status: Ours, where it is another.
        stdout: Ours, where it is another.
    """

    reason: str
    stderr: str = ""
    status: int | None = None
    stdout: str | None = None


OUR_YAML_WORDS = "the words of upstream's YAML library are its own; ours name the place"
NAMES_THE_PLACE = "ours names the key and its place in the file"
ENDED_LINES = "ours ends each line, and names the place"
EXITS_1 = "a run whose set-up failed exits 1"
NO_SUCH_PROGRAM = "a missing executable fails the start, with the reason"

BROKEN_LIST = (
    r"invalid config for broken: not YAML: .+ \(ROOT/jobs/broken/config/bpm\.yml:2:1\)\n"
    r"invalid config for invalid: invalid config: name \(processes\[0\]\.name at ROOT/.+:1:20\)\n"
    r"invalid config for novol: invalid volume path: /etc must be within ROOT \(processes\[0\].+:1:78\)\n"
)

LISTS_JOBS = "ours tells which jobs there are"
NOTE = r'bpm: note: there is no job "no(there|pe)" in ROOT/jobs.+\(jobs there: .+\)\n'
NO_FILE = r"Error: failed to parse job configuration: open ROOT/jobs/.+: no such file or directory\n"
NOT_RUNNING = r"Error: process is not running or could not be found\n"

DIFFERENCES = {
    "start nothere": Difference(LISTS_JOBS, NOTE + NO_FILE),
    "run nope": Difference(LISTS_JOBS, NOTE + NO_FILE),
    "pid nothere": Difference(LISTS_JOBS, NOTE + NOT_RUNNING),
    "trace nothere": Difference(LISTS_JOBS, NOTE + NOT_RUNNING),
    "start broken": Difference(OUR_YAML_WORDS, r"Error: failed to parse job configuration: not YAML: .+:2:1\)\n"),
    "start invalid": Difference(
        NAMES_THE_PLACE, r"Error: failed to parse job configuration: invalid config: name \(processes\[0\].+\)\n"
    ),
    "start novol": Difference(
        NAMES_THE_PLACE,
        r"Error: failed to parse job configuration: invalid volume path: /etc must be within ROOT \(proc.+\)\n",
    ),
    "list": Difference(ENDED_LINES, BROKEN_LIST),
    "list extra args": Difference(ENDED_LINES, BROKEN_LIST),
    "logs web -n x": Difference(
        "the words of upstream's number parser are its own",
        r'USAGE\n\nError: invalid argument "x" for "-n, --lines" flag: expected a whole number\n',
    ),
    "run -p env web -e A=1 -e A=2 --env B=3": Difference(
        "ours orders the environment by name",
        stdout="A=2\nB=3\nHOME=/var/vcap/data/web\nLANG=en_US.UTF-8\nPATH=/var/vcap/jobs/web/bin:/usr/local/bin:"
        "/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:.\nTMPDIR=/var/vcap/data/web/tmp\n",
    ),
    "run web -p env -e =x": Difference(
        "upstream passes it on to runc, whose words these are",
        r"Error: failed to run job-process: an environment variable without a name .+ \(exit status 1\)\n",
    ),
    "run web -p gone": Difference(
        NO_SUCH_PROGRAM,
        r"Error: failed to run job-process: cannot start web/gone: .*/nope does not exist \(exit status 1\)\n",
        status=1,
    ),
    "run web -p hookfail": Difference(
        EXITS_1,
        r"Error: failed to run job-process: prestart hook failed: exit status 1 \(/bin/false\) \(exit status 1\)\n",
        status=1,
    ),
    "run web -p badmem": Difference(
        EXITS_1,
        r"Error: failed to run job-process: .+ \(processes\[8\]\.limits\.memory\) \(exit status 1\)\n",
        status=1,
    ),
    "start web -p gone": Difference(
        NO_SUCH_PROGRAM,
        r"Error: failed to start job-process: cannot start web/gone: .*/nope does not exist\n",
        status=1,
    ),
    "start web -p hookfail": Difference(
        "ours names the hook",
        r"Error: failed to start job-process: prestart hook failed: exit status 1 \(/bin/false\)\n",
    ),
    "start web -p badmem": Difference(
        NAMES_THE_PLACE, r"Error: failed to start job-process: .+ \(processes\[8\]\.limits\.memory\)\n"
    ),
}


def test_command_lines_do_what_upstreams_did(bpm: CommandLine) -> None:
    """Status, stdout and stderr of all recorded command lines are upstream's, but where a difference is listed."""
    root = str(bpm.root.path)
    bpm.root.path.joinpath("store").mkdir()
    bpm.root.path.joinpath("jobs/empty").mkdir()
    for job, config in JOBS.items():
        bpm.root.add_job(job, config)

    wrong = []
    for number, entry in enumerate(TRANSCRIPT):
        words = entry["command"].removeprefix("bpm ")
        done = bpm(*shlex.split(words.replace("ROOT", root)))
        got = (done.returncode, normalise(done.stdout, root, __version__), normalise(done.stderr, root, __version__))
        expected = (entry["status"], normalise(entry["stdout"]), normalise(entry["stderr"]))
        if not agrees(got, expected, DIFFERENCES.get(words)):
            wrong.append(f"{number}: bpm {words}\n  expected {expected}\n  got      {got}")

    assert not wrong, "\n".join(wrong)


def agrees(got: tuple[object, str, str], expected: tuple[object, str, str], difference: Difference | None) -> bool:
    """Whether ours did what was recorded, or what its difference says."""
    if difference is None:
        return got == expected
    status = expected[0] if difference.status is None else difference.status
    stdout = expected[1] if difference.stdout is None else difference.stdout
    return got[:2] == (status, stdout) and re.fullmatch(difference.stderr, got[2]) is not None


def test_every_difference_is_one() -> None:
    """Each listed difference names a recorded command line, a reason, and what would not agree with upstream's."""
    recorded = {entry["command"].removeprefix("bpm "): entry for entry in TRANSCRIPT}

    assert set(DIFFERENCES) <= set(recorded)
    for words, difference in DIFFERENCES.items():
        entry = recorded[words]
        upstreams = (entry["status"], normalise(entry["stdout"]), normalise(entry["stderr"]))
        assert difference.reason
        assert not agrees(upstreams, upstreams, difference), words
