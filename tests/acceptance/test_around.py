"""What stands around the process: the hook before it, the host's names and processes, and privileges."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.jobs import Jobs

pytestmark = pytest.mark.needs_root

# What a shell adds to its environment is its own.
HOOK = """#!/bin/sh
id -u
env | sort | grep -v -e ^PWD= -e ^_=
readlink /proc/self/ns/mnt
echo bad >&2
"""

# All of 0 to 37.
DOCKERS_PRIVILEGED = 0x3F_FFFF_FFFF


def bits(status: dict[str, str], key: str) -> int:
    return int(status[key], 16)


def test_the_hook_runs_first_on_the_host_with_the_jobs_environment(jobs: Jobs) -> None:
    """pre_start runs before the process, as root, outside, with the container's variables only, into the same logs."""
    hook = jobs.path / "hook"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    jobs.define("/bin/echo", "the process", hooks={"pre_start": str(hook)}, env={"WORD": "of the job"})
    done = jobs.bpm("start", "web")
    assert 0 == done.returncode, done.stderr
    jobs.must("stop", "web")
    lines = (jobs.path / "sys/log/web/web.stdout.log").read_text().splitlines()

    assert [
        "0",
        "HOME=/var/vcap/data/web",
        "LANG=en_US.UTF-8",
        "PATH=/var/vcap/jobs/web/bin:/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin:.",
        "TMPDIR=/var/vcap/data/web/tmp",
        "WORD=of the job",
        os.readlink("/proc/self/ns/mnt"),
        "the process",
    ] == lines
    assert "bad\n" == (jobs.path / "sys/log/web/web.stderr.log").read_text()


def test_a_failing_hook_keeps_the_process_from_starting(jobs: Jobs) -> None:
    """A hook that fails is told in the contract's words, and the process is not started."""
    jobs.define("/bin/echo", "the process", hooks={"pre_start": "/bin/false"})
    done = jobs.bpm("start", "web")

    assert 1 == done.returncode
    assert "prestart hook failed: " in done.stderr
    assert "" == (jobs.path / "sys/log/web/web.stdout.log").read_text()


def test_privileged_is_root_with_dockers_capabilities_and_no_filter(jobs: Jobs) -> None:
    """A privileged process is root, with every capability of Docker's that bpm has, no filter and no no_new_privs."""
    seen = jobs.see(unsafe={"privileged": True})
    own = re.search(r"^CapBnd:\s*(.*)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert own is not None
    every = DOCKERS_PRIVILEGED & int(own[1], 16)

    assert ((0,) * 4, (0,) * 4) == (seen.ids("Uid"), seen.ids("Gid"))
    assert [every] * 5 == [bits(seen.status, f"Cap{name}") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")]
    assert ("0", "0") == (seen.status["Seccomp"], seen.status["NoNewPrivs"])
    assert not [mount.target for mount in seen.mounts if "nosuid" in mount.options]


def test_what_a_privileged_process_gets_is_still_the_jobs(jobs: Jobs) -> None:
    """Directories and logs that bpm makes for a privileged process belong to the job's user."""
    jobs.shell("true", unsafe={"privileged": True}, ephemeral_disk=True)

    owners = {(jobs.path / name).stat().st_uid for name in ("data/web", "data/web/tmp", "sys/log/web", "sys/run/web")}

    assert {jobs.uid} == owners


def test_capabilities_are_those_listed(jobs: Jobs) -> None:
    """A process has the capabilities of its list in all five sets, and without a list none."""
    none, two = jobs.see(), jobs.see(capabilities=["NET_BIND_SERVICE", "SYS_TIME"])
    sets = [[bits(seen.status, f"Cap{name}") for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")] for seen in (none, two)]

    assert [[0] * 5, [1 << 10 | 1 << 25] * 5] == sets


def test_the_hosts_processes_are_there_only_if_asked_for(jobs: Jobs) -> None:
    """With host_pid_namespace the process sees the host's; without it, only its container's."""
    with subprocess.Popen(["/bin/sleep", f"999.{os.getpid()}"]) as hosts:
        # The brackets keep grep from finding itself.
        script = f"grep -qs '[9]99.{os.getpid()}' /proc/[0-9]*/cmdline && echo seen || echo not seen"
        said = jobs.shell(script), jobs.shell(script, unsafe={"host_pid_namespace": True})
        hosts.kill()

    assert ("not seen\n", "seen\n") == said


@pytest.mark.parametrize("file", ["/run/systemd/resolve/stub-resolv.conf", "/run/resolvconf/resolv.conf"])
def test_names_are_resolved_where_resolv_conf_is_a_link(jobs: Jobs, file: str) -> None:
    """/etc/resolv.conf that leads to systemd-resolved's or resolvconf's directory can be read inside, not written."""
    script = "cat /etc/resolv.conf; (echo >>/etc/resolv.conf) 2>/dev/null || echo read-only"
    jobs.define("/bin/sh", "-c", script)
    host = f"""
        cp -a /etc {jobs.path}/etc
        ln -sf ..{file} {jobs.path}/etc/resolv.conf
        mount --bind {jobs.path}/etc /etc
        mount -t tmpfs none /run
        mkdir -p {os.path.dirname(file)}
        echo nameserver 192.0.2.1 >{file}
        chmod 666 {file}
    """

    done = jobs.elsewhere(host, "run", "web")

    assert (0, "nameserver 192.0.2.1\nread-only\n") == (done.returncode, done.stdout), done.stderr
