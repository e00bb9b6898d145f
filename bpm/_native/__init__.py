"""The native room: a SpawnRequest in, a running program or (stage, item, errno) out."""

from bpm._native.binding import (
    EXIT_SIZE,
    Child,
    ExitFacts,
    Layout,
    Plumbing,
    init_descriptor,
    life_descriptor,
    parse_exit,
    spawn,
)
from bpm._native.request import Cover, Spawned, SpawnFailure, SpawnRequest, Stage, Step, StepKind

__all__ = [
    "EXIT_SIZE",
    "Child",
    "Cover",
    "ExitFacts",
    "Layout",
    "Plumbing",
    "SpawnFailure",
    "SpawnRequest",
    "Spawned",
    "Stage",
    "Step",
    "StepKind",
    "init_descriptor",
    "life_descriptor",
    "parse_exit",
    "spawn",
]
