"""A plan for people: sections of rows, each with its reason; and what differs between two plans. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from attrs import frozen

from bpm.plan import Mount, Preparation, ProcessPlan, Rlimit, SeccompPolicy


@frozen
class Row:
    """One line of a plan.

    Args:
        cells: Its columns.
        because: The key of bpm.yml, the flag or the named default that asked for it.
    """

    cells: tuple[str, ...]
    because: str


@frozen
class Section:
    """Lines that belong together.

    Args:
        title: What they are about.
        rows: The lines.
    """

    title: str
    rows: tuple[Row, ...]


def describe_plan(plan: ProcessPlan) -> tuple[Section, ...]:
    """All of a plan, in the order in which it is carried out; sections without a row are left out.

    Args:
        plan: Any plan.

    Returns:
        Its sections, each with its rows.
    """
    found = (Section(title, tuple(tell(plan))) for title, tell in SECTIONS)
    return tuple(section for section in found if section.rows)


@frozen
class Change:
    """One line that only one of two plans has.

    Args:
        sign: ``-`` for the one before, ``+`` for the one after.
        title: Its section.
        row: The line.
    """

    sign: str
    title: str
    row: Row


def compare_plans(before: ProcessPlan, after: ProcessPlan) -> tuple[Change, ...]:
    """What differs: what was before and is gone, then what is new after, section by section; nothing for equal plans.

    Where nothing but order differs, all of the section is shown.

    Args:
        before: A plan, such as that of what runs.
        after: Another one.

    Returns:
        The changes, in the plan's order.
    """
    old, new = ({section.title: section.rows for section in describe_plan(plan)} for plan in (before, after))
    changes: list[Change] = []
    for title, _ in SECTIONS:
        gone, came = old.get(title, ()), new.get(title, ())
        if gone == came:
            continue
        same = frozenset(gone) & frozenset(came) if frozenset(gone) != frozenset(came) else frozenset()
        changes += [Change("-", title, row) for row in gone if row not in same]
        changes += [Change("+", title, row) for row in came if row not in same]
    return tuple(changes)


def program(plan: ProcessPlan) -> Iterator[Row]:
    """What is run, as whom, where."""
    yield Row(("process", f"{plan.job}/{plan.process}"), "name")
    yield Row(("container", plan.container_id), "name")
    yield Row(("root", plan.root), "$BPM_BOSH_ROOT")
    yield Row(("executable", plan.argv[0]), "executable")
    for number, argument in enumerate(plan.argv[1:]):
        yield Row((f"argument {number + 1}", argument), f"args[{number}]")
    yield Row(("directory", plan.workdir.path), plan.workdir.because)
    identity = plan.identity
    groups = " ".join(map(str, identity.groups)) or "none"
    yield Row(("user and group", f"{identity.uid}:{identity.gid}, further groups: {groups}"), identity.because)
    asked = plan.shutdown_signal != "TERM"
    yield Row(("stopped by", f"SIG{plan.shutdown_signal}"), "shutdown_signal" if asked else "default: shutdown signal")
    if plan.hostname is not None:
        yield Row(("hostname", plan.hostname), "hostname")


def environment(plan: ProcessPlan) -> Iterator[Row]:
    """Its variables."""
    for variable in plan.env:
        yield Row((variable.name, variable.value), variable.because)


def preparation(plan: ProcessPlan) -> Iterator[Row]:
    """What is done on the host before."""
    yield from _prepare(plan.preparation)


def _prepare(plan: Preparation) -> Iterator[Row]:
    for requirement in plan.requirements:
        yield Row(("must exist", requirement.path), requirement.because)
    for directory in plan.directories:
        how = f"{directory.mode:04o} {directory.uid}:{directory.gid}"
        yield Row(("directory", directory.path, how), directory.because)
    for log in plan.log_files:
        yield Row((log.stream, log.path, f"{log.mode:04o} {log.uid}:{log.gid}"), log.because)
    for volume in plan.shared_volumes:
        yield Row(("shared mount", volume.path), volume.because)
    for point in plan.mount_points:
        yield Row(("mount point", point.path, f"for {point.source}, {point.uid}:{point.gid}"), point.because)
    if plan.pre_start is not None:
        yield Row(("hook", plan.pre_start.executable, "as root"), plan.pre_start.because)


def isolation(plan: ProcessPlan) -> Iterator[Row]:
    """Namespaces, capabilities, the filter."""
    for namespace in plan.namespaces:
        yield Row(("own namespace", namespace.kind), namespace.because)
    for capability in plan.capabilities:
        yield Row(("capability", capability.name), capability.because)
    if not plan.capabilities:
        yield Row(("capability", "none"), "default: no capabilities")
    because = "default: no new privileges" if plan.no_new_privs else plan.identity.because
    yield Row(("no new privileges", "yes" if plan.no_new_privs else "no"), because)
    yield Row(("seccomp", "no filter"), plan.identity.because) if plan.seccomp is None else _seccomp(plan.seccomp)


def _seccomp(policy: SeccompPolicy) -> Row:
    count = len(policy.allow) + len({rule.name for rule in (*policy.allow_if, *policy.deny_if)})
    return Row(("seccomp", f"{policy.name}: {count} system calls allowed, {policy.default} for others"), policy.because)


def mounts(plan: ProcessPlan) -> Iterator[Row]:
    """What is mounted, in order."""
    for mount in plan.mounts:
        yield Row((mount.target, describe_source(mount), ",".join(mount.options)), mount.because)


def describe_source(mount: Mount) -> str:
    """What a mount shows."""
    if mount.kind != "bind":
        return mount.kind
    return "the same" if mount.source == mount.target else mount.source


def dropped(plan: ProcessPlan) -> Iterator[Row]:
    """What was asked for and is not mounted."""
    for each in plan.dropped:
        yield Row((each.mount.target, each.reason), each.mount.because)


def devices(plan: ProcessPlan) -> Iterator[Row]:
    """What /dev holds."""
    for node in plan.nodes:
        yield Row((node.path, f"c {node.major}:{node.minor}", f"{node.mode:04o}"), node.because)
    for link in plan.links:
        yield Row((link.path, f"-> {link.target}"), link.because)


def covers(plan: ProcessPlan) -> Iterator[Row]:
    """What is masked or made read-only."""
    for covered in plan.masked:
        yield Row((covered.path, "masked"), covered.because)
    for covered in plan.read_only:
        yield Row((covered.path, "read-only"), covered.because)


def limits(plan: ProcessPlan) -> Iterator[Row]:
    """What it may use."""
    for limit in plan.rlimits:
        yield Row((limit.name, _rlimit(limit)), limit.because)
    for setting in plan.cgroup.settings:
        if setting.controller != "devices":
            where = "if this host has it" if setting.optional else ""
            yield Row(tuple(filter(None, (setting.file, setting.value, where))), setting.because)


def _rlimit(limit: Rlimit) -> str:
    soft, hard = ("unlimited" if value < 0 else str(value) for value in (limit.soft, limit.hard))
    return soft if soft == hard else f"{soft}, hard {hard}"


def cgroup(plan: ProcessPlan) -> Iterator[Row]:
    """Where it is counted and kept."""
    asked = plan.cgroup
    for mount in asked.mounts:
        yield Row(("mounted first", mount.path, mount.kind), mount.because)
    if asked.evacuation is not None:
        yield Row(("moved away", asked.evacuation.path, f"to {asked.evacuation.leaf}"), asked.evacuation.because)
    if asked.scope is not None:
        yield Row(("systemd scope", asked.scope.unit, f"in {asked.scope.slice}"), asked.scope.because)
    for directory in asked.directories:
        controllers = ", ".join(directory.controllers) or "keeps track"
        yield Row((f"cgroup v{directory.version}", directory.path, controllers), directory.because)
    rules = [(each.value, each.because) for each in asked.settings if each.file == "devices.allow"]
    if asked.device_program is not None:
        rules = [(str(rule), asked.device_program.because) for rule in asked.device_program.rules]
    for rule, because in rules:
        yield Row(("device allowed", rule), because)


def notices(plan: ProcessPlan) -> Iterator[Row]:
    """What is ignored."""
    for notice in plan.notices:
        yield Row((notice.text,), notice.because)


SECTIONS: tuple[tuple[str, Callable[[ProcessPlan], Iterator[Row]]], ...] = (
    ("Program", program),
    ("Environment", environment),
    ("On the host, before", preparation),
    ("Isolation", isolation),
    ("Mounts", mounts),
    ("Not mounted", dropped),
    ("Devices", devices),
    ("Covered", covers),
    ("Limits", limits),
    ("Cgroup", cgroup),
    ("Notices", notices),
)
