"""What a job's process sees, tries and gets: the same as its plan says."""

from __future__ import annotations

import errno
import os
import platform
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bpm import Environment
from tests.conftest import BoshRoot
from tests.inside import Seen, read_seen
from tests.integration.agreement import disagreements
from tests.integration.conftest import Probing

pytestmark = pytest.mark.needs_root

CLONE_NEWUSER = 0x1000_0000
CLONE3, UNKNOWN = 435, 9999


def refused(seen: Seen) -> dict[str, str]:
    """Each attempt's errno by name, or its result."""
    return {name: errno.errorcode[-answer] if answer < 0 else str(answer) for name, answer in seen.attempts.items()}


CONFIGS = {
    "nothing more": {},
    "limits": {"limits": {"memory": "64M", "processes": 20, "open_files": 300, "core_file_size": 4096}},
    "environment": {"env": {"ZULU": "1", "ALPHA": "two words", "PATH": "/bin", "EMPTY": "", "UNI": "\u00e9"}},
    "workdir": {"workdir": "/var/vcap/data/web"},
    "capabilities": {"capabilities": ["NET_BIND_SERVICE", "CHOWN"]},
    "disks": {"ephemeral_disk": True, "persistent_disk": True},
    "privileged": {"unsafe": {"privileged": True}},
    "host's processes": {"unsafe": {"host_pid_namespace": True}},
}


@pytest.mark.parametrize("keys", CONFIGS.values(), ids=CONFIGS)
def test_the_inside_is_what_the_plan_says(probing: Probing, bosh_root: BoshRoot, keys: dict[str, object]) -> None:
    """Mounts with their options, ids, capabilities, limits, environment, directory, namespaces: as planned."""
    (bosh_root.path / "store").mkdir()
    if "workdir" in keys:
        keys = {**keys, "ephemeral_disk": True}
    told = probing.run(**keys)

    assert ([], 0) == (disagreements(told.plan, told.seen), told.record.exit_code)


def test_started_in_the_background_it_is_the_same(probing: Probing) -> None:
    """bpm.start() makes the same container as a run, with its output in the log files."""
    process = probing.process("sleep:1")
    plan = process.plan()
    container = process.start()
    container.wait(20)
    container.close()
    seen = read_seen(Path(process.log_paths[0]).read_bytes())
    process.stop()

    assert [] == disagreements(plan, seen)
    logs = [os.path.realpath(path) for path in process.log_paths]
    assert ["/dev/null", *logs] == [
        seen.descriptors[0].target,
        *(outside(probing, seen.descriptors[fd].target) for fd in (1, 2)),
    ]
    assert {os.O_APPEND} == {seen.descriptors[fd].flags & os.O_APPEND for fd in (1, 2)}


def outside(probing: Probing, path: str) -> str:
    """Where a path below /var/vcap is on the host."""
    return os.path.realpath(path.replace("/var/vcap", str(probing.root.path), 1))


def test_below_var_vcap_is_only_what_belongs_to_the_job(probing: Probing) -> None:
    """data, jobs, packages and sys; of the jobs only its own, and of the data its own and the packages'."""
    probing.process(job="neighbour")
    seen = probing.see(
        *(f"list:/var/vcap{name}" for name in ("", "/jobs", "/data", "/sys", "/sys/log", "/packages")),
        *(f"mode:/var/vcap/{name}" for name in ("data", "jobs/web", "packages/probe", "sys/log/web", "data/packages")),
    )
    counts = [answer for name, answer in seen.attempts.items() if name.startswith("list:")]
    modes = [answer for name, answer in seen.attempts.items() if name.startswith("mode:")]

    assert [4, 1, 2, 1, 1, 1] == counts
    assert all(mode > 0 for mode in modes)


def test_with_a_persistent_disk_there_is_a_store(probing: Probing, bosh_root: BoshRoot) -> None:
    """And only then."""
    (bosh_root.path / "store").mkdir()
    seen = probing.see("list:/var/vcap", "create:/var/vcap/store/web/x", persistent_disk=True)

    assert [5, 0] == list(seen.attempts.values())


