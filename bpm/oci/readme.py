"""The README.md of an OCI bundle, for whoever runs it and has never heard of bpm. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator

from bpm.plan import ProcessPlan

PAGE = """\
# {name}, as an OCI bundle

    ./prepare && runc run --bundle . {identifier}

`config.json` is for any runtime of the OCI runtime specification. It holds the process's environment, so it may hold
secrets. `rootfs` is empty, and stays so but for mount points.

## Before a start

`prepare` makes the directories that the process expects, with their owners, and shares the volumes that are to be
shared. Run it as root, on each host and after each boot.
{hook}
## What is mounted from the host

To move to another host, take these along, or mount something else there in their place:

{sources}

## Output

The process has the stdin, stdout and stderr of the runtime: a scheduler collects what is written there. bpm gave it
/dev/null for stdin, and appended the others to these files; it may write further files of its own beside them.

{logs}

## Stopping

bpm sends SIG{signal} (here it is the annotation `org.opencontainers.image.stopSignal`), after 15 seconds SIGQUIT, and
2 seconds later SIGKILL.

## What is different without bpm

{differences}
"""

HOOK = """
The job's `pre_start` hook, {hook}, is the `createRuntime` hook of config.json. As ever it runs on the host, as root,
with the process's environment, before each start; but by then the mounts are made, so what it makes to be mounted must
be there before.
"""

NO_INIT = """\
- There is no init. The process itself is pid 1: it has to reap its orphans, and signals that it does not handle do not
  end it. Where that matters, have the scheduler add an init.
"""

ELSEWHERE = """\
- `/` is the directory `rootfs`; bpm makes a file system for it that goes with the container.
- A privileged process can write there, and what it writes stays.
- The cgroup's name, restarts, and the rotation of logs are up to the scheduler."""


def readme(plan: ProcessPlan) -> str:
    """How to run the plan's bundle, and what is not in it."""
    hook = plan.preparation.pre_start
    has_init = any(namespace.kind == "pid" for namespace in plan.namespaces)
    return PAGE.format(
        name=one_line(f"{plan.job}/{plan.process}"),
        identifier=plan.container_id,
        hook=HOOK.format(hook=code(hook.executable)) if hook else "",
        sources="\n".join(sources(plan)),
        logs="\n".join(f"- {log.stream}: {code(log.path)}" for log in plan.preparation.log_files),
        signal=plan.shutdown_signal,
        differences=(NO_INIT if has_init else "") + ELSEWHERE,
    )


def sources(plan: ProcessPlan) -> Iterator[str]:
    """What is bound, and where it is seen."""
    for source in dict.fromkeys(mount.source for mount in plan.mounts if mount.kind == "bind"):
        targets = ", ".join(code(mount.target) for mount in plan.mounts if mount.source == source)
        yield f"- {code(source)} at {targets}"


def code(text: str) -> str:
    """A name as it stands in a page."""
    return f"`{one_line(text)}`"


def one_line(text: str) -> str:
    """A text whose control characters are spelled out."""
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
