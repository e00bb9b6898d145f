"""What an operator's job sees inside: upstream's acceptance, one sentence a test."""

from __future__ import annotations

import errno
import os
import pwd
import re

import pytest

from tests.acceptance.jobs import Jobs

pytestmark = pytest.mark.needs_root

CLONE_NEWUSER = 0x1000_0000
SYSTEM = ("/bin", "/etc", "/lib", "/lib64", "/sbin", "/usr")
MASKED = (
    "/etc/sv",
    "/proc/kcore",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/firmware",
)


@pytest.fixture
def neighbourhood(jobs: Jobs) -> Jobs:
    """A root on which other jobs have directories everywhere."""
    for place in ("data", "store", "data/sys/log", "data/sys/run", "data/sys/run/bpm"):
        (jobs.path / place / "neighbour").mkdir(parents=True)
    jobs.define("/bin/true", job="neighbour")
    return jobs


def test_below_var_vcap_are_data_jobs_packages_and_sys(neighbourhood: Jobs) -> None:
    """Nothing else is below /var/vcap."""
    assert "data\njobs\npackages\nsys\n" == neighbourhood.output("/bin/ls", "-A", "/var/vcap")


def test_below_var_vcap_is_store_with_a_persistent_disk(neighbourhood: Jobs) -> None:
    """With persistent_disk, store is there, too, and in it only the job's own."""
    script = "ls -A /var/vcap /var/vcap/store"
    expected = "/var/vcap:\ndata\njobs\npackages\nstore\nsys\n\n/var/vcap/store:\nweb\n"

    assert expected == neighbourhood.shell(script, persistent_disk=True)


@pytest.mark.parametrize(
    ("directory", "entries"),
    [
        ("jobs", "web\n"),
        ("jobs/web", "bin\nconfig\n"),
        ("data", "packages\nweb\n"),
        ("data/web", "tmp\n"),
        ("sys", "log\n"),
        ("sys/log", "web\n"),
        ("sys/log/web", "bpm.log\nweb.stderr.log\nweb.stdout.log\n"),
        ("packages", "probe\n"),
    ],
)
def test_only_its_own_directories_are_there(neighbourhood: Jobs, directory: str, entries: str) -> None:
    """Of jobs, data and logs only the job's own are there; packages are everyone's."""
    assert entries == neighbourhood.output("/bin/ls", "-A", f"/var/vcap/{directory}")


def test_volumes_are_there_beside_its_own_directories(neighbourhood: Jobs) -> None:
    """A volume is there by its own path, and nothing of what lies beside it."""
    volume = neighbourhood.path / "data/volume"

    listed = neighbourhood.output("/bin/ls", "-A", str(volume.parent), additional_volumes=[{"path": str(volume)}])

    assert "volume\n" == listed


@pytest.mark.parametrize("path", SYSTEM)
def test_system_mounts_are_read_only(jobs: Jobs, path: str) -> None:
    """/bin /etc /lib /lib64 /sbin and /usr are mounted ro, nosuid and nodev, and programs there can be executed."""
    seen = jobs.see(f"create:{path}/x", "exec:/bin/true")
    mount = seen.mount_at(os.path.realpath(path) if path == "/" else path)

    assert {"ro", "nosuid", "nodev"} <= set(mount.options)
    assert "noexec" not in mount.options
    assert [-errno.EROFS, 0] == list(seen.attempts.values())


def test_its_own_files_are_read_only(jobs: Jobs) -> None:
    """The job's directory and the packages are mounted ro."""
    seen = jobs.see("create:/var/vcap/jobs/web/x", "create:/var/vcap/packages/x", "create:/var/vcap/data/packages/x")

    assert {-errno.EROFS} == set(seen.attempts.values())


@pytest.mark.parametrize("path", MASKED)
def test_masked_paths_are_unreadable(jobs: Jobs, path: str) -> None:
    """A masked path that the host has is there, but nothing can be read from it, nor listed in it."""
    # /etc/sv is runit's: few hosts have it, so this one gets it.
    there = os.path.exists(path) or path == "/etc/sv"
    jobs.define("/bin/sh", "-c", f"ls -A {path}/ 2>/dev/null; cat {path} 2>/dev/null; test -e {path} && echo there")
    host = f"cp -a /etc {jobs.path}/etc; mkdir {jobs.path}/etc/sv; echo x >{jobs.path}/etc/sv/secret; "
    done = jobs.elsewhere(f"{host} mount --bind {jobs.path}/etc /etc", "run", "web")

    failed = "", "Error: failed to run job-process: exit status 1 (exit status 1)\n"
    assert (("there\n", "") if there else failed) == (done.stdout, done.stderr)


def test_it_runs_as_the_job_user(jobs: Jobs) -> None:
    """The process is that user and that user's group, by number and by name, and in no other group."""
    user = pwd.getpwnam(jobs.bpm.environment["BPM_USER"])
    script = "id -un; id -u; id -g; id -G; grep -E '^(Uid|Gid)' /proc/self/status"
    uid, gid = user.pw_uid, user.pw_gid
    four = "".join(f"{name}:" + f"\t{number}" * 4 + "\n" for name, number in (("Uid", uid), ("Gid", gid)))

    assert f"{user.pw_name}\n{uid}\n{gid}\n{gid}\n{four}" == jobs.shell(script)


