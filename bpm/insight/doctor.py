"""What a host can do: looked at once as Signs, and judged by pure functions, one a line."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping

from attrs import field, frozen

from bpm.errors import HostError
from bpm.host import find_root, find_user, observe_machine, try_calls
from bpm.plan import CAPABILITIES, HostFacts

OK, LESS, MISSING = "ok", "less", "missing"

OLDEST = (5, 15)

# Which limit each controller enforces, and what becomes of a job that has it where the controller is not there.
CONTROLLERS = {
    "memory": ("limits.memory, swap and memory_high", "cgroup_enable=memory on the kernel's command line"),
    "pids": ("limits.processes", "CONFIG_CGROUP_PIDS in the kernel"),
    "cpu": ("limits.cpu and cpu_weight", "CONFIG_CFS_BANDWIDTH in the kernel, and no cgroup_disable=cpu"),
}

NAMESPACES = ("mnt", "pid", "ipc", "uts")

# Where distributions keep ordinary users from making user namespaces: the file, the value that allows them.
USERNS_KNOBS = (("kernel/unprivileged_userns_clone", "1"), ("kernel/apparmor_restrict_unprivileged_userns", "0"))

KNOBS = (
    "fs/mount-max",
    "kernel/seccomp/actions_avail",
    "user/max_user_namespaces",
    *(f"user/max_{kind}_namespaces" for kind in NAMESPACES),
    *(name for name, _ in USERNS_KNOBS),
)


@frozen
class Signs:
    """What there is to be seen of a host.

    Args:
        facts: What planning knows of it.
        release: The kernel's version.
        root: Whether we are root.
        calls: System calls that are missing or refused, with the reason.
        knobs: The texts of those files of /proc/sys, KNOBS, that exist.
        jeepney: Whether the library is there that speaks to systemd.
        bosh_root, user: What is wrong with them; empty where nothing is.
    """

    facts: HostFacts
    release: str = "6.8.0"
    root: bool = True
    calls: tuple[tuple[str, str], ...] = ()
    knobs: Mapping[str, str] = field(factory=dict)
    jeepney: bool = True
    bosh_root: str = ""
    user: str = ""


@frozen
class Diagnosis:
    """One line of what a host can do.

    Args:
        subject: What was looked at.
        state: ``ok``; ``less``, with which bpm does what it can; ``missing``, without which nothing starts.
        found: What there is.
        consequence: What that means for jobs.
        knob: What would change it; empty where nothing needs to be changed.
    """

    subject: str
    state: str
    found: str
    consequence: str
    knob: str = ""


def examine_host() -> tuple[Diagnosis, ...]:
    """Looks at this host, and changes nothing.

    Raises:
        HostError: /proc cannot be read.
    """
    return diagnose(observe_signs())


def observe_signs() -> Signs:
    """One look."""
    from importlib.util import find_spec

    return Signs(
        facts=observe_machine(),
        release=os.uname().release,
        root=os.geteuid() == 0,
        calls=try_calls(),
        knobs={name: text for name in KNOBS if (text := _read(f"/proc/sys/{name}")) is not None},
        jeepney=find_spec("jeepney") is not None,
        bosh_root=_complaint(find_root),
        user=_complaint(find_user),
    )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return None


def _complaint(look: Callable[[], object]) -> str:
    try:
        look()
    except HostError as error:
        return str(error).partition("; ")[0].partition(": create")[0]
    return ""


def diagnose(signs: Signs) -> tuple[Diagnosis, ...]:
    """What the signs mean."""
    return tuple(diagnosis for judge in JUDGES for diagnosis in judge(signs))


def kernel(signs: Signs) -> Iterator[Diagnosis]:
    """Its age, and its calls."""
    found = f"Linux {signs.release} on {signs.facts.machine}"
    numbers = tuple(int("".join(filter(str.isdigit, part)) or 0) for part in signs.release.split(".")[:2])
    if numbers < OLDEST:
        yield Diagnosis("kernel", MISSING, found, "bpm needs 5.15 or newer", "boot a newer kernel")
    else:
        yield Diagnosis("kernel", OK, found, "new enough")
    for name, problem in signs.calls:
        knob = "the seccomp profile of the container that bpm runs in, or the service's SystemCallFilter="
        yield Diagnosis(f"{name}(2)", MISSING, problem, "no container can be made", knob)
    if not signs.calls:
        yield Diagnosis("system calls", OK, "all that a start is made of", "containers can be made")


def power(signs: Signs) -> Iterator[Diagnosis]:
    """Who we are."""
    if not signs.root:
        yield Diagnosis("root", LESS, "not root", "check, explain, plan and doctor only", "sudo -i")
    else:
        yield Diagnosis("root", OK, "root", "every command")
    lacking = sorted(frozenset(CAPABILITIES[:38]) - (signs.facts.capabilities or frozenset(CAPABILITIES)))
    if lacking:
        consequence = "a privileged process goes without; a job that names one in capabilities does not start"
        knob = "the capabilities of the container that bpm runs in, or the service's CapabilityBoundingSet="
        yield Diagnosis("capabilities", LESS, f"the bounding set lacks {', '.join(lacking)}", consequence, knob)
    else:
        yield Diagnosis("capabilities", OK, "all of them", "any capability can be given")


def place(signs: Signs) -> Iterator[Diagnosis]:
    """The BOSH root, and the user."""
    for subject, problem, found in (
        ("BOSH root", signs.bosh_root, "it is there"),
        ("user", signs.user, "there is one"),
    ):
        if problem:
            knob = "BPM_BOSH_ROOT" if subject == "BOSH root" else "useradd --system vcap, or BPM_USER"
            yield Diagnosis(subject, MISSING, problem, "no job can be started", knob)
        else:
            yield Diagnosis(subject, OK, found, "jobs can be started")


def hierarchies(signs: Signs) -> Iterator[Diagnosis]:
    """Where cgroups are."""
    facts = signs.facts
    versions = {controller.version for controller in facts.controllers}
    if not facts.controllers and facts.unified is None and not facts.mountable:
        yield Diagnosis(
            "cgroups",
            LESS,
            "none",
            "nothing can be limited; with host_pid_namespace, what a job leaves behind cannot be found",
            "mount -t cgroup2 none /sys/fs/cgroup",
        )
    else:
        kind = "hybrid" if 1 in versions and facts.unified else "v2" if facts.unified else "v1"
        yield Diagnosis("cgroups", OK, kind, "what a job starts is tracked, and ended with it")
    for name, (keys, knob) in CONTROLLERS.items():
        home = facts.home(name)
        subject = f"controller {name}"
        if home is None:
            yield Diagnosis(subject, LESS, "none", f"a job with {keys} does not start", knob)
        elif facts.controller(name) is None:
            found = f"v{home.version}, to be mounted at {home.mount_point}"
            yield Diagnosis(subject, OK, found, f"{keys} can be had: bpm mounts it when it is needed")
        else:
            found = f"v{home.version} at {home.mount_point}, bpm's own cgroup is {home.own_path}"
            if home.version == 1 and name == "memory":
                knob = "systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
                yield Diagnosis(
                    subject, LESS, found, "a job with limits.memory_high does not start: that is v2's", knob
                )
            else:
                yield Diagnosis(subject, OK, found, f"{keys} can be had")
    if facts.crowded:
        found = f"{facts.unified.mount_point}{facts.unified.own_path}" if facts.unified else ""
        yield Diagnosis("processes in bpm's cgroup", OK, found, "bpm moves them into a child before the first limit")


def devices(signs: Signs) -> Iterator[Diagnosis]:
    """What keeps devices shut."""
    facts = signs.facts
    home = facts.home("devices")
    if facts.unified is not None or home is not None:
        found = f"controller at {home.mount_point}" if home is not None else "eBPF programs of cgroup v2"
        yield Diagnosis("devices", OK, found, "but for the standard ones they are shut, for privileged processes too")
    else:
        consequence = "a privileged process may open any device that it makes with mknod"
        yield Diagnosis("devices", LESS, "no cgroup for them", consequence, "mount -t cgroup2 none /sys/fs/cgroup")


def swap(signs: Signs) -> Iterator[Diagnosis]:
    """Whether swap is counted."""
    if signs.facts.swap_accounting:
        yield Diagnosis("swap accounting", OK, "swap is counted", "limits.memory holds for memory and swap together")
    elif signs.facts.home("memory") is not None:
        consequence = "limits.memory holds for memory alone; a job with limits.swap does not start"
        knob = "swapaccount=1 on the kernel's command line"
        yield Diagnosis("swap accounting", LESS, "swap is not counted", consequence, knob)


def seccomp(signs: Signs) -> Iterator[Diagnosis]:
    """Whether filters can be attached."""
    actions = signs.knobs.get("kernel/seccomp/actions_avail", "").split()
    if {"errno", "allow"} <= frozenset(actions):
        yield Diagnosis("seccomp", OK, "filters, with " + " ".join(actions), "system calls are filtered")
    else:
        knob = "CONFIG_SECCOMP_FILTER in the kernel"
        yield Diagnosis("seccomp", MISSING, "no filters", "only privileged processes can be started", knob)


def namespaces(signs: Signs) -> Iterator[Diagnosis]:
    """How many may be made, and by whom."""
    for kind in NAMESPACES:
        if signs.knobs.get(f"user/max_{kind}_namespaces") == "0":
            knob = f"sysctl user.max_{kind}_namespaces"
            yield Diagnosis(f"{kind} namespaces", MISSING, "none may be made", "no container can be made", knob)
    refusal = _userns_refusal(signs.knobs)
    if refusal:
        consequence = "the library cannot make a sandbox for who is not root; jobs do not need it"
        yield Diagnosis("user namespaces", LESS, "not for ordinary users", consequence, refusal)
    else:
        most = signs.knobs.get("user/max_user_namespaces", "some")
        found = f"for everyone, {most} of them"
        yield Diagnosis("user namespaces", OK, found, "the library can make a sandbox for who is not root")


def _userns_refusal(knobs: Mapping[str, str]) -> str:
    if knobs.get("user/max_user_namespaces", "0") == "0":
        return "sysctl user.max_user_namespaces, and CONFIG_USER_NS in the kernel"
    for name, wanted in USERNS_KNOBS:
        if knobs.get(name, wanted) != wanted:
            return f"sysctl {name.replace('/', '.')}={wanted}"
    return ""


def systemd(signs: Signs) -> Iterator[Diagnosis]:
    """Whether cgroups are to be asked for."""
    if signs.facts.systemd is None:
        yield Diagnosis("systemd", OK, "not pid 1", "cgroups are bpm's own, below the one that it runs in")
    elif signs.jeepney:
        yield Diagnosis("systemd", OK, "pid 1", "each process is in a scope of its own")
    else:
        consequence = "no process can be started: scopes are asked for over D-Bus, for which jeepney is missing"
        yield Diagnosis("systemd", MISSING, "pid 1", consequence, "pip install bosh-bpm[systemd]")


JUDGES = (kernel, power, place, hierarchies, devices, swap, seccomp, namespaces, systemd)
