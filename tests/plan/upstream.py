"""A plan as the cases of upstream's own plans are written: ``destination source type options`` and so on."""

from __future__ import annotations

from typing import Any

from bpm.plan import Mount, ProcessPlan
from bpm.plan.mounts import is_within

# What a case says of a plan; the rest of its fields are optional.
ALWAYS: dict[str, Any] = {"capabilities": [], "rlimits": {}, "memory": None, "memory_and_swap": None, "pids": None}


def shown(plan: ProcessPlan) -> dict[str, Any]:
    """Our plan in the words of a case."""
    settings = {setting.file: setting.value for setting in plan.cgroup.settings}
    return {
        "process": plan.process,
        "container_id": plan.container_id,
        "mounts": sorted(show_mount(mount) for mount in plan.mounts),
        "argv": list(plan.argv),
        "env": sorted(f"{variable.name}={variable.value}" for variable in plan.env),
        "cwd": plan.workdir.path,
        "no_new_privs": plan.no_new_privs,
        "masked": len(plan.masked),
        "readonly": len(plan.read_only),
        "namespaces": sorted(namespace.kind for namespace in plan.namespaces),
        "seccomp": plan.seccomp is not None,
        "uid": plan.identity.uid,
        "gid": plan.identity.gid,
        "capabilities": [f"CAP_{capability.name}" for capability in plan.capabilities],
        "rlimits": {limit.name: limit.soft for limit in plan.rlimits if limit.soft == limit.hard},
        "memory": number(settings.get("memory.limit_in_bytes")),
        "memory_and_swap": number(settings.get("memory.memsw.limit_in_bytes")),
        "pids": number(settings.get("pids.max")),
    }


def expected(case: dict[str, Any]) -> dict[str, Any]:
    """A case's plan, with what it leaves out; the order of mounts and variables means nothing in it."""
    plan = {**ALWAYS, **case}
    return {
        **plan,
        "mounts": sorted(plan["mounts"]),
        "env": sorted(plan["env"]),
        # Upstream repeats a listed capability among those of a privileged process.
        "capabilities": list(dict.fromkeys(plan["capabilities"])),
    }


def show_mount(mount: Mount) -> str:
    """One mount as fstab(5) would have it. That it is shared is not in upstream's plans: theirs all are, or not."""
    fields = (mount.target, mount.source, mount.kind, ",".join(mount.without("shared").options) or "-")
    return " ".join(field.replace(" ", "\\040") for field in fields)


def number(value: str | None) -> int | None:
    """A value of a cgroup file as the runtime spec has it, where -1 is no limit."""
    return -1 if value == "max" else None if value is None else int(value)


def without_proc_volumes(mounts: list[str]) -> list[str]:
    """The same mounts, but for the volumes at or below /proc."""
    return [m for m in mounts if m == "/proc proc proc -" or not is_within(m.split()[0], "/proc")]
