"""What a program sees inside: the pieces, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpm import (
    DEFAULT_POLICY,
    Bind,
    BpmError,
    Dev,
    Join,
    PlanError,
    PrepareError,
    Proc,
    Sandbox,
    Symlink,
    SyscallRule,
    Tmpfs,
)
from tests.inside import Seen, read_seen

pytestmark = pytest.mark.needs_root

BASE = (Bind("/usr"), Symlink("/bin", "usr/bin"), Symlink("/lib", "usr/lib"), Symlink("/lib64", "usr/lib64"))
AF_INET, SOCK_STREAM = 2, 1


@pytest.fixture
def see(probe: Path) -> Any:
    """What the probe sees in a sandbox, and what its attempts are answered."""

    def look(sandbox: Sandbox, *attempts: str, **keys: Any) -> Seen:
        with_probe = sandbox.replace(mounts=(*sandbox.mounts, Bind(str(probe), "/probe")))
        with with_probe.prepare() as prepared:
            once = with_probe.run(["/probe", *attempts], capture_output=True, check=True, **keys)
            again = prepared.run(["/probe", *attempts], capture_output=True, check=True, **keys)
        first, second = read_seen(once.stdout), read_seen(again.stdout)
        assert same(first) == same(second), "a template makes no difference"
        return second

    return look


def same(seen: Seen) -> dict[str, Any]:
    """What does not depend on when it was seen."""
    mounts = sorted((m.target, m.kind, m.options, m.super_options) for m in seen.mounts)
    status = {key: seen.status[key] for key in ("Uid", "Gid", "Groups", "CapBnd", "CapEff", "NoNewPrivs", "Seccomp")}
    return {"mounts": mounts, "status": status, "cwd": seen.cwd, "env": seen.environment}


def test_an_empty_sandbox_is_empty(see: Any) -> None:
    """No file but the root, nobody's rights, no way to write."""
    seen = see(Sandbox(mounts=[Proc()]), "create:/x", "list:/")

    assert {"/", "/proc", "/probe", "/dev/null"} == {
        mount.target for mount in seen.mounts if not mount.target.startswith("/proc/")
    }
    assert ((65534,) * 4, (65534,) * 4, ()) == (seen.ids("Uid"), seen.ids("Gid"), seen.ids("Groups"))
    assert [0] * 5 == [seen.bits(key) for key in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")]
    assert ("1", "2") == (seen.status["NoNewPrivs"], seen.status["Seccomp"])
    assert "sandbox" == seen.hostname
    assert -30 == seen.attempts["create:/x"]  # EROFS


def test_every_namespace_is_its_own(see: Any) -> None:
    """But the user namespace, for which there is no need."""
    seen = see(Sandbox(mounts=[Proc()]))
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")}
    shared = {name for name, where in seen.namespaces.items() if where == ours.get(name)}

    assert {"user", "time", "time_for_children"} >= shared


def test_namespaces_can_be_shared(see: Any) -> None:
    """Each by its name."""
    seen = see(Sandbox(mounts=[Proc()], share=("network", "uts", "ipc", "cgroup", "pid")))
    ours = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("net", "uts", "ipc", "cgroup", "pid")}

    assert ours == {name: seen.namespaces[name] for name in ours}


def test_the_system_is_read_only(see: Any) -> None:
    """All but /tmp and /dev/shm refuses to be written to."""
    seen = see(Sandbox.system(user=0), "create:/x", "create:/usr/x", "create:/etc/x", "create:/dev/x", "create:/tmp/x")

    assert [-30, -30, -30, -30, 0] == list(seen.attempts.values())


def test_binds_are_as_strict_as_they_say(see: Any, tmp_path: Path) -> None:
    """Read-only by default, writable by name, and what can be written cannot be executed."""
    (tmp_path / "in").mkdir()
    sandbox = Sandbox(
        mounts=[
            Proc(),
            Bind(str(tmp_path), "/strict"),
            Bind(str(tmp_path), "/open", writable=True),
            Bind(str(tmp_path), "/both", writable=True, executable=True),
            Bind("/no/such/path", optional=True),
        ],
        user=0,
    )
    seen = see(sandbox, "create:/strict/x", "create:/open/x")  # made by the run before
    options = {name: set(seen.mount_at(name).options) for name in ("/strict", "/open", "/both")}

    assert [-17, -17] == list(seen.attempts.values())
    assert {"ro", "nosuid", "nodev"} <= options["/strict"]
    assert {"rw", "nosuid", "nodev", "noexec"} <= options["/open"]
    assert "noexec" not in options["/strict"] | options["/both"]


