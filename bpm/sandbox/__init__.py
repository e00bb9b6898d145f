"""The embedder's front door: programs isolated as BOSH's are, without BOSH."""

from bpm.config import Limits
from bpm.sandbox.pieces import Bind, Dev, Join, Proc, Symlink, Sys, Tmpfs
from bpm.sandbox.prepared import Prepared
from bpm.sandbox.process import Process
from bpm.sandbox.result import Completed, Ending, ProcessFailed, ProcessTimeout, Resources
from bpm.sandbox.sandbox import Sandbox

__all__ = [
    "Bind",
    "Completed",
    "Dev",
    "Ending",
    "Join",
    "Limits",
    "Prepared",
    "Proc",
    "Process",
    "ProcessFailed",
    "ProcessTimeout",
    "Resources",
    "Sandbox",
    "Symlink",
    "Sys",
    "Tmpfs",
]
