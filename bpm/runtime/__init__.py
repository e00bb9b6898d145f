"""Makes things happen: prepares the host, starts, waits, stops, and keeps the records."""

from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.cgroup import Usage
    from bpm.runtime.container import GRACE, QUIT_GRACE, Container
    from bpm.runtime.environment import LARGEST_CONFIG, Environment
    from bpm.runtime.explain import NOT_MOUNTED, Found, examine_program, permits
    from bpm.runtime.explain import find as find_inside
    from bpm.runtime.failure import explain_failure
    from bpm.runtime.lower import Descriptors, Source
    from bpm.runtime.lower import lower as lower_plan
    from bpm.runtime.prepare import prepare as prepare_host
    from bpm.runtime.process import JobProcess
    from bpm.runtime.records import ExitRecord, Records, SpawnStop, StateRecord
    from bpm.runtime.startup import start
    from bpm.runtime.status import BrokenConfig, Listing, Report, Status
    from bpm.runtime.visit import Channel, Visitor

__all__ = [
    "GRACE",
    "LARGEST_CONFIG",
    "NOT_MOUNTED",
    "QUIT_GRACE",
    "BrokenConfig",
    "Channel",
    "Container",
    "Descriptors",
    "Environment",
    "ExitRecord",
    "Found",
    "JobProcess",
    "Listing",
    "Records",
    "Report",
    "Source",
    "SpawnStop",
    "StateRecord",
    "Status",
    "Usage",
    "Visitor",
    "examine_program",
    "explain_failure",
    "find_inside",
    "lower_plan",
    "permits",
    "prepare_host",
    "start",
]

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(
        __name__,
        *(
            "records",
            "status",
            "container",
            "process",
            "environment",
            "lower",
            "startup",
            "failure",
            "visit",
            "explain",
        ),
        Usage="status.Usage",
        lower_plan="lower.lower",
        find_inside="explain.find",
        prepare_host="prepare.prepare",
    )
