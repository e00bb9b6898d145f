"""Who the program is: its user, capabilities and namespaces."""

from __future__ import annotations

from bpm.errors import PlanError
from bpm.plan import reasons
from bpm.plan.asked import Asked
from bpm.plan.model import Capability, Identity, Namespace, Notice

# linux/capability.h, in the order of their numbers.
_NAMES = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
CAPABILITIES = tuple(_NAMES.split())

# Those that a privileged process has: all that there were before Linux 5.8, 0 to 37.
PRIVILEGED = tuple(sorted(CAPABILITIES[:38]))

NAMESPACES = ("mount", "ipc", "uts", "pid")


def plan_identity(asked: Asked) -> Identity:
    """The user and group, with no groups beside them: root where privileged, else the host's vcap."""
    if asked.privileged:
        return Identity(0, 0, (), asked.key("unsafe.privileged"))
    return Identity(asked.facts.user.uid, asked.facts.user.gid, (), reasons.USER)


def plan_capabilities(asked: Asked) -> tuple[tuple[Capability, ...], tuple[Notice, ...]]:
    """The capabilities, those of bpm.yml first, and what is to be said of unknown ones.

    A name that the kernel's list does not have is ignored, and said so: the OCI runtimes do the same, so files
    with misspelt names are about.

    Raises:
        PlanError: bpm itself lacks one, so that it cannot give it.
    """
    capabilities: dict[str, Capability] = {}
    notices = []
    for i, name in enumerate(asked.process.capabilities):
        because = asked.key(f"capabilities[{i}]")
        if name not in CAPABILITIES:
            notices.append(Notice(f"unknown capability ignored: {name}{_hint(name)}", because))
        elif not _can_give(asked, name):
            raise PlanError(because, f"bpm cannot give the capability {name}: its own bounding set lacks it")
        else:
            capabilities.setdefault(name, Capability(name, because))
    if asked.privileged:
        for name in PRIVILEGED:
            if _can_give(asked, name):
                capabilities.setdefault(name, Capability(name, asked.key("unsafe.privileged")))
    return tuple(capabilities.values()), tuple(notices)


def _can_give(asked: Asked, name: str) -> bool:
    return asked.facts.capabilities is None or name in asked.facts.capabilities


def _hint(name: str) -> str:
    meant = name.upper().removeprefix("CAP_")
    return f"; it is written {meant}" if meant in CAPABILITIES else ""


def plan_namespaces(asked: Asked) -> tuple[Namespace, ...]:
    """The namespaces of the container's own. The network is the host's."""
    kinds = [kind for kind in NAMESPACES if kind != "pid" or not asked.process.unsafe.host_pid_namespace]
    return tuple(Namespace(kind, reasons.NAMESPACES) for kind in kinds)
