"""What will be done, decided without looking and without touching anything."""

from bpm.doors import look_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bpm.plan.asked import Asked
    from bpm.plan.build import make_plan
    from bpm.plan.cgroup import plan_evacuation
    from bpm.plan.codec import digest, from_json, to_json
    from bpm.plan.devices import LINKS as DEVICE_LINKS
    from bpm.plan.devices import MASKED as MASKED_PATHS
    from bpm.plan.devices import NODES as DEVICE_NODES
    from bpm.plan.devices import READ_ONLY as READ_ONLY_PATHS
    from bpm.plan.facts import CGROUP_ROOT, LEAF, OPTIONAL_PATHS, Controller, HostFacts, User
    from bpm.plan.identity import CAPABILITIES
    from bpm.plan.limits import CPU_PERIOD_US, RLIM_INFINITY, plan_limits, plan_rlimits
    from bpm.plan.model import (
        Capability,
        Cgroup,
        CgroupDirectory,
        CgroupMount,
        CgroupSetting,
        Covered,
        DeviceProgram,
        DeviceRule,
        Directory,
        Dropped,
        Embedded,
        Evacuation,
        Hook,
        Identity,
        IdMap,
        Joined,
        Link,
        LogFile,
        Mount,
        MountPoint,
        Namespace,
        Node,
        Notice,
        Preparation,
        ProcessPlan,
        Requirement,
        Rlimit,
        Scope,
        ScopeProperty,
        SeccompPolicy,
        SharedVolume,
        SyscallRule,
        Variable,
        Workdir,
    )
    from bpm.plan.mounts import INSIDE_OWN_MOUNT, KERNEL_MOUNTS, MOUNTED_ALREADY, sort_by_depth
    from bpm.plan.seccomp import DEFAULT_POLICY, compile_policy, names_left

__all__ = [
    "CAPABILITIES",
    "CGROUP_ROOT",
    "CPU_PERIOD_US",
    "DEFAULT_POLICY",
    "DEVICE_LINKS",
    "DEVICE_NODES",
    "INSIDE_OWN_MOUNT",
    "KERNEL_MOUNTS",
    "LEAF",
    "MASKED_PATHS",
    "MOUNTED_ALREADY",
    "OPTIONAL_PATHS",
    "READ_ONLY_PATHS",
    "RLIM_INFINITY",
    "Asked",
    "Capability",
    "Cgroup",
    "CgroupDirectory",
    "CgroupMount",
    "CgroupSetting",
    "Controller",
    "Covered",
    "DeviceProgram",
    "DeviceRule",
    "Directory",
    "Dropped",
    "Embedded",
    "Evacuation",
    "Hook",
    "HostFacts",
    "IdMap",
    "Identity",
    "Joined",
    "Link",
    "LogFile",
    "Mount",
    "MountPoint",
    "Namespace",
    "Node",
    "Notice",
    "Preparation",
    "ProcessPlan",
    "Requirement",
    "Rlimit",
    "Scope",
    "ScopeProperty",
    "SeccompPolicy",
    "SharedVolume",
    "SyscallRule",
    "User",
    "Variable",
    "Workdir",
    "compile_policy",
    "digest",
    "from_json",
    "make_plan",
    "names_left",
    "plan_evacuation",
    "plan_limits",
    "plan_rlimits",
    "sort_by_depth",
    "to_json",
]

if not TYPE_CHECKING:  # a type checker would take it to have every name
    __getattr__ = look_in(
        __name__,
        *("facts", "codec", "model", "asked", "identity", "limits", "mounts", "seccomp", "build"),
        DEVICE_LINKS="devices.LINKS",
        plan_evacuation="cgroup.plan_evacuation",
        DEVICE_NODES="devices.NODES",
        MASKED_PATHS="devices.MASKED",
        READ_ONLY_PATHS="devices.READ_ONLY",
    )
