"""Why a program ended, what it used, and which limit it met."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bpm import Limits, PlanError, Prepared, ProcessFailed, Sandbox, SpawnError

pytestmark = pytest.mark.needs_root

GREEDY = "x = bytearray(200 << 20)"
FORKS = """
import os, sys, time
made = 0
try:
    for _ in range(40):
        if os.fork() == 0:
            time.sleep(9)
        made += 1
except BlockingIOError:
    print(made)
"""


def test_an_exit_status_is_an_exit(prepared: Prepared) -> None:
    """Of 137 too, which a shell takes for SIGKILL."""
    done = prepared.run(["sh", "-c", "exit 137"])

    assert (137, "exited", ()) == (done.returncode, done.reason, done.limits_hit)


def test_a_signal_of_its_own_is_a_signal(prepared: Prepared) -> None:
    """Also SIGKILL, and with a core dump said to be one."""
    done = prepared.run(["sh", "-c", "kill -KILL $$"])

    assert (-9, "signalled") == (done.returncode, done.reason)


def test_memory(system: Sandbox) -> None:
    """Filling memory ends in oom, and the peak is the limit."""
    done = system.replace(limits=Limits(memory="32M")).run(["python3", "-c", GREEDY])

    assert (-9, "oom", ("memory",)) == (done.returncode, done.reason, done.limits_hit)
    assert 31 << 20 <= (done.resources.memory_peak or 0) <= 32 << 20


@pytest.mark.parametrize("size", [4, 12, 28, 36, 60, 76])
@pytest.mark.parametrize("once", [True, False], ids=["once", "prepared"])
def test_memory_too_little_to_start(system: Sandbox, size: int, once: bool) -> None:
    """Whatever call it is that met the limit, and whoever the kernel killed for it, the limit is named."""
    sandbox = system.replace(limits=Limits(memory=f"{size}K"))
    words = rf"the limit of {size * 1024} bytes of memory \(because limits\.memory\) is too small to start it"
    with sandbox.prepare() as prepared:
        run = sandbox.run if once else prepared.run
        with pytest.raises(SpawnError, match=words):
            run(["true"])


def test_memory_in_the_error(system: Sandbox) -> None:
    """check=True says so."""
    with pytest.raises(ProcessFailed, match=r"killed for its memory limit \(oom, SIGKILL\); limits met: memory; "):
        system.replace(limits=Limits(memory="32M")).run(["python3", "-c", GREEDY], check=True)


def test_a_part_killed_for_memory_is_told_though_the_program_exits(system: Sandbox) -> None:
    """The program survives its child; the limit was met all the same."""
    done = system.replace(limits=Limits(memory="32M")).run(["sh", "-c", f"python3 -c '{GREEDY}'; exit 0"])

    assert (0, "exited", ("memory",)) == (done.returncode, done.reason, done.limits_hit)


def test_processes(system: Sandbox) -> None:
    """The fork too many is refused inside, and counted outside; all the others end with the program."""
    done = system.replace(limits=Limits(processes=10)).run(["python3", "-c", FORKS], capture_output=True, text=True)

    # Init and the program count.
    assert ("8\n", 0, ("processes",)) == (done.stdout, done.returncode, done.limits_hit)
    assert done.resources.processes_peak in (10, None)


def test_wall_time(system: Sandbox) -> None:
    """It is enforced inside, whether anyone waits or not, and is no error."""
    done = system.replace(limits=Limits(wall_time=0.2)).run(["sleep", "9"])

    assert (-9, "timeout", ("wall_time",)) == (done.returncode, done.reason, done.limits_hit)
    assert 0.2 <= done.resources.wall < 2


def test_wall_time_for_one_that_ignores_all_signals(system: Sandbox) -> None:
    """Nothing can be ignored."""
    done = system.replace(limits=Limits(wall_time=0.2)).run(["sh", "-c", "trap '' TERM INT HUP; while :; do :; done"])

    assert "timeout" == done.reason


def test_cpu_time(system: Sandbox) -> None:
    """A second of processor time is SIGXCPU."""
    done = system.replace(limits=Limits(cpu_time=1)).run(["sh", "-c", "while :; do :; done"])

    assert (-signal.SIGXCPU, ("cpu_time",)) == (done.returncode, done.limits_hit)
    assert 0.5 < done.resources.user + done.resources.system < 2.5


def test_file_size(system: Sandbox) -> None:
    """A file too large is SIGXFSZ."""
    script = ["dd", "if=/dev/zero", "of=/tmp/x", "bs=1024", "count=10"]
    done = system.replace(limits=Limits(file_size=4096)).run(script, capture_output=True)

    assert (-signal.SIGXFSZ, ("file_size",)) == (done.returncode, done.limits_hit)


def test_open_files_and_core_files(system: Sandbox) -> None:
    """As rlimits, soft and hard."""
    limits = Limits(open_files=77, core_file_size=0)
    done = system.replace(limits=limits).run("ulimit -n; ulimit -Hn; ulimit -c", shell=True, capture_output=True)

    assert [b"77", b"77", b"0"] == done.stdout.split()


def test_cpu(system: Sandbox) -> None:
    """A tenth of a processor gives about a tenth of the time, and that it wanted more is told."""
    limits = Limits(cpu="0.1", wall_time=0.6)
    done = system.replace(limits=limits).run(["sh", "-c", "while :; do :; done"])

    assert (done.resources.cpu or 0) < 0.3
    assert ("cpu", "wall_time") == done.limits_hit


def test_processor_time_that_suffices(system: Sandbox) -> None:
    """Who does not use up what a limit leaves has not met it."""
    done = system.replace(limits=Limits(cpu=os.cpu_count() or 1)).run(["true"])

    assert (0, ()) == (done.returncode, done.limits_hit)


def test_limits_may_be_numbers(system: Sandbox) -> None:
    """Of bytes and of processors; what the plan says is what its cgroup is held to."""
    limits = Limits(memory=32 << 20, cpu=0.5, processes=9)
    sandbox = system.replace(limits=limits)
    settings = [setting for setting in sandbox.plan().cgroup.settings if not setting.optional]
    with sandbox.popen(["sleep", "9"]) as process:
        files = {setting.file: read_in(process.cgroups, setting.file) for setting in settings}
        process.kill()

    assert Limits(memory="33554432B", cpu="0.5", processes=9) == limits
    assert {setting.file: setting.value for setting in settings} == files
    assert len(files) >= 3


def read_in(directories: tuple[str, ...], name: str) -> str:
    (text,) = [path.read_text() for path in (Path(directory, name) for directory in directories) if path.exists()]
    return text.strip()


def test_what_was_used_is_measured_where_asked(system: Sandbox) -> None:
    """measure=True counts without limiting."""
    code = "x = bytearray(30 << 20)\nfor i in range(10**6): pass"
    used = system.replace(measure=True).run(["python3", "-c", code]).resources

    assert 30 << 20 < (used.memory_peak or 0) < 100 << 20
    assert 0 < (used.cpu or 0) < 10
    assert 30 << 20 < (used.max_rss or 0) < 100 << 20
    assert 0 < used.user + used.system <= used.wall * 2


def test_what_no_cgroup_counted_is_not_told(prepared: Prepared) -> None:
    """None, and not a guess."""
    used = prepared.run(["true"]).resources

    assert (None, None, None) == (used.memory_peak, used.cpu, used.processes_peak)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(memory="32"), "limits.memory"),
        (Limits(cpu="x"), "limits.cpu"),
        (Limits(wall_time=0), "limits.wall_time"),
        (Limits(wall_time=-1), "limits.wall_time"),
        (Limits(open_files=2**64), "limits.open_files"),
    ],
)
def test_a_limit_that_is_none_is_refused_by_its_name(system: Sandbox, limits: Limits, message: str) -> None:
    """When it is planned, before anything is made."""
    with pytest.raises(PlanError, match=message):
        system.replace(limits=limits).plan()
