"""The same calls as an ordinary user, in a user namespace that is chosen by itself."""

from __future__ import annotations

import ctypes
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpm import Bind, HostError, Join, Limits, PlanError, Proc, Sandbox, Tmpfs
from bpm.sandbox import namespaces
from tests.native.callers import check, in_child, libc

pytestmark = pytest.mark.needs_root  # to become someone else

PR_SET_DUMPABLE = 4
RANGES = (Path("/etc/subuid"), Path("/etc/subgid"))


@pytest.fixture(scope="module")
def user() -> Iterator[pwd.struct_passwd]:
    """An ordinary user, with ranges of ids where newuidmap(1) is installed."""
    name = f"bpmuser{os.getpid()}"
    before = {path: path.read_bytes() for path in RANGES if path.exists()}
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    for path in RANGES:
        with path.open("a") as file:
            file.write(f"{name}:300000:65536\n")
    try:
        yield pwd.getpwnam(name)
    finally:
        subprocess.run(["userdel", name], check=True)
        for path in RANGES:
            if path in before:
                path.write_bytes(before[path])
            else:
                path.unlink()


@pytest.fixture
def as_user(user: pwd.struct_passwd) -> Any:
    """Run a function as that user."""

    def run(function: Any) -> Any:
        def inside() -> Any:
            os.setgroups([])
            os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
            os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
            check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
            return function()

        return in_child(inside)

    return run


def output(sandbox: Sandbox, script: str, **keys: Any) -> str:
    done = sandbox.run(script, shell=True, capture_output=True, text=True, **keys)
    return str(done.stdout + done.stderr)


def test_the_system_is_there_and_read_only(as_user: Any, user: pwd.struct_passwd) -> None:
    """With its own ids, no capability, a /proc and a /dev of its own."""
    script = "id -u; id -g; grep CapEff /proc/self/status; echo $$; touch /x /usr/x 2>&1 | grep -c Read; : >/dev/null"
    seen = as_user(lambda: output(Sandbox.system(), script))

    assert f"{user.pw_uid}\n{user.pw_gid}\nCapEff:\t0000000000000000\n2\n2\n" == seen


def test_it_can_be_prepared(as_user: Any) -> None:
    """And then spawns as often as one likes."""

    def run() -> list[int]:
        with Sandbox.system().prepare() as prepared:
            return [prepared.run(["sh", "-c", "exit 3"]).returncode for _ in range(5)]

    assert [3] * 5 == as_user(run)


def test_a_network_of_its_own(as_user: Any) -> None:
    """No interface but lo, and a /sys that shows it."""
    seen = as_user(lambda: output(Sandbox.system(share=()), "ls /sys/class/net"))

    assert "lo\n" == seen


def test_its_own_files_can_be_bound(as_user: Any, user: pwd.struct_passwd, open_directory: Path) -> None:
    """Writable, and what is written is its own outside, too."""
    place = open_directory / "own"
    place.mkdir()
    os.chown(place, user.pw_uid, user.pw_gid)
    sandbox = Sandbox.system(mounts=[Bind(str(place), "/out", writable=True)])
    as_user(lambda: output(sandbox, "echo done > /out/file"))

    assert ("done\n", user.pw_uid) == ((place / "file").read_text(), (place / "file").stat().st_uid)


def test_limits_that_need_no_cgroup(as_user: Any) -> None:
    """Wall time and rlimits hold for everyone."""
    limits = Limits(wall_time=0.2, open_files=55)
    done = as_user(lambda: plain(Sandbox.system(limits=limits).run("ulimit -n; sleep 9", shell=True, stdout=-1)))

    assert (b"55\n", "timeout", ("wall_time",)) == done


