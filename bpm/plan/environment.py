"""What the program finds around it: its environment and its working directory."""

from __future__ import annotations

from bpm.errors import PlanError
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.model import Variable, Workdir
from bpm.plan.mounts import is_within

SYSTEM_PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:."


def default_environment(asked: Asked) -> dict[str, str]:
    """The variables every process has unless its bpm.yml, or a flag, sets them."""
    return {
        "HOME": asked.paths.data.inside,
        "LANG": "en_US.UTF-8",
        "PATH": f"{asked.paths.directory.inside}/bin:{SYSTEM_PATH}",
        "TMPDIR": asked.paths.temp.inside,
    }


def plan_environment(asked: Asked) -> tuple[Variable, ...]:
    """The whole environment, in the order of its names. A flag wins over bpm.yml, the last of two flags wins."""
    defaults = (Variable(name, value, reasons.ENVIRONMENT) for name, value in default_environment(asked).items())
    keys = (Variable(name, value, asked.key(f"env.{name}")) for name, value in asked.process.env.items())
    flags = (Variable(name, value, f"flag -e[{i}]") for i, (name, value) in enumerate(asked.flag_env))
    chosen = {variable.name: variable for source in (defaults, keys, flags) for variable in source}
    return tuple(chosen[name] for name in sorted(chosen))


def plan_workdir(asked: Asked) -> Workdir:
    """Where the program starts.

    Raises:
        PlanError: It is at or below /proc, where a directory can be another process's (CVE-2024-21626).
    """
    path = asked.process.workdir
    if not path:
        return Workdir(asked.paths.directory.inside, reasons.WORKDIR)
    if is_within(path, "/proc"):
        raise PlanError(asked.key("workdir"), f"the working directory cannot be at or below /proc: {path}")
    return Workdir(path, asked.key("workdir"))
