"""Writes a process as an OCI bundle, for runc or any other OCI runtime: the way from bpm to a container scheduler.

The directory is made; its README.md says how to run the bundle, and its script `prepare` makes on the host what the
process expects there. Nothing is started, and everyone may do it.
"""

from __future__ import annotations

from bpm.cli.failure import Failure, describe
from bpm.cli.flags import TEXT, TEXTS, Arguments, Flag, UsageError
from bpm.cli.job import PROCESS, find_known_process, warn
from bpm.cli.output import complain

WORDS = "JOB"
FLAGS = (
    Flag("env", "e", kind=TEXTS, value="KEY=VALUE", help="one more environment variable, as of run"),
    Flag("oci", kind=TEXT, value="DIR", help="where the bundle is to be; made, unless it is there and empty"),
    PROCESS,
    Flag("volume", "v", kind=TEXTS, value="PATH[:OPTION,...]", help="one more volume, as of run"),
)


def run(arguments: Arguments) -> int:
    """`bpm export`."""
    process = find_known_process(arguments)
    directory = arguments.text("oci")
    if not directory:
        raise UsageError("must specify a directory with --oci")
    from bpm import export_bundle, parse_variable, parse_volume

    volumes = [parse_volume(text) for text in arguments.texts("volume")]
    env = [parse_variable(text) for text in arguments.texts("env")]
    plan = process.plan(volumes, env, warn)
    for notice in plan.notices:
        complain(f"bpm: note: {notice.text} ({notice.because})")
    try:
        export_bundle(plan, directory)
    except OSError as error:
        raise Failure(f"cannot write the bundle: {describe(error)}") from error
    return 0
