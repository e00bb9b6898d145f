"""HostFacts: all that planning needs to know about the machine, as a value.

``bpm.observe()`` makes one by looking; a test writes one by hand. Every field has a default that
describes a plain BOSH machine, so a hand-written one names only what matters to it.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen

from bpm.layout import DEFAULT_ROOT

# What is mounted, or linked to, only where the host has it: /lib64 is x86's, the next two are of whatever
# writes /etc/resolv.conf, and the last depends on how the kernel was built.
OPTIONAL_PATHS = ("/lib64", "/run/resolvconf", "/run/systemd/resolve", "/proc/kcore")

# Where Linux distributions, and upstream, mount cgroups.
CGROUP_ROOT = "/sys/fs/cgroup"

LEAF = "bpm.leaf"
"""The child of bpm's own cgroup that its processes go to, where they stand in the way. No container has this name."""


def _set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@frozen
class User:
    """A user of the host, as its user database has it.

    Args:
        name: The user's name.
        uid: The user's id.
        gid: The id of the user's own group.
    """

    name: str = "vcap"
    uid: int = 1000
    gid: int = 1000


@frozen
class Controller:
    """Where one cgroup controller lives.

    Args:
        name: The controller, such as ``memory``.
        version: 1 or 2.
        mount_point: Where its hierarchy is mounted, such as ``/sys/fs/cgroup/memory``.
        own_path: bpm's own cgroup in that hierarchy, below the mount point: ``/`` or ``/a/b``.
    """

    name: str
    version: int
    mount_point: str
    own_path: str = "/"


@frozen
class HostFacts:
    """One look at the host.

    Args:
        root: The BOSH root, ``$BPM_BOSH_ROOT``.
        user: Who unprivileged processes run as, ``$BPM_USER``.
        globs: What each pattern of ``unrestricted_volumes`` matched, as pairs of pattern and sorted
            matches. A literal path that is not listed matches itself.
        existing: Those of OPTIONAL_PATHS that exist.
        controllers: The cgroup controllers this host has, where each lives.
        unified: The mount of the cgroup v2 hierarchy, also where it has no controllers; None without one.
        swap_accounting: Whether memory limits can count swap.
        mountable: Controllers of cgroup v1 that the kernel has and nobody has mounted, each with the place where it
            would be.
        bare_mount_point: Whether a tmpfs has to be mounted at CGROUP_ROOT before that.
        crowded: Whether bpm's own cgroup v2 holds processes, so that it cannot give controllers to its children.
        systemd: The hierarchy in which systemd, as pid 1, keeps its units apart; None without it.
        capabilities: The capability names (without ``CAP_``) of bpm's own bounding set.
        machine: The architecture, as uname(2) has it.
    """

    root: str = DEFAULT_ROOT
    user: User = User()
    globs: tuple[tuple[str, tuple[str, ...]], ...] = ()
    existing: frozenset[str] = field(default=frozenset({"/lib64"}), converter=_set)
    controllers: tuple[Controller, ...] = (
        Controller("memory", 1, "/sys/fs/cgroup/memory"),
        Controller("pids", 1, "/sys/fs/cgroup/pids"),
    )
    unified: Controller | None = None
    swap_accounting: bool = True
    mountable: tuple[Controller, ...] = ()
    bare_mount_point: bool = False
    crowded: bool = False
    systemd: Controller | None = None
    capabilities: frozenset[str] | None = None
    machine: str = "x86_64"

    def matches(self, pattern: str) -> tuple[str, ...]:
        """The paths that a volume's pattern stands for on this host, sorted; a literal path stands for itself.

        Args:
            pattern: A path, or a glob.

        Returns:
            Paths, sorted; none where nothing matched.
        """
        for known, found in self.globs:
            if known == pattern:
                return found
        return () if set(pattern) & set("*?[") else (pattern,)

    def controller(self, name: str) -> Controller | None:
        """Where the controller of that name lives, or None where this host has none.

        Args:
            name: Such as ``memory``.

        Returns:
            Its place.
        """
        return next((c for c in self.controllers if c.name == name), None)

    def home(self, name: str) -> Controller | None:
        """Where the controller of that name lives, or would, once it is mounted; None where this host has none.

        Args:
            name: Such as ``memory``.

        Returns:
            Its place.
        """
        return self.controller(name) or next((c for c in self.mountable if c.name == name), None)
