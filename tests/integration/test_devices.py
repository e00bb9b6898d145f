"""Devices other than the standard ones stay shut, whoever made their nodes."""

from __future__ import annotations

import pytest

from tests.integration.conftest import Probing

pytestmark = pytest.mark.needs_root


def test_mknod_of_a_disk_in_a_privileged_container(probing: Probing) -> None:
    """A privileged process may make the node of a disk, and of the kernel's memory, and can open neither."""
    script = (
        "cd /dev && mknod disk b 7 0 && mknod memory c 1 1 && mknod nothing c 1 3 || exit 90;"
        " head -c 1 nothing || exit 91; head -c 1 disk && exit 92; (: > disk) && exit 93; head -c 1 memory && exit 94;"
        " exit 0"
    )
    record = probing.run("-c", script, executable="/bin/sh", unsafe={"privileged": True}).record

    assert 0 == record.exit_code


def test_standard_devices_can_be_used(probing: Probing) -> None:
    """The container's own nodes work, for an unprivileged process too."""
    script = "head -c 1 /dev/zero && head -c 1 /dev/urandom && head -c 1 /dev/full && : > /dev/null && test -c /dev/tty"
    record = probing.run("-c", script, executable="/bin/sh").record

    assert 0 == record.exit_code