def plain(done: Any) -> tuple[Any, ...]:
    return done.stdout, done.reason, done.limits_hit


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"limits": Limits(memory="64M")}, "limits.memory"),
        ({"limits": Limits(processes=5)}, "limits.processes"),
        ({"limits": Limits(cpu="0.5")}, "limits.cpu"),
        ({"measure": True}, "measure"),
        ({"join": (Join("/proc/self/ns/net"),)}, "join[0]"),
        ({"share": ("pid", "network")}, "mounts[0]"),
        ({"mounts": (), "share": ("pid", "network")}, "share"),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_name(as_user: Any, change: dict[str, Any], field: str) -> None:
    """A limit without a cgroup of its own, a namespace of others: the error names the field."""
    sandbox = Sandbox(**{"mounts": (Proc(),), **change})

    with pytest.raises(PlanError) as caught:
        as_user(sandbox.plan)
    assert field == caught.value.key


def test_best_effort_goes_without_and_says_so(as_user: Any) -> None:
    """The plan has a notice for each; what can be enforced still is."""
    sandbox = Sandbox.system(limits=Limits(memory="64M", processes=5, wall_time=0.2), best_effort=True)

    def run() -> tuple[Any, ...]:
        notices = sandbox.plan().notices
        return tuple(n.because for n in notices), sandbox.run(["sleep", "9"]).reason

    assert (("limits.memory", "limits.processes"), "timeout") == as_user(run)


@pytest.mark.skipif(not os.path.exists("/usr/bin/newuidmap"), reason="newuidmap(1) is not installed (package uidmap)")
def test_other_ids_by_newuidmap(as_user: Any) -> None:
    """Root, and groups, of the user's own ranges: inside they are what was asked for, outside they are nobody's."""
    sandbox = Sandbox.system(user=0, group=0, groups=(5, 6))

    assert "0 0 5 6\n300000\n" == as_user(
        lambda: output(sandbox, "echo $(id -u) $(id -G); awk '$1==0{print $2}' /proc/self/uid_map")
    )


def test_other_ids_without_ranges_are_refused(as_user: Any, user: pwd.struct_passwd) -> None:
    """The error says what it would take."""
    for path in RANGES:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(user.pw_name)))

    with pytest.raises(PlanError, match=r"newuidmap\(1\) and ranges in /etc/subuid \(user\)"):
        as_user(Sandbox.system(user=0).plan)


def test_the_caller_stays_as_it_was(as_user: Any) -> None:
    """Its dumpable flag too, by which it may look into its own /proc."""

    def run() -> int:
        Sandbox.system().run(["true"])
        return check(libc.prctl(3, 0, 0, 0, 0))

    assert 1 == as_user(run)


@pytest.mark.parametrize(
    ("knob", "value", "words"),
    [
        ("user/max_user_namespaces", "0", "user.max_user_namespaces is 0"),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone is 0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns is 1"),
    ],
)
def test_the_knob_is_named(tmp_path: Path, knob: str, value: str, words: str) -> None:
    """Of a host that forbids user namespaces."""
    file = tmp_path / "proc/sys" / knob
    file.parent.mkdir(parents=True)
    file.write_text(value + "\n")

    assert words in namespaces.find_knob(str(tmp_path))
    file.write_text("1\n" if value == "0" else "0\n")
    assert "" == namespaces.find_knob(str(tmp_path))


def test_a_host_without_user_namespaces_says_so(as_user: Any) -> None:
    """By the knob: here that of a user namespace in which no more may be made, whose capabilities are given up."""

    def run() -> str:
        check(libc.unshare(0x1000_0000))  # CLONE_NEWUSER
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        check(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()))
        with pytest.raises(HostError) as caught:
            Sandbox.system().run(["true"])
        return str(caught.value)

    assert "an ordinary user can make no sandbox here: user.max_user_namespaces is 0" in as_user(run)


def test_a_tmpfs_of_its_own(as_user: Any) -> None:
    """It may write there, and no program is executed from it."""
    script = "cp /bin/true /s/true && /s/true"
    done = as_user(lambda: output(Sandbox.system(mounts=[Tmpfs("/s", size="1M")]), script))

    assert "Permission denied" in done
