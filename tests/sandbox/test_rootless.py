"""The same calls as an ordinary user, in a user namespace that is chosen by itself."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import pwd
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies

from bpm import Bind, HostError, Join, Limits, PlanError, Proc, Sandbox, SpawnError, Tmpfs, aio, cgroup
from bpm.plan import LEAF, IdMap
from bpm.sandbox import ids
from tests.inside import wait_for
from tests.native.callers import CLONE_NEWNS, check, in_child, libc, mount, refuse_call, with_own_mounts
from tests.sandbox.ordinary import PR_SET_DUMPABLE, become, give_ranges, take_ranges

pytestmark = pytest.mark.needs_root  # to become someone else

CLONE_NEWUSER = 0x1000_0000

needs_newuidmap = pytest.mark.skipif(
    not os.path.exists("/usr/bin/newuidmap"), reason="newuidmap(1) is not installed (Debian: uidmap)"
)


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


@needs_newuidmap
def test_other_ids_by_newuidmap(as_user: Any, user: pwd.struct_passwd) -> None:
    """Inside they are what was asked for, outside they are of the user's own ranges, and nobody's; he is himself."""
    sandbox = Sandbox.system(user=0, group=0, groups=(5, 6))
    script = "echo $(id -u) $(id -G); awk '{print $1, $2}' /proc/self/uid_map"
    own = user.pw_uid

    assert f"0 0 5 6\n{own} {own}\n0 300000\n{own + 1} {300000 + own}\n" == as_user(lambda: output(sandbox, script))


@needs_newuidmap
def test_all_of_the_ranges_can_be_become(as_user: Any) -> None:
    """A program with the capabilities for it may be anybody inside, as servers that start as root are."""
    sandbox = Sandbox.system(user=0, capabilities=("SETUID", "SETGID"))
    script = "setpriv --reuid 7 --regid 8 --groups 9 id; setpriv --reuid 65535 --clear-groups true && echo last"
    seen = as_user(lambda: output(sandbox, script))

    assert "uid=7(lp) gid=8(mail) groups=8(mail),9(news)\nlast\n" == seen


@needs_newuidmap
@pytest.mark.parametrize("disposition", [signal.SIG_IGN, lambda number, frame: reap_all()], ids=["ignored", "reaped"])
def test_whoever_reaps_our_children(as_user: Any, disposition: Any) -> None:
    """newuidmap(1) may be reaped by someone else: what counts is that the maps are there."""

    def run() -> str:
        signal.signal(signal.SIGCHLD, disposition)
        return output(Sandbox.system(user=0), "id -u")

    assert "0\n" == as_user(run)


def reap_all() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


@needs_newuidmap
def test_newuidmap_is_quoted(as_user: Any, user: pwd.struct_passwd) -> None:
    """When it refuses, which here it does because the ranges have gone since they were looked up."""
    go_ours, go = os.pipe()

    def run() -> str:
        with Sandbox.system(user=0).prepare() as prepared:
            os.read(go_ours, 1)
            with pytest.raises(HostError) as caught:
                prepared.run(["true"])
        return str(caught.value)

    timer = threading.Timer(0.5, lambda: (take_ranges(user), os.write(go, b"x")))
    timer.start()
    try:
        words = as_user(run)
    finally:
        timer.join()
        give_ranges(user)
        os.close(go_ours)
        os.close(go)

    assert "cannot map the ids of a sandbox: newuidmap: " in words


def test_other_ids_without_ranges_are_refused(as_user: Any, user: pwd.struct_passwd) -> None:
    """The error says what it would take, and what there is."""
    take_ranges(user)
    try:
        with pytest.raises(
            PlanError, match=r"for 0 it takes newuidmap\(1\) and long enough ranges in /etc/subuid: .* none"
        ):
            as_user(Sandbox.system(user=0).plan)
    finally:
        give_ranges(user)
    with pytest.raises(PlanError, match=r"for 70000 it takes .*: those here make 0 to 65536 \(user\)"):
        as_user(Sandbox.system(user=70000).plan)


def test_best_effort_pretends_and_says_so(as_user: Any, user: pwd.struct_passwd, open_directory: Path) -> None:
    """Root inside is the user outside, whose files it writes; further groups are left out."""
    place = open_directory / "pretended"
    place.mkdir()
    os.chown(place, user.pw_uid, user.pw_gid)
    mounts = [Bind(str(place), "/out", writable=True)]
    sandbox = Sandbox.system(mounts=mounts, user=0, groups=(5,), best_effort=True)
    take_ranges(user)
    try:
        notices = as_user(lambda: [(notice.because, notice.text) for notice in sandbox.plan().notices])
        seen = as_user(lambda: output(sandbox, "id -u; id -g; touch /out/file"))
    finally:
        give_ranges(user)

    assert ("0\n0\n", user.pw_uid) == (seen, (place / "file").stat().st_uid)
    assert [
        ("user", f"0 inside is {user.pw_uid}, ourselves, outside"),
        ("group", f"0 inside is {user.pw_gid}, our own group, outside"),
        ("groups", "left out: 5, which only newgidmap(1) could map"),
    ] == notices


def test_groups_that_cannot_be_given_up_are_told(as_user: Any) -> None:
    """Of a user who maps himself alone, since setgroups(2) is denied to him; newgidmap(1) makes it possible."""
    sandbox = Sandbox.system()
    seen = as_user(lambda: output(sandbox, "id -G | wc -w"), groups=(27, 29))
    notices = as_user(lambda: [notice.text for notice in sandbox.plan().notices], groups=(27, 29))

    assert "2\n" == seen  # its own, and those two as the one that stands for all that are not mapped
    assert any("keeps our supplementary groups (27, 29)" in text for text in notices)


RANGES_OF_IDS = strategies.lists(
    strategies.tuples(strategies.integers(100_000, 2**31), strategies.integers(0, 70_000)), max_size=3
)


@given(strategies.integers(0, 140_000), RANGES_OF_IDS)
def test_a_map_of_ids_has_no_gap_and_no_overlap(own: int, ranges: list[tuple[int, int]]) -> None:
    """Every id of the ranges has one place inside, from 0 on; our own id has its own."""
    try:
        maps = ids._spread("user", own, (), tuple(ranges))
    except PlanError:
        pytest.fail("nothing was asked for")
    inside = sorted((one.inside, one.inside + one.count) for one in maps)
    outside = [(one.outside, one.count) for one in maps[1:]]

    assert IdMap(own, own, 1) == maps[0]
    assert sum(count for _, count in ranges) == sum(count for _, count in outside)
    assert all(end <= start for (_, end), (start, _) in pairwise(inside))
    assert [] == [(end, start) for (_, end), (start, _) in pairwise(inside) if end != start and start != own]


@pytest.mark.parametrize("kept", [1 << 31, 0], ids=["setfcap", "none"])
def test_root_without_capabilities_is_an_ordinary_user(kept: int) -> None:
    """The user namespace is chosen by what we may do, not by who we are; root needs CAP_SETFCAP to map itself."""

    def run() -> str:
        check(libc.capset((ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)(kept, kept, kept)))
        check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
        return output(Sandbox.system(), "id -u; tr -s ' ' </proc/self/uid_map")

    if kept:
        assert "0\n 0 0 1\n" == in_child(run)
    else:
        with pytest.raises(HostError, match="root without CAP_SYS_ADMIN needs CAP_SETFCAP to map itself"):
            in_child(run)


def test_limits_in_a_cgroup_that_was_delegated(user: pwd.struct_passwd) -> None:
    """Where an ordinary user may make cgroups, they limit and count as root's do, and go afterwards."""

    def run(places: list[Path]) -> tuple[Any, ...]:
        for place in places:
            next(file for file in (place / "tasks", place / "cgroup.procs") if file.exists()).write_text("0")
        become(user)
        system = Sandbox.system(limits=Limits(memory="32M", processes=6))
        done = system.run(["sh", "-c", "head -c 200000000 /dev/zero | tail"], capture_output=True)
        script = "for i in 1 2 3 4 5 6 7; do sleep 0.1 & done; wait"
        many = asyncio.run(aio.run(system, script, shell=True, stderr=subprocess.DEVNULL))
        left = {entry.name for place in places for entry in place.iterdir() if entry.is_dir()} - {LEAF}
        return done.limits_hit, done.resources.memory_peak, many.limits_hit, left

    with delegated(user) as places:
        met, peak, many, left = in_child(lambda: run(places))

    assert (("memory",), ("processes",), set()) == (met, many, left)
    assert 2**24 < peak <= 2**25


