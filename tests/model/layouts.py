"""Hosts and jobs for the model: trees with links, devices and mounts, and volumes that meet in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from attrs import frozen
from hypothesis import strategies as st

from tests.model.linux import FLAGS
from tests.model.operations import Bind, Change, Make, Operation, Tmpfs

JOB, PROBE = "web", "/var/vcap/packages/probe/bin/probe"

# Here the job sees directories without what the host has mounted below them.
SHOWN_ALONE = ("/var/vcap/data/packages/other", f"/var/vcap/data/jobs/{JOB}/1/more")

# A BOSH root as on a VM, where jobs, packages and sys are links; and a second disk.
BOSH: tuple[Operation, ...] = (
    Tmpfs("/var"),
    Tmpfs("/srv"),
    *(
        Make("directory", f"/var/vcap{path}")
        for path in ("", "/data", "/store", "/jobs", "/packages", "/data/jobs", "/data/packages", "/data/sys")
    ),
    *(Make("directory", f"/var/vcap/data/sys{path}") for path in ("/log", "/run")),
    Make("link", "/var/vcap/sys", "data/sys"),
    *(Make("directory", f"/var/vcap/data/jobs/{path}") for path in (JOB, f"{JOB}/1", f"{JOB}/1/config")),
    Make("link", f"/var/vcap/jobs/{JOB}", f"../data/jobs/{JOB}/1"),
    Make("file", f"/var/vcap/data/jobs/{JOB}/1/config/bpm.yml"),
    *(Make("directory", f"/var/vcap/data/packages/{path}") for path in ("probe", "probe/1", "probe/1/bin")),
    Make("link", "/var/vcap/packages/probe", "../data/packages/probe/1"),
    Make("file", "/var/vcap/data/packages/probe/1/bin/probe"),
    *(Make("directory", path) for path in SHOWN_ALONE),
)


@frozen
class Layout:
    """A host and a job: what is done to a BOSH VM, and the keys of the job's only process."""

    operations: tuple[Operation, ...]
    keys: dict[str, Any]

    def bpm_yml(self, name: str = JOB, arguments: list[str] | None = None) -> str:
        """Its bpm.yml."""
        process = {"name": name, "executable": PROBE, **({"args": arguments} if arguments else {}), **self.keys}
        return str(yaml.safe_dump({"processes": [process]}, sort_keys=False))

    def __str__(self) -> str:
        """A bpm.yml whose comments tell of the host."""
        return "".join(f"# {operation}\n" for operation in self.operations) + self.bpm_yml()

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """How hypothesis prints what it has shrunk."""
        printer.text(f"\n{self}")


def written_down(*operations: Operation, additional: Sequence[Any] = (), unrestricted: Sequence[Any] = ()) -> Layout:
    """A layout that chance seldom comes upon."""
    keys = {"additional_volumes": [*additional], "unsafe": {"unrestricted_volumes": [*unrestricted]}}
    return Layout(operations, keys)


OPEN = {"writable": True, "allow_executions": True, "mount_only": True}

# What the host forbids below an open volume.
STRICT_BELOW = written_down(
    *(Make("directory", path) for path in ("/srv/a", "/srv/a/b")),
    Tmpfs("/srv/a/b", ("ro", "noexec")),
    Make("directory", "/srv/a/c"),
    unrestricted=[{"path": "/srv/a", **OPEN}],
)
# A link of the job's own making into procfs.
INTO_PROC = written_down(
    Make("directory", "/var/vcap/data/a"),
    Make("link", "/var/vcap/data/a/b", "/proc"),
    additional=[{"path": "/var/vcap/data/a", "mount_only": True}, {"path": "/var/vcap/data/a/b", "mount_only": True}],
)
# Mounts below directories that are shown alone.
ALONE = written_down(*(Tmpfs(path) for path in SHOWN_ALONE))
# Peers of the host's, one below the other.
SHARED = written_down(
    *(Make("directory", path) for path in ("/var/vcap/data/a", "/var/vcap/data/a/b")),
    additional=[{"path": path, "shared": True} for path in ("/var/vcap/data/a", "/var/vcap/data/a/b")],
)

