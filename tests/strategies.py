"""Hypothesis strategies for the values that bpm is made of: any JobConfig, any HostFacts.

They are drawn from the models: a new field is drawn as its type says, and only what means more than its type (a path, a
name, a size) is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin, get_type_hints

from attrs import evolve, fields
from hypothesis import strategies as st

from bpm.config import JobConfig, Limits, ProcessConfig, Variables, Volume
from bpm.plan import CAPABILITIES, OPTIONAL_PATHS, Controller, HostFacts, User

# Any text that a program can be handed: no NUL, and bytes that are not UTF-8 as surrogateescape has them.
TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from(["\udc80", "\udcff"]),
    max_size=8,
)

# Names of files and jobs: odd, but not empty, and not a way out.
NAMES = st.sampled_from(["a", "b", "job", "worker", "a.b", "a b", "é", "\udcc3(", "-x", "x" * 60]) | TEXT.map(
    lambda text: text.replace("/", "_")
).filter(lambda text: text not in ("", ".", ".."))

# Directories in which volumes meet the job's own mounts, the system's and each other.
PARENTS = st.sampled_from(
    [
        "",
        "/var/vcap",
        "/var/vcap/data",
        "/var/vcap/data/job",
        "/var/vcap/jobs",
        "/var/vcap/jobs/job",
        "/var/vcap/packages",
        "/var/vcap/store",
        "/var/vcap/store/job",
        "/var/vcap/sys",
        "/var/vcap/sys/log",
        "/var/vcap/sys/log/job",
        "/var/vcap/data/a",
        "/var/vcap/data/a/b",
        "/tmp",
        "/var/tmp",
        "/usr",
        "/etc",
        "/dev",
        "/sys",
        "/mnt",
        "/run",
        "/srv/root",
        "/srv/root/data",
    ]
)
LEAVES = st.sampled_from(["", "/a", "/b", "/a/b", "/a/../b", "//a/", "/./a", "/job", "/tmp", "/shm", "/null", "/x y"])
PATHS = st.builds("{}{}".format, PARENTS, LEAVES | NAMES.map("/{}".format)).map(lambda path: path or "/")

SIZES = st.builds(
    "{}{}".format,
    st.integers(1, 10**7) | st.sampled_from(["0.5", "1.5", "0", "100000000000"]),
    st.sampled_from(["B", "K", "KB", "KiB", "m", "M", "G", "gib", "T", "P", "E"]),
)

GLOBS = st.sampled_from(["/var/vcap/jobs/*/config", "/mnt/[ab]", "/dev/*", "/var/vcap/data/?"])

HIERARCHIES = st.builds(
    Controller, st.just(""), st.sampled_from([1, 2]), st.sampled_from(["/sys/fs/cgroup", "/cg/x"]), st.just("/") | PATHS
)


def controllers(names: tuple[str, ...]) -> st.SearchStrategy[tuple[Controller, ...]]:
    """These controllers, each somewhere."""
    homes = st.lists(HIERARCHIES, min_size=len(names), max_size=len(names))
    return homes.map(lambda found: tuple(evolve(home, name=name) for home, name in zip(found, names, strict=True)))


ROOTS = st.sampled_from(["/var/vcap", "/srv/root", "/var/vcap/data/inner", "/"]) | st.lists(NAMES, min_size=1).map(
    lambda names: "/" + "/".join(names)
)

# What each field means, where its type does not say it.
MEANINGS: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (Volume, "path"): PATHS | GLOBS,
    (Limits, "memory"): st.none() | SIZES,
    (Limits, "open_files"): st.none() | st.integers(0, 2**64 - 1),
    (Limits, "cpu"): st.none() | st.sampled_from(["0.01", "0.5", "1", "1.5", "64", "100000"]),
    (Limits, "cpu_weight"): st.none() | st.integers(1, 10_000),
    (Limits, "swap"): st.none(),
    (Limits, "memory_high"): st.none(),  # on few hosts: tests/plan/test_limits.py
    (Limits, "processes"): st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 100),
    (Limits, "core_file_size"): st.none() | st.integers(-1, 2**64 - 1),
    **{(Limits, name): st.none() for name in ("wall_time", "cpu_time", "file_size")},  # no keys of bpm.yml
    (ProcessConfig, "name"): NAMES,
    (ProcessConfig, "executable"): PATHS | NAMES,
    (ProcessConfig, "workdir"): st.just("") | PATHS | NAMES,
    (ProcessConfig, "capabilities"): st.lists(
        st.sampled_from([*CAPABILITIES, "BOGUS", "CAP_CHOWN", "net_raw"]), max_size=4
    ).map(tuple),
    (ProcessConfig, "shutdown_signal"): st.sampled_from(["", "TERM", "INT"]),
    (JobConfig, "processes"): st.deferred(lambda: st.lists(values(ProcessConfig), min_size=1, max_size=2).map(tuple)),
    (JobConfig, "job"): NAMES | st.just("job"),
    (JobConfig, "warnings"): st.just(()),
    (HostFacts, "root"): ROOTS,
    (HostFacts, "globs"): st.dictionaries(GLOBS, st.sets(PATHS, max_size=3).map(sorted).map(tuple)).map(
        lambda found: tuple(sorted(found.items()))
    ),
    (HostFacts, "existing"): st.frozensets(st.sampled_from(OPTIONAL_PATHS)),
    (HostFacts, "capabilities"): st.none() | st.just(frozenset(CAPABILITIES)),
    (HostFacts, "controllers"): st.sampled_from(
        [("memory", "pids", "freezer"), ("memory", "pids"), ("pids", "cpu", "memory"), ("memory",), ()]
    ).flatmap(controllers),
    (HostFacts, "mountable"): st.sampled_from([(), ("devices", "freezer"), ("cpu", "devices")]).flatmap(controllers),
    (HostFacts, "systemd"): st.none()
    | HIERARCHIES.map(lambda home: evolve(home, version=2, own_path="/system.slice/monit.service")),
    (HostFacts, "unified"): st.none() | HIERARCHIES.map(lambda home: evolve(home, version=2)),
    (User, "uid"): st.integers(0, 2**32 - 2),
    (User, "gid"): st.integers(0, 2**32 - 2),
}


def values(cls: Any, meanings: Mapping[tuple[type, str], st.SearchStrategy[Any]] = MEANINGS) -> st.SearchStrategy[Any]:
    """Any value of an attrs class, each field as ``meanings`` or else its type has it."""
    hints = get_type_hints(cls)
    drawn = {}
    for field in fields(cls):
        meant = (cls, field.name)
        drawn[field.name] = meanings[meant] if meant in meanings else of_type(hints[field.name], meanings)
    return st.builds(cls, **drawn)


def of_type(
    hint: Any, meanings: Mapping[tuple[type, str], st.SearchStrategy[Any]] = MEANINGS
) -> st.SearchStrategy[Any]:
    """Any value of a type that a model's field can have."""
    simple: Mapping[Any, st.SearchStrategy[Any]] = {
        str: TEXT,
        int: st.integers(),
        bool: st.booleans(),
        type(None): st.none(),
        Variables: st.dictionaries(NAMES | st.sampled_from(["PATH", "HOME", "LANG", "TMPDIR"]), TEXT, max_size=4).map(
            Variables
        ),
    }
    if hint in simple:
        return simple[hint]
    if get_origin(hint) is tuple and get_args(hint)[1:] == (...,):
        return st.lists(of_type(get_args(hint)[0], meanings), max_size=4).map(tuple)
    if get_args(hint):
        return st.one_of([of_type(choice, meanings) for choice in get_args(hint)])
    return values(hint, meanings)


def job_configs() -> st.SearchStrategy[JobConfig]:
    """Any job of at least one process."""
    return values(JobConfig)


def host_facts() -> st.SearchStrategy[HostFacts]:
    """Any host: its controllers each in either version, sharing a hierarchy or not, some of them missing."""
    return values(HostFacts)