@contextmanager
def delegated(user: pwd.struct_passwd) -> Iterator[list[Path]]:
    """A cgroup in each hierarchy that counts or limits, given to the user as systemd does by Delegate=yes."""
    controllers, _ = cgroup.observe_hierarchies()
    wanted = {c.mount_point: c.version for c in controllers if c.name in ("memory", "pids", "cpu", "cpuacct")}
    places = [Path(top, f"bpm-delegated-{os.getpid()}") for top in wanted]
    try:
        for place, version in zip(places, wanted.values(), strict=True):
            if version == 2:
                give_controllers(place.parent)
            place.mkdir()
            files = [place / name for name in ("cgroup.procs", "cgroup.threads", "cgroup.subtree_control")]
            for path in (place, *(files if version == 2 else ())):
                os.chown(path, user.pw_uid, user.pw_gid)
        yield places
    finally:
        for place in places:
            for directory in (place / LEAF, place):
                if directory.exists():
                    wait_for(lambda directory=directory: remove(directory))  # type: ignore[misc]


def give_controllers(top: Path) -> None:
    try:
        (top / "cgroup.subtree_control").write_text("+memory +pids +cpu")
    except OSError as error:
        pytest.skip(f"nothing can be delegated here, at the top of a container's cgroups: {error}")