# Where a BOSH VM has its own, or bpm refuses a volume.
FIXED = {"/srv", *(f"/var/vcap/{disk}{job}" for disk in ("data", "store") for job in ("", f"/{JOB}"))}

NAMES = st.sampled_from(["a", "b"])
BELOW = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
DISKS = st.sampled_from(["/var/vcap/data", "/var/vcap/data/web", "/var/vcap/store", "/var/vcap/store/web", "/srv"])
PATHS = st.builds("{}/{}".format, DISKS, BELOW)
LINKS = st.sampled_from(
    ["a", "b", "..", "../b", "../../a", "/srv/a", "/srv/b/a", "/var/vcap/data/a", "/proc", "/proc", "a/../b"]
)
WORDS = st.lists(st.sampled_from(sorted(FLAGS)), max_size=2, unique=True).map(tuple)
KINDS = st.sampled_from(["", "", "shared", "slave", "private"])


@st.composite
def trees(draw: st.DrawFn, links: bool) -> tuple[tuple[Operation, ...], list[str]]:
    """Names on both disks, mounts among them, more names in those; and all the paths that play a part."""
    paths = draw(st.lists(PATHS, min_size=1, max_size=6))
    operations: list[Operation] = []

    def grow(path: str) -> None:
        """The path as something or other, all above it as directories."""
        names = path.split("/")
        operations.extend(Make("directory", "/".join(names[:depth])) for depth in range(2, len(names)))
        kinds = ["directory", "directory", "directory", "file", "device", *(["link", "link"] if links else [])]
        kind = draw(st.sampled_from(kinds))
        operations.append(Make(kind, path, draw(LINKS) if kind == "link" else ""))

    for path in paths:
        grow(path)
    # What lies above them, too: there volumes and mounts meet.
    paths += [above for path in paths if (above := path.rpartition("/")[0]) not in FIXED]
    known = st.sampled_from(paths)
    mounted = st.one_of(
        st.builds(Tmpfs, known, WORDS),
        st.builds(Tmpfs, known | st.sampled_from(SHOWN_ALONE), WORDS),
        st.builds(Bind, known, known, st.booleans(), WORDS, KINDS),
        st.builds(Change, known | st.just("/srv"), WORDS, st.just(()), KINDS, st.booleans()),
        st.builds(Change, st.just("/var"), kind=KINDS, recursive=st.booleans()),
    )
    operations += draw(st.lists(mounted, max_size=4))
    for path in draw(st.lists(PATHS, max_size=3)):
        paths.append(path)
        grow(path)
    there = {operation.path for operation in BOSH}
    kept = [each for each in dict.fromkeys(operations) if not (isinstance(each, Make) and each.path in there)]
    return tuple(kept), paths


def volumes(paths: list[str], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Entries of either list of volumes."""
    options = {"writable": st.booleans(), "allow_executions": st.booleans(), "mount_only": st.booleans(), **more}
    known = st.sampled_from(paths)
    path = st.one_of(known, known, known, PATHS)
    return st.lists(st.fixed_dictionaries({"path": path}, optional=options), max_size=4)


@st.composite
def layouts(draw: st.DrawFn, links: bool = True) -> Layout:
    """Any host, and a job whose volumes are where its files are."""
    operations, paths = draw(trees(links))
    below_root = [path for path in paths if path.startswith("/var/vcap/")] or ["/var/vcap/data/a"]
    additional = draw(volumes(below_root, shared=st.sampled_from([True, True, False])))
    globs = ["/srv/*", "/srv/[ab]", "/var/vcap/data/?", "/srv//a/", "/srv/*/b", "/srv/a/../b"]
    keys: dict[str, Any] = {
        "additional_volumes": [v for v in additional if v["path"].startswith("/var/vcap/")],
        "unsafe": {"unrestricted_volumes": draw(volumes([*paths, *globs, "/srv"]))},
    }
    for disk in ("ephemeral_disk", "persistent_disk"):
        keys[disk] = draw(st.booleans())
    if draw(st.sampled_from([False, False, True])):
        keys["unsafe"]["privileged"] = True
    return Layout(operations, keys)
