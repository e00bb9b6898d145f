"""Starting: what a predecessor left is healed, and a failure leaves nothing."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

import bpm
from bpm import AlreadyRunning, Container, Environment, JobProcess, PlanError, SpawnError
from bpm.cgroup import Group
from bpm.plan import Mount, Workdir
from bpm.runtime.records import STARTING
from bpm.runtime.room import room_for
from bpm.runtime.startup import record_ahead
from tests.conftest import BoshRoot
from tests.runtime.test_container import POLITE, STONE, started, wait_for

pytestmark = pytest.mark.needs_root

Make = Callable[..., JobProcess]


def group_of(process: JobProcess) -> Group:
    return Group.from_paths(directory.path for directory in process.plan().cgroup.directories)


def has_ended(container: Container) -> bool:
    """Whether it has ended, or does at once: a process leaves its cgroup a moment before it is a zombie."""
    try:
        container.wait(2)
    except TimeoutError:
        return False
    return True


# Healing


def test_a_running_one_is_not_started_again(web: Make):
    """bpm.start() of what runs raises AlreadyRunning, and it runs on."""
    process = web(POLITE)
    with started(process) as container:
        with pytest.raises(AlreadyRunning, match=f"with pid {container.pid}"):
            bpm.start(process.plan())
        assert container.running


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_cut_record_is_healed_by_start(web: Make, environment: Environment, length: int):
    """Where the record of something running was cut short, start ends that by its cgroup, and starts anew."""
    process = web(STONE)
    old = started(process)
    os.truncate(environment.records.state_file(old.id), length % len(old.state.to_json()))
    with process.start() as new:
        assert (True, True) == (has_ended(old), new.running)
        new.kill()
    old.close()


@pytest.mark.parametrize("text", ["", "{", '{"pid": 1}', "\0" * 4096])
def test_a_broken_record_is_healed_by_stop(web: Make, environment: Environment, text: str):
    """Where the record of something running is broken, stop ends that by its cgroup, and removes the record."""
    process = web(STONE)
    old = started(process)
    Path(environment.records.state_file(old.id)).write_text(text)
    process.stop()
    assert (True, "stopped", False) == (has_ended(old), process.status().state, group_of(process).populated)
    assert [] == os.listdir(environment.layout.state)
    old.close()


@pytest.mark.parametrize("heal", ["start", "stop"])
def test_a_start_cut_short_is_healed(web: Make, environment: Environment, heal: str):
    """A start that was killed between the clone and its second record is ended by the next start or stop."""
    process = web(STONE)
    old = started(process)
    environment.records.write(evolve(record_ahead(process.plan()), phase=STARTING))
    assert "stopped" == process.status().state
    if heal == "start":
        with process.start() as new:
            assert "running" == process.status().state
            new.kill()
    process.stop()
    assert (True, "stopped", ()) == (has_ended(old), process.status().state, environment.records.ids())
    old.close()


def test_a_reboot_is_healed(web: Make, environment: Environment):
    """A record of another boot is no container, whatever process has its pid now."""
    process = web(POLITE)
    forged = evolve(record_ahead(process.plan()), phase="running", boot_id="before", pid=os.getpid(), start_time=1)
    environment.records.write(forged)
    assert "stopped" == process.status().state
    with process.start() as container:
        assert container.running


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.04])
def test_a_killed_start_is_healed(web: Make, environment: Environment, delay: float):
    """A bpm killed at any instant of a start leaves something that the next start and stop clear away."""
    process = web(POLITE)
    program = (
        "import os, bpm\n"
        f"process = bpm.Environment({environment.root!r}, {environment.user.name!r}).process('web')\n"
        "process.plan(); print('go', flush=True)\n"
        "process.start()"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    starter.stdout.readline()
    time.sleep(delay)
    starter.send_signal(signal.SIGKILL)
    starter.wait()
    starter.stdout.close()
    process.start().close()
    assert "running" == process.status().state
    process.stop()
    assert (False, ()) == (group_of(process).populated, environment.records.ids())


# Failing


def left_behind(environment: Environment, process: JobProcess) -> tuple[object, ...]:
    cgroups = [path for path in group_of(process).directories if os.path.exists(path)]
    return environment.records.ids(), cgroups, sorted(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("change", "stage", "text"),
    [
        (
            lambda plan: evolve(plan, mounts=(*plan.mounts, Mount("/usr/none", "/etc", "bind", ("bind",), "the key"))),
            "mounts",
            "item {last} of {last}: bind /etc on /usr/none (because the key): No such file or directory (ENOENT); "
            "its target does not exist, and lies on the host, where bpm creates nothing",
        ),
        (
            lambda plan: evolve(plan, mounts=(*plan.mounts, Mount("/x", "x", "nofs", (), "the key"))),
            "mounts",
            "item {last} of {last}: nofs on /x (because the key): No such device (ENODEV)",
        ),
        (
            lambda plan: evolve(plan, workdir=Workdir("/etc/passwd", "the key")),
            "workdir",
            "workdir: /etc/passwd (because the key): Not a directory (ENOTDIR)",
        ),
        (
            lambda plan: evolve(plan, argv=("/nope",)),
            "program",
            "program: /nope does not exist",
        ),
    ],
)
def test_a_failed_spawn_says_where(web: Make, environment: Environment, change: Callable, stage: str, text: str):
    """A spawn that stops names stage, item, what that is and why it is there, and nothing is left of it."""
    process = web("exit 0")
    plan = change(process.plan())
    before = left_behind(environment, process)
    with pytest.raises(SpawnError) as caught:
        bpm.start(plan)
    assert stage == caught.value.stage
    assert str(caught.value).startswith("cannot start web: ")
    assert str(caught.value).endswith(text.format(last=len(plan.mounts)))
    assert before == left_behind(environment, process)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ("memory: 60K", "the limit of 61440 bytes of memory (because processes[0].limits.memory)"),
        ("processes: 1", "the limit of 1 processes (because processes[0].limits.processes)"),
    ],
)
def test_a_limit_too_small_says_so(web: Make, environment: Environment, limits: str, reason: str):
    """A limit that does not even hold the start itself is named as the reason, with its key."""
    process = web("exit 0", f"limits: {{{limits}}}")
    before = left_behind(environment, process)
    with pytest.raises(SpawnError) as caught:
        bpm.start(process.plan())
    assert str(caught.value).endswith(f"{reason} is too small to start it")
    assert before == left_behind(environment, process)


def test_a_refused_limit_leaves_nothing(web: Make, environment: Environment):
    """A cgroup value that the kernel refuses fails the start, and leaves no cgroup."""
    process = web("exit 0", "limits: {memory: 60M}")
    plan = process.plan()
    bad = evolve(plan.cgroup.settings[0], value="lots")
    before = left_behind(environment, process)
    with pytest.raises(bpm.CgroupError):
        bpm.start(evolve(plan, cgroup=evolve(plan.cgroup, settings=(bad,))))
    assert before == left_behind(environment, process)


def test_a_plan_that_cannot_be_lowered_leaves_nothing(web: Make, environment: Environment):
    """A plan with a word that has no number fails the start, and leaves nothing."""
    process = web("exit 0")
    before = left_behind(environment, process)
    plan = process.plan()
    with pytest.raises(PlanError):
        bpm.start(evolve(plan, namespaces=(evolve(plan.namespaces[0], kind="moon"),)))
    assert before == left_behind(environment, process)


# Descriptors


def test_few_descriptors_are_enough(web: Make, environment: Environment):
    """Under a hard limit of 64 descriptors a start works, and the program has the caller's own limit."""
    process = web("ulimit -Hn; echo ready; sleep 100 & wait")
    program = (
        "import resource, bpm\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (30, 64))\n"
        f"bpm.Environment({environment.root!r}, {environment.user.name!r}).process('web').start().close()\n"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (30, 64)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    wait_for(process.log_paths[0], "ready")
    assert "64\nready\n" == Path(process.log_paths[0]).read_text()


def test_room_is_given_back():
    """Where the soft limit is too low it is raised meanwhile, and what the program is to have is said."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, before[1]))
    try:
        with room_for(100) as limits:
            assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == 248
            assert [(40, before[1])] == [(limit.soft, limit.hard) for limit in limits]
        assert (40, before[1]) == resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


# Side by side


def test_threads_start_side_by_side(environment: Environment, bosh_root: BoshRoot):
    """Threads that start several processes at once each get their own."""
    names = [f"p{i}" for i in range(6)]
    entries = "".join(f"- {{name: {name}, executable: /bin/sleep, args: [100]}}\n" for name in names)
    bosh_root.add_job("many", "processes:\n" + entries)
    processes = [environment.process("many", name) for name in names]
    containers: list[bpm.Container] = []
    threads = [threading.Thread(target=lambda p=p: containers.append(p.start())) for p in processes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(names) == len({container.pid for container in containers})
    assert ["running"] * len(names) == [status.state for status in environment.list().processes]
    for container in containers:
        with container:
            pass
