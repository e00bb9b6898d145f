"""Attacks of the public record, made on the real thing; escapes.yml says which test stands against which."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpm.cli import main
from tests.acceptance.jobs import Jobs
from tests.cli.conftest import CHECKOUT
from tests.cli.test_commands import is_alive
from tests.inside import World, wait_for
from tests.native.callers import answer_of, in_child, mount, with_own_mounts
from tests.native.test_unprivileged import request_of
from tests.security.test_planted import Victim

pytestmark = pytest.mark.needs_root

PRIVILEGED = {"unsafe": {"privileged": True}}


def only_error(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error."""
    assert (1, "", 1) == (done.returncode, done.stdout, done.stderr.count("\n")), done
    return done.stderr


@pytest.fixture
def victim(jobs: Jobs) -> Victim:
    """A directory of root's outside of what jobs may see."""
    return Victim(jobs.path / "victim")


# /proc/self/exe of whoever enters (CVE-2019-5736)

OVERWRITE = """
for exe in /proc/[0-9]*/exe; do
    (: >$exe) 2>/dev/null && echo opened $exe for writing
    (exec 9<$exe && : >/proc/self/fd/9) 2>/dev/null && echo opened $exe by its descriptor
done
true
"""


@pytest.mark.parametrize("keys", [{}, PRIVILEGED], ids=["plain", "privileged"])
def test_nothing_that_bpm_executes_can_be_written_from_inside(jobs: Jobs, keys: dict[str, Any]) -> None:
    """Started, run or entered by a shell, no process inside has an executable that can be opened for writing."""
    host = Path(sys.executable).resolve().read_bytes()
    jobs.define("/bin/sh", "-c", f"{OVERWRITE} echo tried; exec sleep 1000", **keys)
    jobs.must("start", "web")
    log = jobs.path / "sys/log/web/web.stdout.log"
    assert wait_for(lambda: "tried" in log.read_text())
    pid = jobs.must("pid", "web").strip()
    shell = subprocess.run(
        jobs.bpm.argv("shell", "web"),
        env=jobs.bpm.environment,
        input=OVERWRITE,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    with open(f"/proc/{pid}/exe", "rb") as executable:
        seals = fcntl.fcntl(executable, fcntl.F_GET_SEALS)
    jobs.must("stop", "web")
    run = jobs.shell(OVERWRITE, **keys)

    assert ("tried\n", "", "") == (log.read_text()[:6], shell.stdout, run)
    assert fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL == seals & 0xF
    assert host == Path(sys.executable).resolve().read_bytes()


# Volumes over what the kernel shows (CVE-2019-16884)


@pytest.mark.parametrize("path", ["/proc", "/proc/", "//proc", "/proc/sys", "/usr/../proc/1", "/pro[c]"])
def test_a_volume_over_proc_is_refused(jobs: Jobs, path: str) -> None:
    """However it is spelt, nothing is mounted at or below /proc."""
    jobs.define("/bin/true", unsafe={"unrestricted_volumes": [{"path": path}]})

    assert "a volume cannot be mounted at or below /proc" in only_error(jobs.bpm("start", "web"))


def test_below_sys_and_dev_is_only_what_was_named(jobs: Jobs) -> None:
    """An unrestricted volume below /sys or /dev adds its own mount there, read-only, and nothing else."""
    named = ["/dev/full", "/sys/kernel"]
    plain = {mount.target for mount in jobs.see().mounts}
    seen = jobs.see(unsafe={"unrestricted_volumes": [{"path": path} for path in named]})
    added = {mount.target for mount in seen.mounts} - plain

    assert set(named) <= added
    assert all(any(f"{target}/".startswith(f"{path}/") for path in named) for target in added)
    assert all("ro" in seen.mount_at(target).options for target in added)


# Mount points that are links (CVE-2019-19921, 2023-27561, 2023-28642)


@pytest.mark.parametrize("name", ["dev", "proc", "sys"])
def test_a_root_whose_mount_points_are_links_is_refused(world: World, victim: Victim, name: str) -> None:
    """In a root where /dev, /proc or /sys is a link to a directory of the host, the start stops there."""
    from bpm._native import Step, StepKind

    tree = victim.path.parent / "tree"
    for directory in ("dev", "proc", "sys", "usr"):
        (tree / directory).mkdir(parents=True)
    (tree / name).rmdir()
    (tree / name).symlink_to(victim.path)
    kind = {"dev": b"tmpfs", "proc": b"proc", "sys": b"sysfs"}[name]
    steps = (
        Step(StepKind.BIND, 0, b"", source_fd=world.source(tree), recursive=True),
        Step(StepKind.FILESYSTEM, 1, name.encode(), kind, ((b"source", kind),)),
    )
    before = Path("/proc/self/mountinfo").read_text()

    assert ("mounts", 1, errno.ENOENT, None) == answer_of(world.request("/usr/true", steps=steps))
    assert (victim.before, before) == (victim.look(), Path("/proc/self/mountinfo").read_text())


def test_a_volume_whose_mount_point_became_a_link_is_refused(jobs: Jobs, victim: Victim) -> None:
    """A volume below another, which its user replaced by a link, is refused by name; nothing is mounted for it."""
    outer = jobs.path / "data/outer"
    outer.mkdir()
    os.chown(outer, jobs.uid, jobs.uid)
    (outer / "inner").symlink_to(victim.path)
    os.lchown(outer / "inner", jobs.uid, jobs.uid)
    for options in ({}, {"mount_only": True}, {"shared": True, "mount_only": True}):
        volumes = [{"path": str(outer), "writable": True}, {"path": f"{outer}/inner", **options}]
        jobs.define("/bin/ls", f"{outer}/inner", additional_volumes=volumes)
        error = only_error(jobs.bpm("start", "web"))
        assert f"{outer}/inner" in error and f"a symbolic link owned by uid {jobs.uid}" in error
    assert victim.before == victim.look()


# The same while it happens (CVE-2021-30465, 2024-45310)

SWAPPER = """
import ctypes, os
swap = ctypes.CDLL(None).renameat2
os.write(1, b'!')
while os.getppid() == PARENT:
    swap(-100, b'inner', -100, b'trap', 2)
"""


@pytest.fixture
def swapper(jobs: Jobs) -> Iterator[Path]:
    """A directory of the job's user's in which they exchange ``inner`` with a link ``trap``, again and again."""
    outer = jobs.path / "data/outer"
    (outer / "inner").mkdir(parents=True)
    (outer / "trap").symlink_to(jobs.path / "victim")
    for path in (outer, outer / "inner", outer / "trap"):
        os.lchown(path, jobs.uid, jobs.uid)
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAPPER.replace("PARENT", str(os.getpid()))],
        cwd=outer,
        user=jobs.uid,
        group=jobs.uid,
        extra_groups=[],
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None and child.stdout.read(1) == b"!"
        yield outer
        child.kill()


