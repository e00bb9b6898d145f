"""Descriptors, where runc hands its own on, as it does for a container in the background."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile

import pytest

from bpm import export_bundle
from bpm.runtime import prepare_host
from tests.differential.conftest import Lab
from tests.differential.facts import descriptors
from tests.differential.pair import Runc, read, started
from tests.inside import wait_for

pytestmark = pytest.mark.needs_root

TEXT = "processes: [{name: job, executable: /var/vcap/packages/probe/bin/probe}]\n"


def test_descriptors_are_the_same(lab: Lab, runc: Runc) -> None:
    """0, 1 and 2, what was given, with the flags that it has; nothing else of either caller's is open inside."""
    plan = lab.process(TEXT).plan()
    bundle = runc.place / "bundle"
    export_bundle(plan, str(bundle))
    command = ["runc", "--root", runc.state]
    with tempfile.TemporaryFile(dir=runc.place) as mine, tempfile.TemporaryFile(dir=runc.place) as other:
        with started(plan, mine.fileno()) as container:
            container.wait(60)
        prepare_host(plan).close()
        name = f"bpm-test-streams-{os.getpid()}"
        run = [*command, "run", "--detach", "--bundle", bundle, name]
        subprocess.run(run, stdin=subprocess.DEVNULL, stdout=other, stderr=other, check=True)
        try:
            assert wait_for(lambda: is_whole(os.pread(other.fileno(), 1 << 22, 0)))
        finally:
            subprocess.run([*command, "delete", "--force", name], check=True)
        seen = [read(file.fileno(), who) for file, who in ((mine, "bpm"), (other, "runc"))]

    ours, theirs = (dict(descriptors(each)) for each in seen)
    assert ["0", "1", "2"] == list(ours)
    assert ours == theirs


def is_whole(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
