"""An OCI bundle as a value: its files and their text. Pure."""

from __future__ import annotations

import json

from attrs import frozen

from bpm.oci.config import oci_config
from bpm.oci.prepare import prepare_script
from bpm.oci.readme import readme
from bpm.plan import ProcessPlan

ROOTFS = "rootfs"
"""The directory of a bundle that becomes the container's root. It is empty: all that is in it is mounted."""


@frozen
class BundleFile:
    """One file of a bundle.

    Args:
        name: Its path in the bundle.
        text: What it holds.
        mode: Its permission bits. An environment may hold secrets, so nobody else reads it.
    """

    name: str
    text: str
    mode: int = 0o600


def bundle_files(plan: ProcessPlan, machine: str) -> tuple[BundleFile, ...]:
    """The files of the plan's bundle; config.json last, so that a bundle cut short is none.

    Raises:
        PlanError: As :func:`oci_config`.
    """
    config = oci_config(plan, machine)
    return (
        BundleFile("README.md", readme(plan)),
        BundleFile("prepare", prepare_script(plan), 0o700),
        BundleFile("config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n"),
    )