def test_each_program_has_its_own_tmpfs(system: Sandbox) -> None:
    """Of the size that was asked for; nothing of one program is seen by the next."""
    sandbox = system.replace(mounts=(*system.mounts, Tmpfs("/scratch", size="1M")))
    with sandbox.prepare() as prepared:
        first = prepared.run("echo x >/tmp/a >/dev/shm/b >/scratch/c && head -c 2M /dev/zero > /scratch/d", shell=True)
        second = prepared.run(["find", "/tmp", "/dev/shm", "/scratch", "-type", "f"], capture_output=True)

    assert (1, b"") == (first.returncode, second.stdout)


def test_a_bind_can_lie_in_a_tmpfs(system: Sandbox, tmp_path: Path) -> None:
    """The tmpfs is fresh each time, and the bind is in it each time."""
    (tmp_path / "file").write_text("here")
    os.chmod(tmp_path, 0o755)
    sandbox = system.replace(mounts=(*system.mounts, Bind(str(tmp_path / "file"), "/tmp/deep/file")), user=0)
    with sandbox.prepare() as prepared:
        assert [b"here"] * 2 == [prepared.run(["cat", "/tmp/deep/file"], capture_output=True).stdout for _ in range(2)]


def test_the_root_can_be_a_directory(tmp_path: Path, probe: Path) -> None:
    """Read-only, or writable as a Bind."""
    for name in ("proc", "dev"):
        (tmp_path / name).mkdir()
    (tmp_path / "probe").write_bytes(probe.read_bytes())
    os.chmod(tmp_path / "probe", 0o755)
    attempts = []
    for root in (str(tmp_path), Bind(str(tmp_path), writable=True, executable=True)):
        done = Sandbox(root=root, mounts=[Proc(), Dev()], user=0).run(["/probe", "create:/x"], capture_output=True)
        attempts.append(json.loads(done.stdout)["attempts"]["create:/x"])

    assert ([-30, 0], True) == (attempts, (tmp_path / "x").exists())


def test_user_groups_and_capabilities(see: Any) -> None:
    """As named; a capability is effective without being root."""
    seen = see(Sandbox(mounts=[Proc()], user=1234, group=55, groups=(7, "daemon"), capabilities=["NET_BIND_SERVICE"]))

    assert (1234, 55, (1, 7)) == (seen.ids("Uid")[0], seen.ids("Gid")[0], tuple(sorted(seen.ids("Groups"))))
    assert [1 << 10] * 5 == [seen.bits(key) for key in ("CapBnd", "CapPrm", "CapEff", "CapInh", "CapAmb")]


def test_environment_and_workdir_and_umask(see: Any) -> None:
    """Nothing of ours is in it."""
    sandbox = Sandbox(mounts=[Proc(), Tmpfs("/w")], env={"B": "2", "A": "1"}, workdir="/w/deep", umask=0o77)
    seen = see(sandbox, "create:/w/x")

    assert (("A=1", "B=2"), "/w/deep", "0077") == (seen.environment, seen.cwd, seen.status["Umask"])


def test_run_can_differ_in_environment_and_directory(see: Any) -> None:
    """env= and cwd= of run() are in place of the sandbox's."""
    seen = see(Sandbox(mounts=[Proc(), Bind("/usr")]), env={"X": "y"}, cwd="/usr")

    assert (("X=y",), "/usr") == (seen.environment, seen.cwd)


def test_masks(system: Sandbox) -> None:
    """What speaks of the machine is empty, its controls read-only; Proc(masked=False) has them."""
    script = "wc -c < /proc/timer_list; grep -c ' /proc/sys ro,' /proc/self/mountinfo"
    masked = system.replace(user=0).run(script, shell=True, capture_output=True).stdout.split()
    mounts = [Proc(masked=False) if isinstance(piece, Proc) else piece for piece in system.mounts]
    bare = system.replace(user=0, mounts=mounts).run(script, shell=True, capture_output=True).stdout.split()

    assert [b"0", b"1"] == masked
    assert bare[0] != b"0"
    assert b"0" == bare[1]


