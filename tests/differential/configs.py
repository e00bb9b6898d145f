"""Any bpm.yml whose process is the probe and can be started here: tests/strategies.py, within what there is."""

from __future__ import annotations

from typing import Any

import yaml
from attrs import asdict
from hypothesis import strategies as st

from bpm.config import Hooks, Limits, ProcessConfig, Unsafe, Variables, Volume
from tests.strategies import MEANINGS, NAMES, TEXT, values

PROBE = "/var/vcap/packages/probe/bin/probe"
JOB = "job"

# A config.json is UTF-8, and runc keeps variables in a map by what stands before the first `=`.
WORDS = TEXT.filter(lambda text: text.isprintable() or text in ("\n", "\t")).filter(lambda text: is_utf8(text))
VARIABLES = st.dictionaries(
    (NAMES | st.sampled_from(["PATH", "LANG", "TMPDIR"])).filter(lambda name: "=" not in name and is_utf8(name)),
    WORDS,
    max_size=4,
)

# Directories that the BOSH root has, or that bpm makes.
VOLUMES = st.sampled_from(
    [
        "/var/vcap/data/a",
        "/var/vcap/data/a/b",
        "/var/vcap/data/a/b/c",
        "/var/vcap/data/c",
        "/var/vcap/data/job/d",
        "/var/vcap/data/job/tmp/e",
        "/var/vcap/data/x y",
        "/var/vcap/data/file",
        "/var/vcap/store/job/f",
        "/var/vcap/store/g",
        "/var/vcap/sys/run/job",
        "/var/vcap/sys/log/other",
    ]
)
# Below these nothing is mounted: runc would let the host see that, too, and bpm does not.
SHARED = st.sampled_from(["/var/vcap/data/c", "/var/vcap/store/g", "/var/vcap/sys/log/other"])
# Whatever the host has, in places where it meets the container's own.
UNRESTRICTED = st.sampled_from(
    [
        *("/mnt", "/home", "/opt", "/var/lib", "/usr/share", "/usr/../mnt", "/usr/bin/env", "/etc/hosts", "/etc/sv"),
        *("/dev", "/dev/shm", "/dev/pts", "/sys", "/sys/kernel", "/tmp"),
        *("/var/vcap/data/c", "/var/vcap/data/[ab]"),
    ]
)
WORKDIRS = ("", "/", "/tmp", "/var/vcap", "/usr/bin", "/dev", "/new/place", "relative", "/etc/../usr")

# runc's own threads are in the container when it starts, and count; and it takes some memory.
LIMITED = {
    (Limits, "memory"): st.none() | st.sampled_from(["64M", "100m", "1.5G"]),
    (Limits, "processes"): st.none() | st.integers(40, 200) | st.sampled_from([0, -1]),
    (Limits, "open_files"): st.none() | st.integers(64, 4096),
    (Limits, "core_file_size"): st.none() | st.integers(0, 1 << 20),
    (Limits, "cpu"): st.none() | st.sampled_from(["1", "2.5", "64"]),
}


GIVEN = ("CHOWN", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETUID", "SYS_ADMIN", "SYS_PTRACE", "bogus")


def is_utf8(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def processes() -> st.SearchStrategy[ProcessConfig]:
    """Any process that is the probe."""
    volume = {
        "writable": st.booleans(),
        "allow_executions": st.booleans(),
        "mount_only": st.booleans(),
    }
    meanings: dict[tuple[type, str], st.SearchStrategy[Any]] = {
        **MEANINGS,
        **LIMITED,
        (ProcessConfig, "name"): st.sampled_from([JOB, "worker", "a.b", "a b", "é", "-x"]),
        (ProcessConfig, "executable"): st.just(PROBE),
        (ProcessConfig, "args"): st.lists(WORDS.map("note:{}".format), max_size=3).map(tuple),
        (ProcessConfig, "workdir"): st.sampled_from(WORKDIRS),
        (ProcessConfig, "env"): VARIABLES.map(Variables),
        (ProcessConfig, "capabilities"): st.lists(st.sampled_from(GIVEN), max_size=4).map(tuple),
        (ProcessConfig, "additional_volumes"): st.lists(
            st.builds(Volume, path=VOLUMES, **volume) | st.builds(Volume, path=SHARED, shared=st.just(True), **volume),
            max_size=4,
        ).map(tuple),
        (Unsafe, "unrestricted_volumes"): st.lists(st.builds(Volume, path=UNRESTRICTED, **volume), max_size=3).map(
            tuple
        ),
        (Unsafe, "privileged"): st.sampled_from([False, False, True]),
        (Hooks, "pre_start"): st.sampled_from(["", "/bin/true"]),
    }
    return values(ProcessConfig, meanings)


class Text(str):
    """A bpm.yml, which is shown as such."""

    def __repr__(self) -> str:
        return f"\n{self}"


@st.composite
def texts(draw: st.DrawFn) -> Text:
    """Any such bpm.yml."""
    return write(draw(processes()))


def write(process: ProcessConfig) -> Text:
    """The process as a bpm.yml, with what differs from the defaults."""
    plain = ProcessConfig(name="", executable="")
    keys = {
        name: value
        for name, value in asdict(process, recurse=False).items()
        if value != getattr(plain, name) and name not in ("env",)
    }
    said = {name: told(value) for name, value in keys.items()}
    if process.env:
        said["env"] = dict(process.env)
    return Text(yaml.safe_dump({"processes": [said]}, allow_unicode=True, sort_keys=False))


def told(value: Any) -> Any:
    """A value of the models in YAML's terms, without what is not said."""
    if isinstance(value, tuple):
        return [told(element) for element in value]
    if isinstance(value, (str, int, bool)):
        return value
    return {
        name: told(field) for name, field in asdict(value, recurse=False).items() if field not in (None, "", (), False)
    }