def test_path_and_home_and_all_else_have_their_defaults(jobs: Jobs) -> None:
    """TMPDIR, LANG, PATH and HOME are what the contract says, and there is no other variable, whatever bpm's own."""
    jobs.define("/usr/bin/env")
    environment = jobs.bpm("run", "web", SECRET="of bpm's own").stdout.splitlines()

    assert [
        "HOME=/var/vcap/data/web",
        "LANG=en_US.UTF-8",
        "PATH=/var/vcap/jobs/web/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:.",
        "TMPDIR=/var/vcap/data/web/tmp",
    ] == sorted(environment)


def test_variables_of_the_file_come_before_the_defaults(jobs: Jobs) -> None:
    """What ``env`` sets is set, also in place of a default."""
    env = {"PATH": "/bin", "WORDS": "two words", "EMPTY": ""}

    lines = jobs.output("/usr/bin/env", env=env).splitlines()

    assert {f"{name}={value}" for name, value in env.items()} <= set(lines)
    assert 6 == len(lines)


def test_an_allowed_syscall_is_allowed_and_a_forbidden_one_refused(jobs: Jobs) -> None:
    """A child process is made, a user namespace is not: EPERM, though the kernel would let anyone."""
    seen = jobs.see("forks:1", f"unshare:{CLONE_NEWUSER}")

    assert ("2", "1") == (seen.status["Seccomp"], seen.status["NoNewPrivs"])
    assert [1, -errno.EPERM] == list(seen.attempts.values())


def test_its_program_is_pid_2_under_our_init(jobs: Jobs) -> None:
    """Inside there are two processes: init, and the program, in its own namespaces but the host's network."""
    script = "echo $$; cd /proc; ls -d [0-9]* | grep -vx $(cut -d' ' -f4 self/stat); readlink self/ns/net self/ns/mnt"
    pid, *others, network, mounts = jobs.shell(f"{script}; true").splitlines()

    assert ("2", "1") == (pid, others[0])
    assert os.readlink("/proc/self/ns/net") == network
    assert os.readlink("/proc/self/ns/mnt") != mounts


def test_the_default_workdir_is_the_jobs_directory(jobs: Jobs) -> None:
    """The process starts in its job's directory, or in its ``workdir``, which is made in the container's own root."""
    assert "/var/vcap/jobs/web\n" == jobs.output("/bin/pwd")
    assert "/var/vcap/nodir\n" == jobs.output("/bin/pwd", workdir="/var/vcap/nodir")


def test_dev_holds_the_standard_nodes(jobs: Jobs) -> None:
    """/dev has the nodes and links of the contract and no other, and its own empty pts."""
    listed = set(jobs.output("/bin/ls", "-A", "/dev").split())

    nodes = {"fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "tty", "urandom", "zero"}

    assert nodes | {"stdin", "stdout", "stderr"} == listed - {"core"}
    assert ["ptmx"] == jobs.output("/bin/ls", "-A", "/dev/pts").split()


def test_nothing_of_the_root_survives_a_restart(jobs: Jobs) -> None:
    """The container's own root takes writes from root only, and what root writes there is gone at the next start."""
    privileged = {"unsafe": {"privileged": True}}

    assert jobs.attempt("touch /var/vcap/x").returncode == 1
    assert "" == jobs.shell("touch /var/vcap/x /x", **privileged)
    assert jobs.attempt("ls /var/vcap/x /x", **privileged).stdout == ""


def test_what_bpm_makes_on_the_host_has_the_contracts_owners_and_modes(jobs: Jobs) -> None:
    """Directories and log files are where upstream has them, as vcap's or root's, with upstream's modes."""
    (jobs.path / "store").mkdir()
    volume = jobs.path / "data/a"
    jobs.define(
        "/bin/sleep",
        "100",
        ephemeral_disk=True,
        persistent_disk=True,
        additional_volumes=[{"path": str(volume)}],
    )
    jobs.must("start", "web")
    user, made = jobs.uid, {}
    for name in (
        *("data/web", "data/web/tmp", "store/web", "data/a", "sys/log/web", "sys/run/web", "sys/run/bpm/web"),
        *("data/bpm/locks", "sys/log/web/web.stdout.log", "sys/log/web/web.stderr.log", "sys/log/web/bpm.log"),
    ):
        status = (jobs.path / name).stat()
        made[name] = (status.st_uid, oct(status.st_mode & 0o7777))
    pidfile = (jobs.path / "sys/run/bpm/web/web.pid").read_text()

    assert {
        "data/web": (user, "0o700"),
        "data/web/tmp": (user, "0o700"),
        "store/web": (user, "0o700"),
        "data/a": (user, "0o700"),
        "sys/log/web": (user, "0o750"),
        "sys/run/web": (user, "0o700"),
        "sys/run/bpm/web": (0, "0o700"),
        "data/bpm/locks": (0, "0o700"),
        "sys/log/web/web.stdout.log": (user, "0o600"),
        "sys/log/web/web.stderr.log": (user, "0o600"),
        "sys/log/web/bpm.log": (user, "0o600"),
    } == made
    assert re.fullmatch(r"\d+", pidfile)