def test_a_neighbour_is_not_seen(probing: Probing, bosh_root: BoshRoot) -> None:
    """Neither its job, its data, its logs, nor its processes."""
    neighbour = probing.process("sleep:20000", job="neighbour", ephemeral_disk=True)
    with neighbour.start() as container:
        paths = [f"list:/var/vcap/{place}/neighbour" for place in ("jobs", "data", "sys/log", "sys/run")]
        paths += [f"list:{bosh_root.path}", "list:/srv", "list:/work", "list:/root"]
        seen = probing.see(*paths, f"kill:{container.pid}:0", f"list:/proc/{container.pid}", "list:/dev/shm")
        neighbour.stop()
    answers = refused(seen)

    assert {"ENOENT"} == {answers[path] for path in paths}
    assert ("ESRCH", "ENOENT", "0") == tuple(answers[name] for name in list(answers)[-3:])


def test_what_is_masked_cannot_be_read(probing: Probing) -> None:
    """A masked file reads as empty and a masked directory has no entries, where they exist."""
    paths = [cover.path for cover in probing.process().plan().masked]
    seen = probing.see(
        *(f"mode:{path}" for path in paths), *(f"read:{path}" for path in paths), *(f"list:{path}" for path in paths)
    )
    there = [path for path in paths if seen.attempts[f"mode:{path}"] > 0]
    directories = [path for path in there if stat.S_ISDIR(seen.attempts[f"mode:{path}"])]

    assert "/sys/firmware" in directories
    assert {0} == {seen.attempts[f"list:{path}"] for path in directories}
    # Either it is empty, or this user may not even open it.
    assert {0, -errno.EACCES} >= {seen.attempts[f"read:{path}"] for path in there if path not in directories}


def test_what_is_read_only_cannot_be_written(probing: Probing) -> None:
    """Nothing of the system, of the job, or of the kernel's settings is open for writing."""
    paths = ("/usr/bin/env", "/etc/passwd", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/sys/kernel/mm")
    creates = (
        "/x",
        "/usr/x",
        "/var/x",
        "/var/vcap/x",
        "/var/vcap/jobs/web/x",
        "/var/vcap/packages/x",
        "/sys/x",
        "/proc/x",
    )
    seen = probing.see(*(f"write:{path}" for path in paths), *(f"create:{path}" for path in creates))

    assert {name: answer for name, answer in refused(seen).items() if not answer.startswith("E")} == {}


def test_what_is_read_only_cannot_be_written_by_root_either(probing: Probing) -> None:
    """A privileged process meets read-only mounts, though it may do anything else."""
    creates = ("/usr/x", "/etc/x", "/var/vcap/jobs/web/x", "/var/vcap/packages/x")
    seen = probing.see(*(f"create:{path}" for path in creates), unsafe={"privileged": True})

    assert {"EROFS"} == set(refused(seen).values())


def test_where_it_may_write_it_can(probing: Probing) -> None:
    """Its temporary directories, its logs and its data."""
    places = ("/tmp", "/var/vcap/data/web", "/var/vcap/data/web/tmp", "/var/vcap/sys/log/web", "/dev/shm")
    seen = probing.see(*(f"create:{place}/x{i}" for i, place in enumerate(places)), ephemeral_disk=True)

    assert {"0"} == set(refused(seen).values())


def test_the_three_temporary_directories_are_one(probing: Probing) -> None:
    """/tmp, /var/tmp and data/web/tmp are the same place, and it is the job's own on the host."""
    told = probing.run("create:/tmp/x", "mode:/var/tmp/x", "mode:/var/vcap/data/web/tmp/x")

    assert all(answer >= 0 for answer in told.seen.attempts.values())
    assert (probing.root.path / "data/web/tmp/x").exists()


def test_nothing_can_be_executed_where_it_can_be_written(probing: Probing, bosh_root: BoshRoot) -> None:
    """A program in /tmp is refused, the same in a package is not."""
    (bosh_root.path / "data/web/tmp").mkdir(parents=True)
    program = bosh_root.path / "data/web/tmp/program"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o755)
    seen = probing.see("exec:/tmp/program", "exec:/var/vcap/data/web/tmp/program", "exec:/bin/true")

    assert ["EACCES", "EACCES", "0"] == list(refused(seen).values())


