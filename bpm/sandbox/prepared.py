"""Prepared: a sandbox that is ready to run programs."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from bpm.sandbox.runner import Runner
from bpm.sandbox.spawner import Spawner

if TYPE_CHECKING:
    from bpm.sandbox.sandbox import Sandbox


class Prepared(Runner):
    """A sandbox that is ready to run programs, any number of them, from any thread. A context manager.

    Made by :meth:`bpm.Sandbox.prepare`. What it opened then is what every program sees, also when a path comes to mean
    something else. It holds a descriptor for each source that is bound.

    Args:
        sandbox: What it is made from.

    Raises:
        PlanError, HostError, PrepareError, SpawnError: As in :meth:`bpm.Sandbox.prepare`.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self._spawner = Spawner(sandbox)

    @property
    def sandbox(self) -> Sandbox:
        """What it was made from."""
        return self._spawner.sandbox

    def close(self) -> None:
        """Close the descriptors, as soon as no thread is in the middle of a spawn. What runs goes on."""
        self._spawner.close()

    def __enter__(self) -> Prepared:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Prepared {self.sandbox!r}>"

    def spawner(self) -> Spawner:
        """What runs its programs; for bpm itself."""
        return self._spawner
