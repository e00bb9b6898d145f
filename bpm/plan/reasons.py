"""The named defaults: why an entry of a plan exists when no key of bpm.yml asked for it.

Every ``because`` is one of these, a key's path such as ``processes[1].additional_volumes[0]``, or a flag of
``bpm run`` such as ``flag -v[0]``.
"""

from __future__ import annotations

SYSTEM_MOUNTS = "default: system mounts"
NAME_RESOLUTION = "default: name resolution"
KERNEL_MOUNTS = "default: kernel file systems"
DEVICES = "default: devices"
JOB_MOUNTS = "default: job directories"
TEMPORARY = "default: temporary directory"
MASKED = "default: masked paths"
READ_ONLY = "default: read-only paths"
NAMESPACES = "default: namespaces"
USER = "default: user"
ENVIRONMENT = "default: environment"
WORKDIR = "default: working directory"
SECCOMP = "default: seccomp filter"
CGROUP = "default: cgroup"
LOGS = "default: log files"
SOCKETS = "default: socket directory"
PIDFILE = "default: pidfile"

DEFAULTS = frozenset(value for value in tuple(globals().values()) if str(value).startswith("default: "))
