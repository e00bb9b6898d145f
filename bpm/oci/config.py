"""A plan as the config.json of an OCI bundle: the way off bpm to anything that runs OCI containers. Pure.

The words are those of the OCI runtime specification (config.md, config-linux.md). What it has no words for is done
before the runtime runs (``prepare.py``), or is a PlanError that names the key.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bpm.config import clean_path
from bpm.errors import PlanError
from bpm.oci.seccomp import seccomp_section
from bpm.plan import CPU_PERIOD_US, RLIM_INFINITY, CgroupSetting, Embedded, Hook, Mount, ProcessPlan

# The last release whose every version of runc and crun in use takes it; later additions are optional properties, which
# a runtime that does not know them ignores ("Extensibility", config.md).
VERSION = "1.0.2"

# What a runtime makes in a /dev of the container's own without being asked ("Default Devices", config-linux.md).
STANDARD_NODES = frozenset(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))

STOP_SIGNAL = "org.opencontainers.image.stopSignal"  # an annotation of the image specification's (conversion.md)

Config = dict[str, Any]


def oci_config(plan: ProcessPlan, machine: str) -> Config:
    """The plan as an OCI runtime configuration, ready for JSON.

    Args:
        plan: A job's, from :func:`make_plan`.
        machine: Where it will run, as uname(2) has it: ``x86_64`` or ``aarch64``.

    Returns:
        What belongs into ``config.json``.

    Raises:
        PlanError: It asks for something that no OCI runtime can be told; the error names the key.
    """
    if plan.embedded is not None:
        raise PlanError("", "a sandbox shares descriptors and a life with its program: it cannot be exported")
    config: Config = {
        "ociVersion": VERSION,
        "process": process(plan),
        "root": {"path": "rootfs", "readonly": False},
        "mounts": [mount_of(mount) for mount in plan.mounts],
        "linux": linux(plan, machine),
        "annotations": {STOP_SIGNAL: f"SIG{plan.shutdown_signal}"},
    }
    if plan.hostname is not None:
        config["hostname"] = text_of(plan.hostname, "hostname")
    hook = plan.preparation.pre_start
    if hook is not None:
        config["hooks"] = {"createRuntime": [hook_of(hook, environment(plan))]}
    return config


# A runtime writes the container's state to a hook's stdin, and runc (seen in 1.1) passes the SIGPIPE of one that does
# not read it on to the container, which ends by it. And env(1), not sh(1), hands any variable on as it is.
AS_BPM_RUNS_IT = 'while read -r _; do :; done; exec /usr/bin/env -i -- "$@" </dev/null'


def hook_of(hook: Hook, env: list[str]) -> Config:
    """The hook as bpm runs it: without arguments, with the container's environment alone, and nothing on stdin."""
    path = text_of(hook.executable, hook.because)
    if not path.startswith("/") or "=" in path:
        raise PlanError(hook.because, f"the path of an OCI hook must be absolute, without a '=': {path}")
    return {"path": "/bin/sh", "args": ["sh", "-c", AS_BPM_RUNS_IT, "sh", *env, path]}


def process(plan: ProcessPlan) -> Config:
    """What is run, as whom, and with which rights."""
    capabilities = sorted(f"CAP_{capability.name}" for capability in plan.capabilities)
    identity = plan.identity
    return {
        "terminal": False,
        "user": {
            "uid": identity.uid,
            "gid": identity.gid,
            "umask": Embedded().umask,
            "additionalGids": list(identity.groups),
        },
        "args": [text_of(word, f"args[{i - 1}]" if i else "executable") for i, word in enumerate(plan.argv)],
        "env": environment(plan),
        "cwd": absolute(plan.workdir.path, plan.workdir.because),
        "capabilities": dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), capabilities),
        "rlimits": [{"type": r.name, "soft": limit(r.soft), "hard": limit(r.hard)} for r in plan.rlimits],
        "noNewPrivileges": plan.no_new_privs,
    }


def environment(plan: ProcessPlan) -> list[str]:
    """``NAME=VALUE``, in the plan's order."""
    return [text_of(f"{variable.name}={variable.value}", variable.because) for variable in plan.env]


