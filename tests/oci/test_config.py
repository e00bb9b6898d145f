"""The config.json of a plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings

from bpm import Limits, PlanError, ProcessPlan, Unsafe, Volume, load, make_plan, oci_config
from bpm.config import Hooks
from bpm.oci.config import SETTINGS, device_rule
from bpm.plan import Controller, Embedded, HostFacts, Node
from bpm.plan.devices import DEVICE_RULES
from bpm.plan.limits import CGROUP_LIMITS
from tests.oci.schema import needs_schema, violations
from tests.plan.making import plan_of
from tests.plan.test_laws import Case, plannable

SHARED = Path(__file__).parents[3] / "shared/jobs"


def config_of(*facts: HostFacts, **keys: Any) -> dict[str, Any]:
    return oci_config(plan_of(*facts, **keys), "x86_64")


def host(version: int, **more: Any) -> HostFacts:
    """A host that has the controllers in that version of cgroups."""
    names = ("memory", "pids", "cpu", "devices") if version == 1 else ("memory", "pids", "cpu")
    unified = Controller("", 2, "/sys/fs/cgroup") if version == 2 else None
    homes = tuple(Controller(name, version, f"/sys/fs/cgroup/{name if version == 1 else ''}") for name in names)
    return HostFacts(controllers=homes, unified=unified, **more)


# What every configuration is


@needs_schema
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(plannable())
def test_any_plan_follows_the_published_schema(made: tuple[Case, ProcessPlan]) -> None:
    """Whatever the job and the host, there is a valid configuration, or an error that names the key."""
    _, plan = made
    try:
        config = oci_config(plan, "x86_64")
    except PlanError as error:
        assert error.key and error.reason
    else:
        assert [] == violations(json.loads(json.dumps(config)))


@needs_schema
def test_the_schema_would_notice() -> None:
    """A configuration with a word that OCI does not have is no valid one."""
    config = config_of()
    config["linux"]["seccomp"]["defaultAction"] = "SCMP_ACT_MAYBE"
    config["process"]["cwd"] = 5

    assert 2 == len(violations(config))


@needs_schema
@pytest.mark.skipif(not SHARED.is_dir(), reason="the jobs of public releases are not beside this checkout")
def test_the_jobs_of_public_releases_can_be_exported() -> None:
    """Every process of every job, and what is written follows the schema."""
    found = {}
    files = sorted(SHARED.rglob("*.yml"))
    for file in files:
        job = load(file.read_bytes(), job=file.stem)
        for process in job.processes:
            found[file.stem, process.name] = violations(oci_config(make_plan(job, process, HostFacts()), "x86_64"))

    assert len(found) > len(files) > 30
    assert {} == {name: wrong for name, wrong in found.items() if wrong}


def test_it_is_the_same_for_the_same_plan() -> None:
    """Byte by byte."""
    texts = {json.dumps(config_of(capabilities=("CHOWN", "KILL"), env={"A": "1"})) for _ in range(3)}

    assert 1 == len(texts)


# What becomes of what


def test_mounts_keep_their_order_and_their_options() -> None:
    """A recursive bind holds what lies below it to the same; whatever is bound follows the host, not the other way."""
    volume = Volume(path="/var/vcap/data/x", writable=True)
    plan = plan_of(additional_volumes=(volume,))
    mounts = oci_config(plan, "x86_64")["mounts"]
    by_target = {mount["destination"]: mount["options"] for mount in mounts}

    assert [mount.target for mount in plan.mounts] == [mount["destination"] for mount in mounts]
    assert ["bind", "exec", "nosuid", "nodev", "ro", "slave"] == by_target["/usr"]
    assert ["rbind", "noexec", "nosuid", "nodev", "rw", "rnoexec", "rnosuid", "rnodev", "rslave"] == by_target[
        volume.path
    ]
    assert [] == by_target["/proc"]


def test_a_shared_volume_stays_a_peer_of_the_hosts_mount() -> None:
    """What is mounted below it inside is seen outside, as with bpm."""
    plan = plan_of(additional_volumes=(Volume(path="/var/vcap/data/x", shared=True),))
    (options,) = [m["options"] for m in oci_config(plan, "x86_64")["mounts"] if m["destination"] == "/var/vcap/data/x"]

    assert ("shared" in options, "rslave" in options) == (True, False)


def test_targets_are_absolute_and_clean() -> None:
    """As the plan means them: everything starts at the root."""
    config = config_of(additional_volumes=(Volume(path="/var/vcap/data//x/../y/"),), workdir="tmp/.")

    assert "/var/vcap/data/y" in [mount["destination"] for mount in config["mounts"]]
    assert "/tmp" == config["process"]["cwd"]


@pytest.mark.parametrize("version", [1, 2])
def test_limits_are_the_same_words_from_either_version_of_cgroups(version: int) -> None:
    """Memory and swap, processes and processor time, in OCI's words."""
    limits = Limits(memory="64M", swap="16M", processes=10, cpu="1.5", open_files=100, core_file_size=-1)
    config = config_of(host(version), limits=limits)
    resources = config["linux"]["resources"]

    assert {"limit": 64 << 20, "swap": 80 << 20} == resources["memory"]
    assert {"limit": 10} == resources["pids"]
    assert {"quota": 150_000, "period": 100_000} == resources["cpu"]
    assert [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 100},
        {"type": "RLIMIT_CORE", "soft": 2**64 - 1, "hard": 2**64 - 1},
    ] == config["process"]["rlimits"]


