"""Cgroups on this host's own hierarchies, gone again after each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bpm.cgroup import is_crowded, observe_hierarchies
from bpm.cgroup.ground import evacuate
from bpm.errors import CgroupError
from bpm.plan import LEAF, Evacuation
from tests.cgroup.hosts import Host


@pytest.fixture
def host() -> Iterator[Host]:
    """This host, its own cgroup made fit for children; skips with the kernel's answer where no cgroup can be made."""
    host = Host(*observe_hierarchies())
    try:
        if host.unified is not None and is_crowded(host.unified):
            own = host.unified.mount_point + host.unified.own_path
            evacuate(Evacuation(own.rstrip("/"), f"{own.rstrip('/')}/{LEAF}", "test"))
        host.create("memory", "pids").remove()
    except CgroupError as error:
        pytest.skip(str(error))
    descriptors = os.listdir("/proc/self/fd")
    try:
        yield host
        left_open = set(os.listdir("/proc/self/fd")) - set(descriptors)
    finally:
        host.clean()
    assert not left_open