def text_of(text: str, because: str) -> str:
    """A text as JSON can hold it, which is UTF-8 for every OCI runtime."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PlanError(because, f"not UTF-8, as everything in an OCI bundle must be: {text!r}") from None
    return text


def limit(value: int) -> int:
    """RLIM_INFINITY is the largest number there."""
    return RLIM_INFINITY if value < 0 else value


def absolute(path: str, because: str) -> str:
    """A path inside, where everything starts at the root."""
    return clean_path("/" + text_of(path, because))


# Attributes that our own binds have in all that comes along below their source: there, OCI has words of their own.
RECURSIVE = {"ro": "rro", "nosuid": "rnosuid", "nodev": "rnodev", "noexec": "rnoexec"}


def mount_of(mount: Mount) -> Config:
    """One mount. What is bound follows what the host mounts there later; only a shared one works the other way, too."""
    target = absolute(mount.target, mount.because)
    if target == "/":
        raise PlanError(mount.because, "an OCI runtime makes the container's root itself: nothing can be mounted there")
    if mount.kind == "bind" and not mount.source.startswith("/"):
        raise PlanError(mount.because, f"the path of what is mounted must be absolute: {mount.source!r}")
    options = list(mount.options)
    if "rbind" in options:
        options += [RECURSIVE[word] for word in mount.options if word in RECURSIVE]
    if mount.kind == "bind" and "shared" not in options:
        options.append("rslave" if "rbind" in options else "slave")
    source = text_of(mount.source, mount.because)
    return {"destination": target, "type": mount.kind, "source": source, "options": options}


def linux(plan: ProcessPlan, machine: str) -> Config:
    """What only Linux has."""
    section: Config = {
        "namespaces": [{"type": namespace.kind} for namespace in plan.namespaces],
        # Otherwise what is bound could not be a slave of anything.
        "rootfsPropagation": "slave",
        "maskedPaths": [cover.path for cover in plan.masked],
        "readonlyPaths": [cover.path for cover in plan.read_only],
        "resources": resources(plan),
    }
    nodes = [
        {"path": n.path, "type": "c", "major": n.major, "minor": n.minor, "fileMode": n.mode, "uid": 0, "gid": 0}
        for n in plan.nodes
        if n.path not in STANDARD_NODES
    ]
    if nodes:
        section["devices"] = nodes
    if plan.seccomp is not None:
        section["seccomp"] = seccomp_section(plan.seccomp, machine)
    return section


# Limits of the cgroup


def resources(plan: ProcessPlan) -> Config:
    """The cgroup's limits and device rules, in OCI's words, which hold for both versions of cgroups where they can."""
    found: Config = {"devices": device_rules(plan)}
    for setting in plan.cgroup.settings:
        if setting.controller == "devices":
            continue
        if setting.optional:
            continue  # this host does not have it, and a runtime would refuse to start without
        if setting.file not in SETTINGS:
            raise PlanError(setting.because, f"OCI has no word for {setting.file}")
        SETTINGS[setting.file](found, setting)
    return found


def device_rules(plan: ProcessPlan) -> list[Config]:
    """All devices shut but those of the plan. A runtime lets in the standard ones, which they are, anyway."""
    if plan.cgroup.device_program is not None:
        lines = [str(rule) for rule in plan.cgroup.device_program.rules]
    else:
        lines = [setting.value for setting in plan.cgroup.settings if setting.file == "devices.allow"]
    return [{"allow": False, "access": "rwm"}, *map(device_rule, lines)]


def device_rule(line: str) -> Config:
    """``c 136:* rwm``; a number that is left out stands for any."""
    kind, numbers, access = line.split(" ")
    found: Config = {"allow": True, "type": kind, "access": access}
    for name, number in zip(("major", "minor"), numbers.split(":"), strict=True):
        if number != "*":
            found[name] = int(number)
    return found


def _number(section: str, name: str) -> Callable[[Config, CgroupSetting], None]:
    def write(found: Config, setting: CgroupSetting) -> None:
        found.setdefault(section, {})[name] = -1 if setting.value == "max" else int(setting.value)

    return write


def _swap(found: Config, setting: CgroupSetting) -> None:
    """v2 counts swap alone; OCI, as v1 does, together with memory, which therefore must be limited too."""
    if "limit" in found.get("memory", {}):
        found["memory"]["swap"] = found["memory"]["limit"] + int(setting.value)
    else:
        _as_it_is(found, setting)


def _quota(found: Config, setting: CgroupSetting) -> None:
    quota, _, period = setting.value.partition(" ")
    found.setdefault("cpu", {}).update(quota=int(quota), period=int(period or CPU_PERIOD_US))


def _as_it_is(found: Config, setting: CgroupSetting) -> None:
    """What only v2 has, and weights, which runtimes convert from v1's shares each in its own way."""
    found.setdefault("unified", {})[setting.file] = setting.value


SETTINGS: dict[str, Callable[[Config, CgroupSetting], None]] = {
    "memory.limit_in_bytes": _number("memory", "limit"),
    "memory.max": _number("memory", "limit"),
    "memory.memsw.limit_in_bytes": _number("memory", "swap"),
    "memory.swap.max": _swap,
    "memory.high": _as_it_is,
    "pids.max": _number("pids", "limit"),
    "cpu.cfs_quota_us": _quota,
    "cpu.max": _quota,
    "cpu.shares": _number("cpu", "shares"),
    "cpu.weight": _as_it_is,
}
"""Each file of a cgroup that plans write, and what it is in ``resources``."""