def test_what_only_cgroup_v2_has_is_written_as_it_is() -> None:
    """A weight, and a limit from which on memory is taken back."""
    resources = config_of(host(2), limits=Limits(memory_high="1M", cpu_weight=50))["linux"]["resources"]

    assert {"memory.high": str(1 << 20), "cpu.weight": "50"} == resources["unified"]


def test_no_processes_limit_is_none() -> None:
    """0 is no limit."""
    assert {"limit": -1} == config_of(host(1), limits=Limits(processes=0))["linux"]["resources"]["pids"]


def test_swap_is_left_alone_where_it_is_not_counted() -> None:
    """A runtime would refuse to start what asks for it there."""
    facts = host(1, swap_accounting=False)

    assert {"limit": 1 << 20} == config_of(facts, limits=Limits(memory="1M"))["linux"]["resources"]["memory"]


def test_every_limit_has_a_word() -> None:
    """Whatever limit is added to bpm needs a line in SETTINGS."""
    files = {file.name for row in CGROUP_LIMITS for file in (row.v1, row.v2) if file}

    assert files == SETTINGS.keys()


@pytest.mark.parametrize("version", [1, 2])
def test_devices_are_shut_but_for_the_standard_ones(version: int) -> None:
    """First all, then the plan's are let in."""
    first, *rest = config_of(host(version))["linux"]["resources"]["devices"]

    assert {"allow": False, "access": "rwm"} == first
    assert [device_rule(str(rule)) for rule in DEVICE_RULES] == rest


def test_a_node_beyond_the_standard_ones_is_named() -> None:
    """Those that any runtime makes are not."""
    plan = plan_of()
    node = Node("/dev/fuse", 10, 229, 0o600, "x")

    assert "devices" not in oci_config(plan, "x86_64")["linux"]
    (found,) = oci_config(evolve(plan, nodes=(*plan.nodes, node)), "x86_64")["linux"]["devices"]
    assert {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o600, "uid": 0, "gid": 0} == found


def test_the_hook_runs_as_bpm_runs_it(tmp_path: Path) -> None:
    """With the container's environment alone, no arguments, and an empty stdin, though a runtime writes to it."""
    script, told = tmp_path / "a hook", tmp_path / "told"
    environ = "open('/proc/self/environ').read()"  # Python adds to its own
    look = f"json.dump([sys.argv, {environ}, sys.stdin.read()], open({str(told)!r}, 'w'))"
    script.write_text(f"#!{sys.executable} -I\nimport json, sys\n{look}\n")
    script.chmod(0o755)
    plan = plan_of(hooks=Hooks(pre_start=str(script)), env={"a.b": "two\nlines", "PATH": "", "-x": "1"})
    (hook,) = oci_config(plan, "x86_64")["hooks"]["createRuntime"]
    state = "x" * (1 << 20) + "\nmore"
    subprocess.run(hook["args"], executable=hook["path"], env={"OTHER": "1"}, input=state, text=True, check=True)

    expected = "".join(f"{variable.name}={variable.value}\0" for variable in plan.env)
    assert [[str(script)], expected, ""] == json.loads(told.read_text())


def test_privileged_is_root_without_a_filter() -> None:
    """With capabilities in all five sets, nothing masked, and setuid programs that work."""
    config = config_of(unsafe=Unsafe(privileged=True))

    assert (0, False) == (config["process"]["user"]["uid"], config["process"]["noNewPrivileges"])
    assert 5 == sum("CAP_SYS_ADMIN" in names for names in config["process"]["capabilities"].values())
    assert ("seccomp" in config["linux"], [], []) == (
        False,
        config["linux"]["maskedPaths"],
        config["linux"]["readonlyPaths"],
    )


def test_the_shutdown_signal_is_the_annotation_for_it() -> None:
    """As converters of images write it."""
    assert {"org.opencontainers.image.stopSignal": "SIGINT"} == config_of(shutdown_signal="INT")["annotations"]


# What OCI has no words for


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"args": ("a", "\udcff")}, "not UTF-8, as everything in an OCI bundle must be: '\\udcff' (args[1])"),
        (
            {"env": {"A": "\udcff"}},
            "not UTF-8, as everything in an OCI bundle must be: 'A=\\udcff' (processes[0].env.A)",
        ),
        (
            {"hooks": Hooks(pre_start="bin/hook")},
            "the path of an OCI hook must be absolute, without a '=': bin/hook (processes[0].hooks.pre_start)",
        ),
        (
            {"unsafe": Unsafe(unrestricted_volumes=(Volume(path="/"),))},
            "an OCI runtime makes the container's root itself: nothing can be mounted there"
            " (processes[0].unsafe.unrestricted_volumes[0])",
        ),
        (
            {"unsafe": Unsafe(unrestricted_volumes=(Volume(path="a"),))},
            "the path of what is mounted must be absolute: 'a' (processes[0].unsafe.unrestricted_volumes[0])",
        ),
    ],
)
def test_what_cannot_be_exported_names_its_key(keys: dict[str, Any], error: str) -> None:
    """Nothing is left out in silence."""
    with pytest.raises(PlanError) as raised:
        config_of(**keys)

    assert error == str(raised.value)


def test_a_sandbox_is_not_exported() -> None:
    """It may hold its program's descriptors, and ends with it."""
    with pytest.raises(PlanError, match="a sandbox"):
        oci_config(evolve(plan_of(), embedded=Embedded()), "x86_64")


def test_a_machine_without_a_filter_is_an_error() -> None:
    """Nothing is exported unfiltered."""
    with pytest.raises(PlanError, match="no seccomp filter can be made for the machine riscv64"):
        oci_config(plan_of(), "riscv64")
