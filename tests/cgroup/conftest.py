"""Cgroups on this host's own hierarchies, gone again after each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bpm.cgroup import observe_hierarchies
from bpm.errors import CgroupError
from tests.cgroup.hosts import Host


@pytest.fixture
def host() -> Iterator[Host]:
    """This host; skips with the kernel's answer where no cgroup can be made."""
    host = Host(*observe_hierarchies())
    try:
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
