"""The kinds of hosts that bpm meets, as far as a kernel and its pid 1 make the difference."""

from __future__ import annotations

from attrs import frozen


@frozen
class Host:
    """One kind of host.

    Args:
        name: What it is called on the command line.
        summary: What it stands for, for a reader of the docs.
        hierarchy: ``v2``, ``v1`` or ``hybrid``.
        systemd: Whether systemd is pid 1, with a system bus. The tests are then a service of it.
        nested: Whether the tests run in a container: in namespaces of their own, in the root of their cgroup
            namespace, which is no root of a hierarchy and cannot have both processes and controllers below it.
        suite: The suite of Debian whose kernel it is. Unstable's takes a third of the time, and has no v1 memory.
        options: More for the kernel's command line.
    """

    name: str
    summary: str
    hierarchy: str = "v2"
    systemd: bool = False
    nested: bool = False
    suite: str = "bookworm"
    options: tuple[str, ...] = ()

    @property
    def boot_options(self) -> list[str]:
        """What its kernel, or its systemd, reads from the kernel's command line."""
        # Since 6.16 and only if asked to, this kernel catches its processes' calls by seccomp, and not by ptrace. That
        # is half as slow.
        fast = ["seccomp=auto"] if self.suite == "sid" else []
        if not self.systemd:
            return [*fast, *self.options]
        unified = f"systemd.unified_cgroup_hierarchy={int(self.hierarchy == 'v2')}"
        legacy = ["systemd.legacy_systemd_cgroup_controller=1"] if self.hierarchy == "v1" else []
        return ["systemd.unit=guest.service", "systemd.show_status=0", unified, *legacy, *fast, *self.options]


_ALL = (
    Host("v2", "v2, no systemd", suite="sid"),
    Host("v1", "v1, no systemd, `cpu` and `cpuacct` in one hierarchy", hierarchy="v1"),
    Host("hybrid", "v1 with an empty v2 beside it, no systemd", hierarchy="hybrid"),
    Host("systemd-v2", "systemd on v2: Noble, Resolute", systemd=True, suite="sid"),
    Host("systemd-v1", "systemd on v1: Jammy", hierarchy="v1", systemd=True),
    Host("systemd-hybrid", "systemd on v1, and v2 for its own use: Jammy", hierarchy="hybrid", systemd=True),
    Host("nested", "in a container, no systemd: bosh-lite, Docker", nested=True, suite="sid"),
    Host("kernel-6.1", "v2, no systemd, the kernel of Debian 12"),
    Host("kernel-6.12", "v2, no systemd, the kernel of Debian 13", suite="trixie"),
)

HOSTS = {host.name: host for host in _ALL}
