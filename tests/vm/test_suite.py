"""What is run on each host."""

from __future__ import annotations

import os

from tests.vm.suite import LEFT_OUT, integration_tests


def test_whatever_is_not_left_out_is_run() -> None:
    """Each directory of tests is in the suite, or has a reason not to be; and whatever is named is there."""
    rooms = {entry.name for entry in os.scandir("tests") if entry.is_dir() and not entry.name.startswith("__")}
    run = {path.split("/")[1] for path in integration_tests() if not path.endswith(".py")}

    assert (rooms, set()) == (run | set(LEFT_OUT), run & set(LEFT_OUT))
    assert all(map(os.path.exists, integration_tests()))