def test_joining_the_namespaces_of_another(system: Sandbox) -> None:
    """By pidfd or by path."""
    with system.replace(share=(), hostname="other").popen(["sleep", "99"]) as other:
        theirs = os.readlink(f"/proc/{other.pid}/ns/net")
        joins = (Join(other.pidfd, ("network", "uts")), Join(f"/proc/{other.pid}/ns/net", ("network",)))
        seen = [
            system.replace(share=(), join=[join]).run(
                "readlink /proc/self/ns/net; uname -n", shell=True, capture_output=True, text=True
            )
            for join in joins
        ]
        other.kill()

    assert [f"{theirs}\nother\n", f"{theirs}\nsandbox\n"] == [done.stdout for done in seen]


def test_joining_a_pid_namespace(system: Sandbox) -> None:
    """The program is born in it, beside who was there before."""
    mounts = [piece for piece in system.mounts if not isinstance(piece, Proc)]
    with system.popen(["sleep", "99"]) as other:
        sandbox = system.replace(mounts=mounts, join=[Join(other.pidfd, ("pid",))])
        done = sandbox.run("kill -0 2 && echo $$", shell=True, capture_output=True)
        other.kill()

    assert b"3\n" == done.stdout


def test_a_joined_pid_namespace_comes_without_a_proc(system: Sandbox) -> None:
    """It would show another one's processes, so it is refused."""
    with pytest.raises(PlanError, match=r"/proc .*\(mounts"):
        system.replace(join=[Join("/proc/self/ns/pid", ("pid",))]).plan()


POLICY = DEFAULT_POLICY


@pytest.mark.parametrize(
    ("policy", "attempts"),
    [
        ("default", [0, 0, -1]),
        (None, [0, 0, 0]),
        (POLICY.denying("socket"), [-1, -1, -1]),
        (POLICY.denying("socket", errno="EACCES"), [-13, -13, -1]),
        (POLICY.denying_if(SyscallRule("socket", 0, AF_INET)), [-1, 0, -1]),
        (POLICY.allowing_if(SyscallRule("socket", 0, AF_INET)), [0, -1, -1]),
        (POLICY.allowing("add_key", "keyctl", "unshare"), [0, 0, 0]),
        (POLICY.denying("socket").logging(), [0, 0, 0]),
    ],
    ids=["default", "none", "deny", "errno", "deny if", "allow if", "allow", "log"],
)
def test_seccomp_policies(system: Sandbox, policy: Any, attempts: list[int]) -> None:
    """By name, of one's own, by argument, logging, or none: socket(AF_INET), socket(AF_UNIX), unshare(CLONE_FILES)."""
    code = """
import ctypes, socket
libc = ctypes.CDLL(None, use_errno=True)
def attempt(call, *args):
    ctypes.set_errno(0)
    return 0 if call(*args) >= 0 else -ctypes.get_errno()
print([attempt(libc.socket, 2, 1, 0), attempt(libc.socket, 1, 1, 0), attempt(libc.unshare, 0x400)])
"""
    done = system.replace(seccomp=policy).run(["/usr/bin/python3", "-c", code], capture_output=True, text=True)

    assert f"{attempts}\n" == done.stdout, done.stderr