@pytest.mark.same_everywhere
def test_a_target_swapped_while_mounting_leads_nowhere(
    jobs: Jobs, victim: Victim, swapper: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """While a volume's mount point is exchanged for a link, starts are right or refused, and the host is unchanged."""
    import time

    for name, value in jobs.bpm.environment.items():
        if name.startswith("BPM_"):
            monkeypatch.setenv(name, value)
    inner = swapper / "inner"
    jobs.define(
        "/bin/sh",
        "-c",
        f"cat {inner}/secret; ls -A {inner}",
        ephemeral_disk=True,
        additional_volumes=[
            {"path": str(swapper), "writable": True},
            {"path": str(inner), "writable": True},
            {"path": f"{inner}/below", "mount_only": True},
        ],
    )
    # One with a mount below the exchanged one, which must exist; one without.
    statuses = []
    before = Path("/proc/self/mountinfo").read_text().count("\n")
    end = time.monotonic() + 2
    while time.monotonic() < end:
        statuses.append(main(["run", "web"]))
        jobs.define(
            "/bin/sh",
            "-c",
            f"cat {inner}/secret 2>/dev/null; true",
            additional_volumes=[{"path": str(swapper), "writable": True}, {"path": str(inner), "writable": True}],
        )
    out, err = capfd.readouterr()

    assert {0, 1} == set(statuses)
    assert "of root's alone" not in out
    assert "a symbolic link owned by uid" in err
    assert victim.before == victim.look()
    assert before == Path("/proc/self/mountinfo").read_text().count("\n")


# Descriptors and directories of the host's (CVE-2024-21626)


def test_the_program_has_three_descriptors_and_a_directory_inside(jobs: Jobs) -> None:
    """Though its caller lets children have a directory of the host's, the program has 0, 1 and 2, and is inside."""
    directory = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    jobs.define("/bin/sh", "-c", "ls /proc/self/fd | wc -l; pwd -P; ls -d /proc/self/cwd/work 2>/dev/null; exit 0")
    try:
        done = subprocess.run(
            jobs.bpm.argv("run", "web"),
            env=jobs.bpm.environment,
            pass_fds=[directory],
            cwd="/",
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.close(directory)

    # The fourth is of the directory that ls lists.
    assert ["4", "/var/vcap/jobs/web"] == done.stdout.split()


@pytest.mark.parametrize(
    "workdir", ["/proc/self/fd/7", "/proc/1/cwd", "/proc", "/usr/../proc/self/root", "//proc/self"]
)
def test_a_workdir_below_proc_is_refused(jobs: Jobs, workdir: str) -> None:
    """No working directory is looked for where links lead to anything that is open."""
    jobs.define("/bin/true", workdir=workdir)

    assert "/proc" in only_error(jobs.bpm("start", "web"))


# /dev/null, which masks are made of (CVE-2025-31133)


@pytest.mark.parametrize(
    "plant",
    ["touch null", "ln -s /etc/passwd null", "mknod null c 1 5", "mknod null b 1 3", "mkfifo null", "ln -s zero null"],
)
def test_a_null_device_that_is_none_is_refused(jobs: Jobs, plant: str) -> None:
    """On a host whose /dev/null is anything else, nothing is started, and it is named."""
    jobs.define("/bin/true")
    devices = "cp -a /dev/urandom /dev/zero . ; mkdir pts shm"
    host = f"mkdir {jobs.path}/dev; cd {jobs.path}/dev; {devices}; {plant}; mount --bind . /dev; cd /"

    done = jobs.elsewhere(host, "start", "web")

    assert 1 == done.returncode
    assert "/dev/null" in done.stderr and "Traceback" not in done.stderr
    assert not (jobs.path / "sys/run/bpm/web/web.pid").exists()


# Our own writes to procfs (CVE-2025-52881)


def test_what_only_looks_like_procfs_gets_no_map(world: World) -> None:
    """Where /proc is another file system, a user namespace's maps are not written there, and the start stops."""

    request = request_of(world, "/probe")

    def attempt() -> tuple[tuple[object, ...], list[str]]:
        with_own_mounts()
        mount(b"none", "/proc", b"tmpfs")
        os.mkdir("/proc/self")
        files = [Path("/proc/self") / name for name in ("setgroups", "uid_map", "gid_map")]
        for file in files:
            file.touch()
        return answer_of(request), [file.read_text() for file in files]

    assert (("namespaces", 0, errno.ELOOP, None), [""] * 3) == in_child(attempt)


# cgroups of the host's (CVE-2022-0492, 2023-25809)


def test_no_cgroup_can_be_written_inside(jobs: Jobs) -> None:
    """Inside there is no cgroup file, and none can be mounted."""
    script = """
    find /sys /dev /var /tmp -name release_agent -o -name 'cgroup.*' -o -name tasks 2>/dev/null
    mount -t cgroup -o memory none /tmp 2>/dev/null && echo mounted v1
    mount -t cgroup2 none /tmp 2>/dev/null && echo mounted v2
    unshare --user --map-root-user --mount --cgroup true 2>/dev/null && echo unshared
    true
    """

    assert "" == jobs.shell(script)


def test_no_cgroup_of_the_hosts_is_shown_to_a_privileged_process(jobs: Jobs) -> None:
    """A privileged process finds no cgroup mounted either, and cannot make a directory among them."""
    assert "" == jobs.shell("ls -A /sys/fs/cgroup; mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; true", **PRIVILEGED)


# Terminals (CVE-2017-5226)


def test_run_has_no_controlling_terminal_of_its_callers(jobs: Jobs) -> None:
    """Run from a terminal, the program has none: none to open, none to push input into, none among its descriptors."""
    script = """
    cut -d' ' -f7 /proc/self/stat
    (: </dev/tty) 2>/dev/null && echo opened
    for fd in 0 1 2; do test -t $fd && echo $fd; done
    true
    """
    jobs.define("/bin/sh", "-c", script)
    pid, master = pty.fork()
    if pid == 0:
        os.execve(sys.executable, jobs.bpm.argv("run", "web"), jobs.bpm.environment)
    shown = b""
    try:
        while piece := os.read(master, 4096):
            shown += piece
    except OSError:
        pass  # EIO: nobody has the other end any more
    finally:
        os.close(master)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert (0, "0\r\n") == (status, shown.decode())


# Entry as somebody else (CVE-2020-5291)


@pytest.mark.parametrize("borrowed", ["setuid", "setgid", "file capabilities"])
def test_bpm_with_borrowed_power_refuses(open_directory: Path, borrowed: str) -> None:
    """An interpreter that is setuid or setgid, or has file capabilities, runs no bpm for whoever calls it."""
    program = open_directory / f"python-{borrowed.replace(' ', '-')}"
    program.write_bytes(Path(sys.executable).resolve().read_bytes())
    program.chmod({"setuid": 0o4755, "setgid": 0o2755}.get(borrowed, 0o755))
    if borrowed == "file capabilities":
        # struct vfs_ns_cap_data without its namespace: revision 2, effective; DAC_READ_SEARCH permitted.
        os.setxattr(program, "security.capability", struct.pack("<5I", 0x0200_0001, 1 << 2, 0, 0, 0))
    done = subprocess.run(
        [program, "-m", "bpm", "help"],
        env={"PYTHONPATH": str(CHECKOUT), "PYTHONHOME": sys.base_prefix, "PYTHONDONTWRITEBYTECODE": "1"},
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    program.unlink()

    assert "Error: bpm must not be made setuid or setgid, nor be given file capabilities\n" == only_error(done)


# Records and pidfiles that are none (CVE-2022-31214, CVE-2018-16888)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that no bpm started."""
    with subprocess.Popen(["/bin/sleep", "1000"]) as process:
        yield process
        process.kill()


@pytest.mark.parametrize(
    "forgery", ["of the user's", "writable by all", "a link", "of another process", "of another boot"]
)
def test_a_container_is_what_roots_own_record_says(jobs: Jobs, stranger: subprocess.Popen[bytes], forgery: str) -> None:
    """A record that names a stranger, or that others could have written, is followed by no command."""
    jobs.define("/bin/sleep", "1000")
    jobs.must("start", "web")
    record = jobs.path / "data/bpm/containers/bpm-web.json"
    fields = json.loads(record.read_text())
    if forgery == "of another process":
        fields["pid"] = stranger.pid
    elif forgery == "of another boot":
        fields["boot_id"] = "00000000-0000-4000-8000-000000000000"
    record.write_text(json.dumps(fields))
    if forgery == "of the user's":
        os.chown(record, jobs.uid, -1)
    elif forgery == "writable by all":
        record.chmod(0o666)
    elif forgery == "a link":
        record.rename(jobs.path / "data/forged")
        os.chown(jobs.path / "data/forged", jobs.uid, -1)
        record.symlink_to(jobs.path / "data/forged")

    for words in (["shell", "web"], ["pid", "web"], ["trace", "web"]):
        assert "not running" in only_error(jobs.bpm(*words)), words
    jobs.must("stop", "web")

    assert None is stranger.poll()
    assert "stopped" == jobs.must("list").split()[-1]


def test_a_forged_pidfile_kills_nobody(jobs: Jobs, stranger: subprocess.Popen[bytes]) -> None:
    """stop and pid look at no pidfile: a stranger's number in it changes nothing."""
    jobs.define("/bin/sleep", "1000")
    jobs.must("start", "web")
    pid = jobs.must("pid", "web").strip()
    (jobs.path / "sys/run/bpm/web/web.pid").write_text(str(stranger.pid))

    assert pid == jobs.must("pid", "web").strip()
    jobs.must("stop", "web")

    assert (None, False) == (stranger.poll(), is_alive(pid))


# Numbers that are used again

RECYCLE = """
import os, signal, subprocess, sys
from bpm import Environment
process = Environment().process("web")
container = process.start()
pid = container.pid
container.close()
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
for attempt in range(1000):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(pid - 1))
    stranger = os.fork()
    if stranger == 0:
        signal.pause()
    if stranger == pid:
        break
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)
assert stranger == pid, "the number was not given again"
for command in ("pid", "shell", "trace", "stop", "start", "stop"):
    subprocess.run([sys.executable, "-m", "bpm", command, "web"], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    ended, _ = os.waitpid(stranger, os.WNOHANG)
    assert not ended, f"{command} ended a stranger"
print("the stranger lives")
"""


@pytest.mark.skipif(not os.path.exists("/proc/sys/kernel/ns_last_pid"), reason="no process can choose its pid here")
def test_a_number_that_is_used_again_is_nobodys(jobs: Jobs) -> None:
    """When a stranger gets the pid of a container that died, no command sends it a signal."""
    jobs.define("/bin/sleep", "1000")
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-c", RECYCLE],
        env=jobs.bpm.environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert (0, "") == (done.returncode, done.stderr)
    assert done.stdout.endswith("the stranger lives\n")


# Few descriptors (upstream #160, #187)


@pytest.mark.parametrize(("keys", "limit"), [({}, 64), ({"limits": {"open_files": 32}}, 32)], ids=["none", "32"])
def test_few_descriptors_will_do(jobs: Jobs, keys: dict[str, Any], limit: int) -> None:
    """Under a hard limit of 64 descriptors, as from monit, a start works, and the process has what its file says."""
    jobs.define("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn", **keys)

    done = jobs.under(["prlimit", "--nofile=64:64"], "run", "web")

    assert (0, [str(limit)] * 2) == (done.returncode, done.stdout.split()), done.stderr


# Names

LONG = "/".join(["n" * 200] * 20)

NAMES = {
    "newline": ("a\nb", ""),
    "space and tab": ("a b\tc", ""),
    "backslash": ("a\\040b", ""),
    "pattern": ("[x]*?{a,b}", ""),
    "quotes": ("'\"$(id)`id`", ""),
    "colon": ("a:b", ""),
    "not ASCII": ("d\u00e9\U0001f600", ""),
    "4000 bytes": (LONG, ""),
    "longer than a path may be": (LONG + "/" + "m" * 120, "File name too long"),
    "a name of 256 bytes": ("m" * 256, "File name too long"),
    "NUL": ("a\0b", "NUL"),
}


@pytest.mark.parametrize(("name", "reason"), NAMES.values(), ids=NAMES)
def test_a_volume_of_any_name_is_right_or_refused(jobs: Jobs, name: str, reason: str) -> None:
    """A volume is mounted where its name says, whatever that holds, or one line says why not."""
    volume = f"{jobs.path}/data/{name}"
    volumes = [{"path": volume, "writable": True}]
    jobs.define("/bin/sh", "-c", 'echo words >"$VOLUME/file" && cat "$VOLUME/file"', additional_volumes=volumes)
    if "\0" not in name:
        jobs.define(
            "/bin/sh",
            "-c",
            'cd "$VOLUME" && echo words >file && cat file',
            additional_volumes=volumes,
            env={"VOLUME": volume},
        )
    done = jobs.bpm("run", "web")

    if reason:
        assert reason in only_error(done)
    else:
        assert (0, "words\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_volume_of_bytes_that_are_no_text(jobs: Jobs) -> None:
    """A volume of -v may be named by any bytes."""
    volume = os.fsencode(jobs.path / "data") + b"/\xff\xfe"
    jobs.define("/bin/sh", "-c", f"cd {jobs.path}/data && echo words >$(printf '\\377\\376')/file")

    done = jobs.bpm("run", "web", "-v", os.fsdecode(volume) + ":writable")

    assert (0, "") == (done.returncode, done.stderr)
    assert b"words\n" == Path(os.fsdecode(volume), "file").read_bytes()
