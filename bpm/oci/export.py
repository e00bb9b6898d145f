"""Writing an OCI bundle."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from bpm.oci.bundle import ROOTFS, bundle_files
from bpm.plan import ProcessPlan


def export_bundle(plan: ProcessPlan, directory: str, machine: str | None = None) -> None:
    """Writes the plan as an OCI bundle: config.json, an empty rootfs, a script that prepares the host, and a README.md.

    Needs no root. Nobody else can read it, since an environment may hold secrets. What fails leaves nothing behind.

    Args:
        plan: A job's, from :func:`bpm.make_plan`.
        directory: Made, unless it is there and empty.
        machine: Where it will run, as uname(2) has it; by default a machine like this one.

    Raises:
        PlanError: The plan asks for something that no OCI runtime can be told.
        OSError: With ENOTEMPTY where there is something in the directory; or the kernel's own answer.
    """
    files = bundle_files(plan, machine or os.uname().machine)
    made = make_empty(directory)
    rootfs = os.path.join(directory, ROOTFS)
    written: list[str] = []
    try:
        os.mkdir(rootfs)
        os.chmod(rootfs, 0o755)  # whatever the umask: inside, everyone has to pass through it
        for file in files:
            path = os.path.join(directory, file.name)
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, file.mode)
            written.append(path)
            with open(fd, "w", encoding="utf-8", newline="") as stream:
                stream.write(file.text)
    except BaseException:
        with suppress(OSError):
            for path in written:
                os.unlink(path)
            os.rmdir(rootfs)
        if made:
            with suppress(OSError):
                os.rmdir(directory)
        raise


def make_empty(directory: str) -> bool:
    """Sees to it that there is such a directory with nothing in it; whether it was made."""
    try:
        os.mkdir(directory, 0o700)
    except FileExistsError:
        if os.listdir(directory):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), directory) from None
        return False
    return True