@pytest.mark.parametrize(
    ("attempt", "answer"),
    [
        ("mount:/tmp", "EPERM"),
        ("unmount:/proc", "EPERM"),
        (f"unshare:{CLONE_NEWUSER}", "EPERM"),
        ("unshare:0x20000", "EPERM"),
        (f"syscall:{CLONE3}:0:0", "ENOSYS"),
        (f"syscall:{UNKNOWN}", "ENOSYS"),
        ("mknod:/tmp/null", "EPERM"),
        ("ptrace:1", "EPERM"),
        ("write:/proc/1/exe", "EACCES"),
        ("read:/proc/1/environ", "EACCES"),
        ("list:/proc/1/fd", "EACCES"),
        ("write:/proc/1/mem", "EACCES"),
        ("list:/sys/fs/cgroup", "0"),
        ("list:/dev/pts", "1"),
        ("exec:/bin/true", "0"),
    ],
)
def test_what_an_unprivileged_process_tries(probing: Probing, attempt: str, answer: str) -> None:
    """Each is answered as the default profile and the kernel do."""
    assert {attempt: answer} == refused(probing.see(attempt))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="syscall numbers of x86_64")
def test_the_filter_holds_for_calls_by_number(probing: Probing) -> None:
    """io_uring, bpf, keys, and a new user namespace through clone are refused."""
    new_user = f"syscall:56:{CLONE_NEWUSER | 17}:0:0:0:0"
    seen = probing.see("syscall:425:8:0", "syscall:321:0:0:0", "syscall:250:0:0:0:0:0", new_user)

    assert {"EPERM"} == set(refused(seen).values())


def test_a_capability_is_worth_what_it_says(probing: Probing) -> None:
    """Without NET_RAW no raw socket, with it there is one; AF_INET, SOCK_RAW, IPPROTO_ICMP."""
    raw = f"syscall:{41 if platform.machine() == 'x86_64' else 198}:2:3:1"
    without, given = probing.see(raw), probing.see(raw, capabilities=["NET_RAW"])

    assert ("EPERM", True) == (refused(without)[raw], given.attempts[raw] > 2)


def test_processes_of_the_host_are_seen_only_if_asked_for(probing: Probing) -> None:
    """With host_pid_namespace a process outside is in /proc; without it, there are two processes."""
    # Not our own number, which in a container may be as small as those inside.
    with subprocess.Popen(["/bin/sleep", "1000"]) as outside:
        tasks = f"list:/proc/{outside.pid}/task"
        own, hosts = probing.see(tasks), probing.see(tasks, unsafe={"host_pid_namespace": True})
        outside.kill()

    assert ("ENOENT", 2, True) == (refused(own)[tasks], own.pid, hosts.pid != 2)
    assert hosts.attempts[tasks] >= 1


def test_an_additional_volume_is_as_open_as_it_says(probing: Probing, bosh_root: BoshRoot) -> None:
    """Read-only and noexec by default; writable and allow_executions each loosen one."""
    base = bosh_root.path / "data/volumes"
    volumes: list[dict[str, Any]] = [
        {"path": f"{base}/plain"},
        {"path": f"{base}/writable", "writable": True},
        {"path": f"{base}/executable", "allow_executions": True},
    ]
    for volume in volumes:
        directory = Path(volume["path"])
        directory.mkdir(parents=True)
        (directory / "true").write_bytes(Path("/bin/true").read_bytes())
        (directory / "true").chmod(0o755)
    told = probing.run(
        *(f"create:{volume['path']}/x" for volume in volumes),
        *(f"exec:{volume['path']}/true" for volume in volumes),
        additional_volumes=volumes,
    )

    assert ["EROFS", "0", "EROFS", "EACCES", "EACCES", "0"] == list(refused(told.seen).values())
    assert [] == disagreements(told.plan, told.seen)


def test_what_the_host_mounts_below_a_volume_is_as_strict(probing: Probing, bosh_root: BoshRoot) -> None:
    """A file system mounted below a volume comes along, and is read-only like the volume."""
    volume = bosh_root.path / "data/volume"
    (volume / "below").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "none", volume / "below"], check=True)
    try:
        (volume / "below/file").touch()
        seen = probing.see(
            f"create:{volume}/below/x", f"read:{volume}/below/file", additional_volumes=[{"path": str(volume)}]
        )
    finally:
        subprocess.run(["umount", volume / "below"], check=True)

    assert ["EROFS", "0"] == list(refused(seen).values())


def test_two_processes_do_not_share_memory_files(probing: Probing, environment: Environment) -> None:
    """What one leaves in /dev/shm or as a message queue, the other does not see."""
    first = probing.process("create:/dev/shm/x", "create:/dev/mqueue/x", "sleep:20000", job="first")
    with first.start() as container:
        seen = probing.see("list:/dev/shm", "list:/dev/mqueue")
        assert container.running
        first.stop()

    assert [0, 0] == list(seen.attempts.values())
