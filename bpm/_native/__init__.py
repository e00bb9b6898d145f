"""The native room: a SpawnRequest in, a running program or (stage, item, errno) out."""

from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm._native.binding import Child, Layout, Plumbing, init_descriptor, life_descriptor, spawn
    from bpm._native.record import EXIT_SIZE, ExitFacts, Reaped, parse_exit
    from bpm._native.request import Cover, Spawned, SpawnFailure, SpawnRequest, Stage, Step, StepKind

__all__ = [
    "EXIT_SIZE",
    "Child",
    "Cover",
    "ExitFacts",
    "Layout",
    "Plumbing",
    "Reaped",
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

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(__name__, "record", "request", "binding")
