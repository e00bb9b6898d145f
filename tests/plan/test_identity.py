"""The user, the capabilities and the namespaces."""

from __future__ import annotations

import pytest

from bpm.config import Unsafe
from bpm.errors import PlanError
from bpm.plan import CAPABILITIES, Capability, HostFacts, Identity, Notice, User
from bpm.plan.identity import PRIVILEGED
from tests.plan.making import plan_of

FACTS = HostFacts(user=User("vcap", 2000, 3000))


def test_user() -> None:
    """A process runs as the host's vcap, with no other groups; a privileged one as root."""
    assert Identity(2000, 3000, (), "default: user") == plan_of(FACTS).identity
    assert (
        Identity(0, 0, (), "processes[0].unsafe.privileged") == plan_of(FACTS, unsafe=Unsafe(privileged=True)).identity
    )


def test_capabilities() -> None:
    """Capabilities are those listed, each once, in the order of the list."""
    plan = plan_of(capabilities=("SYS_TIME", "CHOWN", "SYS_TIME"))

    assert (
        Capability("SYS_TIME", "processes[0].capabilities[0]"),
        Capability("CHOWN", "processes[0].capabilities[1]"),
    ) == plan.capabilities


def test_unknown_capabilities() -> None:
    """An unknown capability is ignored, and the operator is told, with the name that was probably meant."""
    plan = plan_of(capabilities=("net_raw", "BOGUS", "CAP_KILL", "KILL"))

    assert (Capability("KILL", "processes[0].capabilities[3]"),) == plan.capabilities
    assert (
        Notice("unknown capability ignored: net_raw; it is written NET_RAW", "processes[0].capabilities[0]"),
        Notice("unknown capability ignored: BOGUS", "processes[0].capabilities[1]"),
        Notice("unknown capability ignored: CAP_KILL; it is written KILL", "processes[0].capabilities[2]"),
    ) == plan.notices


def test_capability_that_bpm_lacks() -> None:
    """A capability that bpm itself has not got is refused by its key."""
    with pytest.raises(PlanError) as raised:
        plan_of(HostFacts(capabilities=frozenset({"CHOWN"})), capabilities=("CHOWN", "KILL"))

    assert raised.value.key == "processes[0].capabilities[1]"


def test_privileged_capabilities() -> None:
    """A privileged process has those from 0 to 37 that bpm has, and those listed."""
    everything = plan_of(capabilities=("BPF",), unsafe=Unsafe(privileged=True))
    some = plan_of(HostFacts(capabilities=frozenset({"CHOWN", "KILL", "BPF"})), unsafe=Unsafe(privileged=True))

    assert {*CAPABILITIES[:38], "BPF"} == {capability.name for capability in everything.capabilities}
    assert [capability.name for capability in some.capabilities] == ["CHOWN", "KILL"]
    assert sum(1 << CAPABILITIES.index(name) for name in PRIVILEGED) == 0x3F_FFFF_FFFF


def test_numbers_of_capabilities() -> None:
    """The names stand at the kernel's numbers."""
    assert {number: CAPABILITIES[number] for number in (0, 10, 21, 37, 40)} == {
        0: "CHOWN",
        10: "NET_BIND_SERVICE",
        21: "SYS_ADMIN",
        37: "AUDIT_READ",
        40: "CHECKPOINT_RESTORE",
    }
    assert len(CAPABILITIES) == 41


@pytest.mark.parametrize(("host", "kinds"), [(False, ["mount", "ipc", "uts", "pid"]), (True, ["mount", "ipc", "uts"])])
def test_namespaces(host: bool, kinds: list[str]) -> None:
    """A container has four namespaces of its own, three with host_pid_namespace."""
    plan = plan_of(unsafe=Unsafe(host_pid_namespace=host))

    assert kinds == [namespace.kind for namespace in plan.namespaces]


def test_privileged_has_no_filter() -> None:
    """A privileged process has no seccomp filter, and may gain privileges by exec."""
    plain, privileged = plan_of(), plan_of(unsafe=Unsafe(privileged=True))

    assert plain.seccomp is not None
    assert plain.no_new_privs
    assert (privileged.seccomp, privileged.no_new_privs) == (None, False)