def test_a_policy_can_kill(system: Sandbox) -> None:
    """By SIGSYS."""
    policy = POLICY.denying("sync").killing()

    assert -31 == system.replace(seccomp=policy).run(["sync"]).returncode


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"capabilities": ["CAP_CHOWN"]}, "unknown capability: CAP_CHOWN; write CHOWN"),
        ({"capabilities": ["BOGUS"]}, "capabilities[0]"),
        ({"share": ["mount"]}, "share[0]"),
        ({"share": ["network"], "join": [Join("/x")]}, "both shared and joined"),
        ({"join": [Join("/x", ("user",))]}, "join[0]"),
        ({"seccomp": "strict"}, "there is no policy named 'strict'"),
        ({"seccomp": POLICY.allowing("no_such_call")}, "no_such_call"),
        ({"workdir": "relative"}, "workdir"),
        ({"workdir": "/proc/self"}, "workdir"),
        ({"user": "no-such-user"}, "no user 'no-such-user'"),
        ({"group": "no-such-group"}, "no group 'no-such-group'"),
        ({"mounts": [Bind("relative")]}, "mounts[0]"),
        ({"mounts": [Bind("/usr"), Tmpfs("/usr")]}, "/usr is mounted twice: mounts[0] does it too (mounts[1])"),
        ({"mounts": [Bind("/etc", "/proc/x")]}, "nothing can be mounted below /proc"),
        ({"mounts": [Tmpfs("/a/../b")]}, "not a clean absolute path"),
        ({"mounts": [Bind("/no/such/source")]}, "/no/such/source"),
        ({"join": [Join("/no/such/ns")]}, "/no/such/ns"),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_name(change: dict[str, Any], message: str) -> None:
    """Before anything runs, by an error that names the field."""
    with pytest.raises((PlanError, PrepareError)) as caught:
        Sandbox(**change).prepare()

    assert message in str(caught.value)


def test_several_names_are_not_one_string() -> None:
    """A forgotten comma is caught."""
    with pytest.raises(TypeError, match=r"write \('network',\)"):
        Sandbox(share="network")


def test_the_same_sandbox_makes_the_same_plan(system: Sandbox) -> None:
    """Byte by byte; and it can be read back."""
    plan = system.plan(["ls", "-l"])

    assert plan.to_json() == system.replace().plan(["ls", "-l"]).to_json()
    assert type(plan).from_json(plan.to_json()) == plan
    assert {"mounts[0]", "default: root", "workdir", "user"} <= {*because_of(json.loads(plan.to_json()))}


def because_of(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from ([value["because"]] if "because" in value else [])
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from because_of(one)


def test_a_sandbox_is_a_value(system: Sandbox) -> None:
    """Equal, hashable, and not to be changed."""
    assert system == Sandbox.system()
    assert {system: 1}[Sandbox.system()] == 1
    with pytest.raises(AttributeError):
        system.user = 0  # type: ignore[misc]


def test_nothing_is_shown_of_a_secret_environment(system: Sandbox) -> None:
    """Not in what others can read of init."""
    with system.popen(["sleep", "9"], env={"SECRET": "x", "PATH": "/usr/bin"}) as process:
        shown = Path(f"/proc/{process.pid}/environ").read_bytes() + Path(f"/proc/{process.pid}/cmdline").read_bytes()
        process.kill()

    assert b"SECRET" not in shown


def test_a_vanished_source_is_what_it_was(tmp_path: Path) -> None:
    """A prepared sandbox shows what it opened, though the path is another directory now."""
    (tmp_path / "source").mkdir()
    (tmp_path / "source/old").touch()
    os.chmod(tmp_path, 0o755)
    sandbox = Sandbox.system(mounts=[Bind(str(tmp_path / "source"), "/source")], user=0)
    with sandbox.prepare() as prepared:
        (tmp_path / "source").rename(tmp_path / "moved")
        (tmp_path / "source").mkdir()
        seen = [prepared.run(["ls", "/source"], capture_output=True).stdout for _ in range(2)]

    assert [b"old\n"] * 2 == seen


def test_what_the_host_mounts_below_a_bind_arrives(tmp_path: Path) -> None:
    """Also in a sandbox that was prepared before, as in a container that runs."""
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    subprocess.run(["mount", "--make-shared", tmp_path], check=True)
    os.chmod(tmp_path, 0o755)
    (tmp_path / "below").mkdir()
    try:
        with Sandbox.system(mounts=[Bind(str(tmp_path), "/source")], user=0).prepare() as prepared:
            subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "below"], check=True)
            (tmp_path / "below/new").touch()
            seen = prepared.run(["ls", "/source/below"], capture_output=True).stdout
            subprocess.run(["umount", tmp_path / "below"], check=True)
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True)

    assert b"new\n" == seen


def test_errors_of_a_template_are_of_their_stage(tmp_path: Path) -> None:
    """A mount point that is missing below a bind is told with its field."""
    with pytest.raises(BpmError, match=r"mounts, item .* \(because mounts\[\d+\]\).*its target does not exist"):
        Sandbox.system(mounts=[Bind("/etc", "/usr/no/such/place")]).prepare()
