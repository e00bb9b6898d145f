"""Asked: what one plan is made from, gathered once and handed to each function of this room."""

from __future__ import annotations

from attrs import frozen

from bpm.config import ProcessConfig, Volume
from bpm.layout import JobLayout
from bpm.plan.facts import HostFacts


@frozen
class Asked:
    """One process of one job, on one host, with the flags of ``bpm run``.

    Args:
        process: What bpm.yml says of it.
        index: Its place in ``processes``.
        paths: Where its job has its files.
        facts: One look at the host.
        flag_volumes: ``-v``, in their order.
        flag_env: ``-e``, in their order.
    """

    process: ProcessConfig
    index: int
    paths: JobLayout
    facts: HostFacts
    flag_volumes: tuple[Volume, ...] = ()
    flag_env: tuple[tuple[str, str], ...] = ()

    def key(self, path: str) -> str:
        """A key of this process as a ``because`` has it: ``processes[1].limits.memory``."""
        return f"processes[{self.index}].{path}"

    @property
    def privileged(self) -> bool:
        return self.process.unsafe.privileged

    @property
    def volumes(self) -> tuple[tuple[Volume, str], ...]:
        """The volumes that bpm itself looks after, each with its ``because``: the keys', then the flags'."""
        keys = ((v, self.key(f"additional_volumes[{i}]")) for i, v in enumerate(self.process.additional_volumes))
        flags = ((v, f"flag -v[{i}]") for i, v in enumerate(self.flag_volumes))
        return (*keys, *flags)