def remove(directory: Path) -> bool:
    """Once the kernel has let go of who was in it."""
    try:
        directory.rmdir()
    except OSError as error:
        return error.errno != errno.EBUSY
    return True


def test_the_caller_stays_as_it_was(as_user: Any) -> None:
    """Its dumpable flag too, by which it may look into its own /proc."""

    def run() -> int:
        Sandbox.system().run(["true"])
        return check(libc.prctl(3, 0, 0, 0, 0))

    assert 1 == as_user(run)


@pytest.mark.parametrize("kind", ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"])
def test_a_host_without_namespaces_says_so(as_user: Any, user: pwd.struct_passwd, kind: str) -> None:
    """By the kernel's own knob: here that of a user namespace in which no more may be made."""

    def run() -> list[str]:
        enter_user_namespace(user)
        Path(f"/proc/sys/user/max_{kind}_namespaces").write_text("0")
        answers = []
        with pytest.raises(HostError) as caught:
            Sandbox.system(share=()).run(["true"])
        answers.append(str(caught.value))
        with pytest.raises(HostError) as caught, Sandbox.system(share=()).prepare() as prepared:
            asyncio.run(aio.run(prepared, ["true"]))
        return [*answers, str(caught.value)]

    told = f"an ordinary user can make no sandbox here: user.max_{kind}_namespaces is 0: set it higher with sysctl"
    assert [f"{told} (No space left on device (ENOSPC))"] * 2 == as_user(run)


def test_a_limit_on_namespaces_that_is_reached_is_told(as_user: Any, user: pwd.struct_passwd) -> None:
    """Also where it is not 0."""

    def run() -> str:
        enter_user_namespace(user)
        Path("/proc/sys/user/max_user_namespaces").write_text("1")
        with Sandbox.system().popen(["sleep", "9"]) as process:
            with pytest.raises(HostError) as caught:
                Sandbox.system().run(["true"])
            process.kill()
        return str(caught.value)

    assert "a limit on namespaces is reached: see user.max_user_namespaces and its like" in as_user(run)


def enter_user_namespace(user: pwd.struct_passwd, inside: int | None = None) -> None:
    """Give this process (a fork, which is that user's) users and mounts of its own."""
    check(libc.unshare(CLONE_NEWUSER | CLONE_NEWNS))
    Path("/proc/self/setgroups").write_text("deny")
    for name, own in (("uid_map", user.pw_uid), ("gid_map", user.pw_gid)):
        Path("/proc/self", name).write_text(f"{own if inside is None else inside} {own} 1")


def test_root_of_a_user_namespace_is_an_ordinary_user(as_user: Any, user: pwd.struct_passwd) -> None:
    """As in a rootless container: with all capabilities there, and none to make a device."""

    def run() -> list[str]:
        enter_user_namespace(user, inside=0)
        with Sandbox.system().prepare() as prepared:
            return [
                output(Sandbox.system(), "id -u; cat /dev/null"),
                prepared.run(["id", "-g"], stdout=-1, text=True).stdout,
            ]

    assert ["0\n", "0\n"] == as_user(run)


@pytest.mark.parametrize(
    ("knob", "value", "call", "number"),
    [
        ("unprivileged_userns_clone", "0", "clone3", errno.EPERM),
        ("apparmor_restrict_unprivileged_userns", "1", "clone3", errno.EACCES),
        ("apparmor_restrict_unprivileged_userns", "1", "move_mount", errno.EPERM),
        ("apparmor_restrict_unprivileged_userns", "1", "move_mount", errno.EACCES),
    ],
)
def test_a_host_that_forbids_them_says_so(
    user: pwd.struct_passwd, knob: str, value: str, call: str, number: int
) -> None:
    """By the knobs of Debian and Ubuntu, which this kernel lacks: their files are made, and their answers given."""

    def run(value: str) -> str:
        with_own_mounts()
        mount(b"tmpfs", "/proc/sys/kernel", b"tmpfs")
        Path("/proc/sys/kernel", knob).write_text(value + "\n")
        refuse_call(call, number)
        become(user)
        with pytest.raises((HostError, SpawnError)) as caught:
            Sandbox.system().run(["true"])
        return str(caught.value)

    assert f"an ordinary user can make no sandbox here: kernel.{knob} is {value}: set it to" in in_child(
        lambda: run(value)
    )
    assert knob not in in_child(lambda: run("1" if value == "0" else "0"))


def test_a_filter_around_us_is_guessed(user: pwd.struct_passwd) -> None:
    """A container's seccomp filter says EPERM and nothing else."""

    def run() -> str:
        refuse_call("clone3", errno.EPERM)
        become(user)
        with pytest.raises(HostError) as caught:
            Sandbox.system().run(["true"])
        return str(caught.value)

    assert "an ordinary user can make no sandbox here: something forbids user namespaces: a seccomp" in in_child(run)


def test_a_container_that_masks_its_proc_is_told(user: pwd.struct_passwd) -> None:
    """The kernel gives no whole /proc to who sees a part of it: the error says so."""

    def run() -> str:
        with_own_mounts()
        mount(b"tmpfs", "/proc/sys", b"tmpfs")
        become(user)
        with pytest.raises(SpawnError) as caught:
            Sandbox.system().run(["true"])
        return str(caught.value)

    words = in_child(run)

    assert "proc on /proc (because mounts[" in words
    assert "a container whose /proc is masked" in words


def test_asyncio_too(as_user: Any) -> None:
    """aio needs no more than the rest."""

    def run() -> list[int]:
        async def main() -> list[int]:
            sandbox = Sandbox.system()
            return [done.returncode for done in await asyncio.gather(*(aio.run(sandbox, ["true"]) for _ in range(5)))]

        return asyncio.run(main())

    assert [0] * 5 == as_user(run)


def test_a_tmpfs_of_its_own(as_user: Any) -> None:
    """It may write there, and no program is executed from it."""
    script = "cp /bin/true /s/true && /s/true"
    done = as_user(lambda: output(Sandbox.system(mounts=[Tmpfs("/s", size="1M")]), script))

    assert "Permission denied" in done
