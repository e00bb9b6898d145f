"""Names, limits and hands at the cgroup that nobody would think of; on this host's own cgroups."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bpm import CgroupError, Environment, JobProcess, PlanError, SpawnError
from bpm.cgroup import observe_hierarchies, observe_systemd
from bpm.plan import LEAF
from tests.cgroup.hosts import eventually
from tests.conftest import BoshRoot

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]

WAITS = "processes:\n- name: {0}\n  executable: /bin/sleep\n  args: ['100']\n  limits: {{memory: 64M, processes: 9}}\n"


def test_a_job_of_240_bytes(environment: Environment, bosh_root: BoshRoot) -> None:
    """It starts, is found and is stopped, beside another whose name differs in the last byte."""
    names = ["j" * 239 + last for last in "ab"]
    for name in names:
        bosh_root.add_job(name, WAITS.format(name))
    processes = [environment.process(name) for name in names]
    for process in processes:
        process.start().close()
    found = [(process.status().state, process.report().usage.processes_limit) for process in processes]
    cgroups = {path for process in processes for path in process.running().state.cgroup}

    assert [("running", 9)] * 2 == found
    assert 240 == len({Path(f"/proc/{process.pid()}/cgroup").read_text() for process in processes}) * 120
    for process in processes:
        process.stop()
    assert [] == [path for path in cgroups if os.path.exists(path)]


def own_cgroup(path: str) -> Path:
    """Where this process is, in the hierarchy of that cgroup."""
    controllers, unified = observe_hierarchies()
    homes = [home for home in (*controllers, unified, observe_systemd(unified)) if home is not None]
    home = max((home for home in homes if path.startswith(home.mount_point + "/")), key=lambda h: len(h.mount_point))
    own = Path(home.mount_point + home.own_path)
    return own / LEAF if (own / LEAF).exists() else own


def removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError:
        pass  # A process that has just been moved away keeps it busy for a moment.
    return not os.path.exists(path)


def test_a_cgroup_removed_under_it(web: Make) -> None:
    """Who moves the processes away and removes the cgroup finds the container running still, and it can be stopped."""
    process = web("exec sleep 100", "limits: {memory: 64M}")
    with process.start() as container:
        pids = container.pid, container.program
        for path in reversed(container.state.cgroup):
            for pid in pids:
                (own_cgroup(path) / "cgroup.procs").write_text(str(pid))
            # systemd removes an empty scope by itself.
            assert eventually(lambda path=path: removed(path))
        report = process.report()

        assert ("running", None) == (report.status.state, report.usage.memory_limit)
        assert signal.SIGTERM == process.stop().signal
    assert "stopped" == process.status().state


@pytest.mark.parametrize(
    ("limits", "file", "value"),
    [
        ("memory: 0B", "memory", None),
        ("memory: 0.5B", "memory", None),
        ("memory: 1000T", "memory", 1000 << 40),
        ("processes: 0", "processes", None),
        ("processes: 1000000000", "processes", None),
        ("cpu: '100000'", "", None),
    ],
)
def test_limits_that_limit_nothing(web: Make, limits: str, file: str, value: int | None) -> None:
    """Limits of nothing, as upstream reads them, and of more than the machine has, start what they are for."""
    process = web("sleep 100", f"limits: {{{limits}}}")
    with process.start():
        usage = process.report().usage

    assert value == (getattr(usage, f"{file}_limit") if file else None)


@pytest.mark.parametrize("limits", [*(f"memory: {size}K" for size in (4, 12, 28, 36, 60, 76)), "processes: 1"])
def test_limits_below_what_a_start_takes(web: Make, limits: str) -> None:
    """A limit that is too small for the start itself is the reason that is given, by its key and value, wherever the
    start has met it: while it mounts, while init is executed, or in who holds a scope."""
    key, _, value = limits.partition(": ")
    number = int(value.removesuffix("K")) * (1024 if key == "memory" else 1)
    words = rf"{number} .*because processes\[0\]\.limits\.{key}\).* is too small to start it"
    with pytest.raises((SpawnError, CgroupError), match=words):
        web("exit 0", f"limits: {{{limits}}}").start()


def test_no_controller_no_start(environment: Environment, bosh_root: BoshRoot) -> None:
    """A limit whose controller this host has not got fails the start by its key; the others are enforced."""
    present = {controller.name for controller in observe_hierarchies()[0]}
    keys = {"memory": "memory: 64M", "pids": "processes: 9", "cpu": "cpu: '1'"}
    enforced = {limit for controller, limit in keys.items() if controller in present}
    for controller in keys.keys() - present:
        limits = f"limits: {{{keys[controller]}}}"
        bosh_root.add_job(controller, f"processes:\n- name: {controller}\n  executable: /bin/true\n  {limits}\n")
        with pytest.raises(PlanError, match=rf"no cgroup controller {controller} .*limits\."):
            environment.process(controller).start()
    script = f"  args: [-c, exit 3]\n  limits: {{{', '.join(enforced)}}}\n"
    bosh_root.add_job("web", f"processes:\n- name: web\n  executable: /bin/sh\n{script}")
    with environment.process("web").start() as container:
        assert 3 == container.wait(20).exit_code


@pytest.mark.skipif(not os.path.isdir("/run/systemd/system"), reason="systemd is not pid 1 here")
def test_a_reload_of_systemd_changes_nothing(web: Make) -> None:
    """The limits and the devices of a running container are as they were, and so is its end."""
    script = "trap 'head -c 1 /dev/disk; exit 3' TERM; mknod /dev/disk b 7 0; echo ready; while :; do sleep 0.1; done"
    process = web(script, "limits: {memory: 64M, processes: 9}\nunsafe: {privileged: true}")
    with process.start() as container:
        assert eventually(lambda: "ready" in Path(process.log_paths[0]).read_text())
        before = container.measure()
        for command in ("daemon-reload", "daemon-reexec"):
            subprocess.run(["systemctl", command], check=True, timeout=60)
        after = container.measure()
        record = container.stop()

    assert (64 << 20, 9) == (before.memory_limit, before.processes_limit)
    assert (before.memory_limit, before.processes_limit) == (after.memory_limit, after.processes_limit)
    assert (3, False) == (record.exit_code, record.oom_killed)
    assert "Operation not permitted" in Path(process.log_paths[1]).read_text()
