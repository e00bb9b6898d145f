"""What a host can do, judged from its signs."""

from __future__ import annotations

from typing import Any

import pytest
from attrs import evolve

from bpm import Controller, Diagnosis, HostFacts, examine_host
from bpm.insight.doctor import KNOBS, Signs, diagnose

UNIFIED = Controller("unified", 2, "/sys/fs/cgroup")
GOOD = Signs(
    HostFacts(
        controllers=tuple(Controller(name, 2, "/sys/fs/cgroup") for name in ("cpu", "memory", "pids")), unified=UNIFIED
    ),
    knobs={"kernel/seccomp/actions_avail": "kill_process errno allow", "user/max_user_namespaces": "1000"},
)


def lines(**changes: Any) -> list[Diagnosis]:
    """What is not ok on a good host with these changes."""
    return [diagnosis for diagnosis in diagnose(evolve(GOOD, **changes)) if diagnosis.state != "ok"]


def test_a_good_host_has_nothing_to_tell_of() -> None:
    """Everything is ok on a v2 host, and each line has what was found and what it means."""

    assert [] == lines()
    assert all(diagnosis.found and diagnosis.consequence for diagnosis in diagnose(GOOD))


def facts(**changes: Any) -> dict[str, HostFacts]:
    return {"facts": evolve(GOOD.facts, **changes)}


@pytest.mark.parametrize(
    ("changes", "subject", "state", "knob"),
    [
        ({"release": "5.4.0-100-generic"}, "kernel", "missing", "boot a newer kernel"),
        ({"calls": (("openat2", "it is refused"),)}, "openat2(2)", "missing", "SystemCallFilter="),
        ({"root": False}, "root", "less", "sudo"),
        (facts(capabilities=frozenset({"CHOWN"})), "capabilities", "less", "CapabilityBoundingSet="),
        ({"bosh_root": "there is none"}, "BOSH root", "missing", "BPM_BOSH_ROOT"),
        ({"user": "there is none"}, "user", "missing", "BPM_USER"),
        (facts(controllers=GOOD.facts.controllers[:2]), "controller pids", "less", "CONFIG_CGROUP_PIDS"),
        (facts(swap_accounting=False), "swap accounting", "less", "swapaccount=1"),
        ({"knobs": {"user/max_user_namespaces": "1"}}, "seccomp", "missing", "CONFIG_SECCOMP_FILTER"),
        ({"knobs": {**GOOD.knobs, "user/max_mnt_namespaces": "0"}}, "mnt namespaces", "missing", "max_mnt_namespaces"),
        ({"knobs": {**GOOD.knobs, "user/max_user_namespaces": "0"}}, "user namespaces", "less", "max_user_namespaces"),
        (
            {"knobs": {**GOOD.knobs, "kernel/apparmor_restrict_unprivileged_userns": "1"}},
            "user namespaces",
            "less",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({**facts(systemd=UNIFIED), "jeepney": False}, "systemd", "missing", "bosh-bpm[systemd]"),
    ],
    ids=str,
)
def test_what_is_wrong_names_its_knob(changes: dict[str, Any], subject: str, state: str, knob: str) -> None:
    """Each thing that a host can lack is one line, with the knob."""
    (line,) = lines(**changes)

    assert (subject, state, True) == (line.subject, line.state, knob in line.knob)


def test_without_cgroups_little_can_be_had() -> None:
    """A host without any cgroup can limit nothing, and keeps no device shut."""
    found = lines(**facts(controllers=(), unified=None, swap_accounting=False))

    assert ["cgroups", "controller memory", "controller pids", "controller cpu", "devices"] == [
        line.subject for line in found
    ]


def test_this_host_is_told_of() -> None:
    """Looking at this host finds its kernel, and every subject once."""
    found = examine_host()

    subjects = [line.subject for line in found]
    assert "kernel" == subjects[0]
    assert len(subjects) == len(set(subjects))


def test_knobs_are_files() -> None:
    """What is read is named as below /proc/sys."""

    assert [] == [name for name in KNOBS if name.startswith("/") or "." in name]
