"""The embedder's front door: programs isolated as BOSH's are, without BOSH."""

from bpm.config import Limits
from bpm.sandbox.command import Argument, Arguments, EnvMapping, Stream, streams_of
from bpm.sandbox.ending import Ending, Resources
from bpm.sandbox.pieces import Bind, Dev, Join, Proc, Symlink, Sys, Tmpfs
from bpm.sandbox.prepared import Prepared
from bpm.sandbox.process import Process
from bpm.sandbox.result import Completed, ProcessFailed, ProcessTimeout
from bpm.sandbox.sandbox import Sandbox
from bpm.sandbox.streams import Text, decode, encode

__all__ = [
    "Argument",
    "Arguments",
    "Bind",
    "Completed",
    "Dev",
    "Ending",
    "EnvMapping",
    "Join",
    "Limits",
    "Prepared",
    "Proc",
    "Process",
    "ProcessFailed",
    "ProcessTimeout",
    "Resources",
    "Sandbox",
    "Stream",
    "Symlink",
    "Sys",
    "Text",
    "Tmpfs",
    "decode",
    "encode",
    "streams_of",
]
