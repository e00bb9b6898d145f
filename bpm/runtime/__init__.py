"""Makes things happen: prepares the host, starts, waits, stops, and keeps the records."""

from bpm.runtime.container import GRACE, QUIT_GRACE, Container
from bpm.runtime.environment import Environment
from bpm.runtime.lower import Descriptors, Source, lower
from bpm.runtime.process import JobProcess
from bpm.runtime.records import ExitRecord, Records, SpawnStop, StateRecord
from bpm.runtime.startup import start
from bpm.runtime.status import BrokenConfig, Listing, Status
from bpm.runtime.visit import Channel, Visitor

__all__ = [
    "GRACE",
    "QUIT_GRACE",
    "BrokenConfig",
    "Channel",
    "Container",
    "Descriptors",
    "Environment",
    "ExitRecord",
    "JobProcess",
    "Listing",
    "Records",
    "Source",
    "SpawnStop",
    "StateRecord",
    "Status",
    "Visitor",
    "lower",
    "start",
]
