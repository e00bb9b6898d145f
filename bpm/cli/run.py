"""Runs a process in the foreground: its output goes to its log files and to stdout and stderr.

The exit status is the program's, or 128 and the number of the signal that ended it. A volume's options are writable,
mount_only, allow_executions and shared, as in bpm.yml. One that runs already is left alone.
"""

from __future__ import annotations

from bpm.cli.failure import Failure
from bpm.cli.flags import TEXTS, Arguments, Flag
from bpm.cli.job import PROCESS, failure_of, find_process, warn
from bpm.cli.output import STDERR, STDOUT

WORDS = "JOB"
FLAGS = (
    Flag(
        "env", "e", kind=TEXTS, value="KEY=VALUE", help="one more environment variable; the last of equal names counts"
    ),
    PROCESS,
    Flag("volume", "v", kind=TEXTS, value="PATH[:OPTION,...]", help="one more volume"),
)


def run(arguments: Arguments) -> int:
    """`bpm run`."""
    process = find_process(arguments)
    from bpm import BpmError, parse_variable, parse_volume

    try:
        volumes = [parse_volume(text) for text in arguments.texts("volume")]
        env = [parse_variable(text) for text in arguments.texts("env")]
        record = process.run(volumes, env, STDOUT, STDERR, warn)
    except (BpmError, OSError) as error:
        raise failure_of("failed to run job-process", error, " (exit status 1)") from error
    if record is None or record.status == 0:
        return 0
    if record.status is None:
        raise Failure("failed to run job-process: it is not known how it ended (exit status 1)")
    status = f"exit status {record.status}"
    why = ", out of memory" if record.oom_killed else ""
    raise Failure(f"failed to run job-process: {status}{why} ({status})", record.status)
