"""A layout made real: the same host in the model and in a mount namespace of the test's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen
from hypothesis import reject

from bpm import Environment, JobProcess, ProcessPlan
from tests.inside import Seen, read_seen
from tests.model.container import Inside, build, learn, observe_host
from tests.model.layouts import BOSH, JOB, PROBE, Layout
from tests.model.linux import Linux, private_namespace, read_mounts
from tests.model.mounts import FileSystem, Inode
from tests.model.operations import Both

# No other run on this machine has a container of this name: all have the same BOSH root.
PROCESS = f"probe{os.getpid()}"


@frozen
class World:
    """A host that is laid out, with a job whose process is the probe.

    Args:
        machine: The file systems that were there before, of which the model knows little.
        laid: What the layout made.
    """

    layout: Layout
    both: Both
    process: JobProcess
    machine: frozenset[FileSystem]
    laid: frozenset[Inode]

    def write(self, *attempts: str) -> ProcessPlan:
        """The plan, with these attempts for the probe."""
        Path(f"/var/vcap/jobs/{JOB}/config/bpm.yml").write_text(self.layout.bpm_yml(PROCESS, [*attempts]))
        return self.process.plan()

    def predict(self, plan: ProcessPlan) -> Inside:
        """The inside, by the model. The model's host is then as after a start.

        Raises:
            Refused: There is none.
        """
        host = self.both.namespace
        covers = [cover.path for cover in (*plan.masked, *plan.read_only)]
        for path in (*covers, *(mount.source for mount in plan.mounts if mount.kind == "bind")):
            if not path.startswith(("/var/", "/srv/")):
                learn(host, path)
        kernel = {path: "directory" if os.path.isdir(path) else "file" for path in covers if os.path.lexists(path)}
        return build(plan, host, kernel)

    def see(self) -> Seen:
        """The inside, by the kernel, as the probe sees it."""
        output = os.memfd_create("output")
        try:
            self.process.run(stdout=output, stderr=output)
            return read_seen(os.pread(output, 1 << 24, 0))
        finally:
            os.close(output)
            self.process.stop()


@contextmanager
def laid_out(layout: Layout, probe: bytes) -> Iterator[World]:
    """A BOSH VM with the layout on it, which goes with the block. All of it is root's, and so is the process, without
    any capability: owners and modes keep nobody from anything.

    Raises:
        AssertionError: Model and kernel did not agree about it.
    """
    with private_namespace():
        host = observe_host(read_mounts())
        machine = frozenset(mount.system for mount in host.root.tree())
        for path in ("/var", "/srv", "/proc"):
            learn(host, path)
        both = Both(Linux("/"), host)
        both.do(BOSH)
        bosh = frozenset(both.known.values())
        both.do(layout.operations)
        try:
            Path(PROBE).write_bytes(probe)
        except OSError:
            reject()  # What is mounted beyond a link hides the job, or makes it read-only.
        os.chmod(PROBE, 0o755)
        process = Environment("/var/vcap", "root").process(JOB, PROCESS)
        yield World(layout, both, process, machine, frozenset(both.known.values()) - bosh)
