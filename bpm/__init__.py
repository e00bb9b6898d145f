"""bpm runs programs isolated from their neighbours on one Linux machine.

Ten lines that work, on a BOSH machine, as root::

    import bpm

    config = bpm.load(open("/var/vcap/jobs/web/config/bpm.yml").read(), job="web")
    plan = bpm.make_plan(config, "web", bpm.observe(config))
    print(plan.to_json())
    with bpm.start(plan) as container:
        print(container.pid)
        record = container.wait(timeout=60)
    print(record.exit_code)

This is the whole public interface; whatever is not listed in ``__all__`` may change. Each name is imported
when it is first used, so that a program pays only for what it needs.
"""

from bpm.version import VERSION as __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.config import (
        Hooks,
        JobConfig,
        Limits,
        ProcessConfig,
        Unsafe,
        Variables,
        Volume,
        load,
        parse_variable,
        parse_volume,
    )
    from bpm.errors import (
        AlreadyRunning,
        BpmError,
        CgroupError,
        ConfigError,
        HookError,
        HostError,
        JobNotFound,
        Locked,
        NotRunning,
        PlanError,
        PrepareError,
        Problem,
        ProcessNotFound,
        ProgramNotFound,
        ProgramNotPermitted,
        RecordError,
        SpawnError,
        UnsafePathError,
    )
    from bpm.host import observe
    from bpm.insight import (
        Access,
        Change,
        Diagnosis,
        Explanation,
        Findings,
        Remedy,
        Row,
        Section,
        check_job,
        check_text,
        compare_plans,
        describe_plan,
        examine_host,
        explain_path,
        plan_schema,
    )
    from bpm.oci import export_bundle, oci_config
    from bpm.plan import (
        DEFAULT_POLICY,
        Controller,
        HostFacts,
        ProcessPlan,
        SeccompPolicy,
        SyscallRule,
        User,
        make_plan,
    )
    from bpm.runtime import (
        BrokenConfig,
        Channel,
        Container,
        Environment,
        ExitRecord,
        JobProcess,
        Listing,
        Report,
        SpawnStop,
        StateRecord,
        Status,
        Usage,
        Visitor,
        start,
    )
    from bpm.sandbox import (
        Bind,
        Completed,
        Dev,
        Ending,
        Join,
        Prepared,
        Proc,
        Process,
        ProcessFailed,
        ProcessTimeout,
        Resources,
        Sandbox,
        Symlink,
        Sys,
        Tmpfs,
    )

__all__ = [
    "DEFAULT_POLICY",
    "Access",
    "AlreadyRunning",
    "Bind",
    "BpmError",
    "BrokenConfig",
    "CgroupError",
    "Change",
    "Channel",
    "Completed",
    "ConfigError",
    "Container",
    "Controller",
    "Dev",
    "Diagnosis",
    "Ending",
    "Environment",
    "ExitRecord",
    "Explanation",
    "Findings",
    "HookError",
    "Hooks",
    "HostError",
    "HostFacts",
    "JobConfig",
    "JobNotFound",
    "JobProcess",
    "Join",
    "Limits",
    "Listing",
    "Locked",
    "NotRunning",
    "PlanError",
    "PrepareError",
    "Prepared",
    "Problem",
    "Proc",
    "Process",
    "ProcessConfig",
    "ProcessFailed",
    "ProcessNotFound",
    "ProcessPlan",
    "ProcessTimeout",
    "ProgramNotFound",
    "ProgramNotPermitted",
    "RecordError",
    "Remedy",
    "Report",
    "Resources",
    "Row",
    "Sandbox",
    "SeccompPolicy",
    "Section",
    "SpawnError",
    "SpawnStop",
    "StateRecord",
    "Status",
    "Symlink",
    "Sys",
    "SyscallRule",
    "Tmpfs",
    "Unsafe",
    "UnsafePathError",
    "Usage",
    "User",
    "Variables",
    "Visitor",
    "Volume",
    "__version__",
    "check_job",
    "check_text",
    "compare_plans",
    "describe_plan",
    "examine_host",
    "explain_path",
    "export_bundle",
    "load",
    "make_plan",
    "observe",
    "oci_config",
    "parse_variable",
    "parse_volume",
    "plan_schema",
    "start",
]

# The doors behind this one, in the order in which they are tried: each imports those before it anyway.
_DOORS = ("bpm.errors", "bpm.config", "bpm.plan", "bpm.host", "bpm.runtime", "bpm.insight", "bpm.oci", "bpm.sandbox")


if not TYPE_CHECKING:  # a type checker would take it to have every name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'bpm' has no attribute {name!r}")
        from importlib import import_module

        for door in _DOORS:
            module = import_module(door)
            if name in getattr(module, "__all__", ()) or (door == "bpm.errors" and hasattr(module, name)):
                value: object = getattr(module, name)
                globals()[name] = value
                return value
        raise AttributeError(f"module 'bpm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
