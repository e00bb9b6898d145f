"""What a program sees inside, and hand-made worlds to look at it from."""

from tests.inside.probe import Descriptor, Entry, MountLine, Seen, compile_probe, parse_mounts, read_seen
from tests.inside.world import CLONE_NEWNS, CLONE_NEWPID, ISOLATED, NO_LIMIT, Ended, World, is_readable, wait_for

__all__ = [
    "CLONE_NEWNS",
    "CLONE_NEWPID",
    "ISOLATED",
    "NO_LIMIT",
    "Descriptor",
    "Ended",
    "Entry",
    "MountLine",
    "Seen",
    "World",
    "compile_probe",
    "is_readable",
    "parse_mounts",
    "read_seen",
    "wait_for",
]
