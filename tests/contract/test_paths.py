"""What there is inside, and on which terms, where the contract has a table of it."""

from __future__ import annotations

import os

import pytest

from tests.acceptance.jobs import Jobs

pytestmark = pytest.mark.needs_root

READ_ONLY = ("/proc/asound", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def test_links_as_on_a_machine_of_boshs_work(jobs: Jobs) -> None:
    """sys, a job's directory and a package are links into data: programs, logs and packages are found by them."""
    program = jobs.path / "jobs/web/bin/program"
    package = jobs.bpm.root.add_package("words")
    (package / "bin/words").write_text("#!/bin/sh\necho from the package\n")
    (package / "bin/words").chmod(0o755)
    jobs.define("/var/vcap/jobs/web/bin/program")
    program.write_text("#!/bin/sh\n/var/vcap/packages/words/bin/words\nls /var/vcap/data/packages/words\n")
    program.chmod(0o755)
    links = [jobs.path / name for name in ("sys", "jobs/web", "packages/words")]

    assert all(link.is_symlink() and link.lstat().st_uid == 0 for link in links)
    assert f"from the package\n{package.name}\n" == jobs.must("run", "web")
    assert "from the package" in (jobs.path / "data/sys/log/web/web.stdout.log").read_text()


def test_the_root_holds_what_is_mounted_and_no_more(jobs: Jobs) -> None:
    """Only the way to what is mounted is in the root."""
    listed = set(jobs.output("/bin/ls", "-A", "/").split())
    resolvers = {"run"} if os.path.exists("/run/resolvconf") or os.path.exists("/run/systemd/resolve") else set()

    assert {"bin", "dev", "etc", "lib", "lib64", "proc", "sbin", "sys", "tmp", "usr", "var"} | resolvers == listed


@pytest.mark.parametrize(
    ("target", "kind", "options", "superoptions"),
    [
        ("/proc", "proc", set(), set()),
        ("/dev", "tmpfs", {"nosuid", "noexec"}, {"mode=755"}),
        ("/dev/pts", "devpts", {"nosuid", "noexec"}, {"gid=5", "mode=620", "ptmxmode=666"}),
        ("/dev/shm", "tmpfs", {"nosuid", "noexec", "nodev"}, set()),
        ("/dev/mqueue", "mqueue", {"nosuid", "noexec", "nodev"}, set()),
        ("/sys", "sysfs", {"nosuid", "noexec", "nodev", "ro"}, set()),
    ],
)
def test_the_kernels_file_systems_have_their_options(
    jobs: Jobs, target: str, kind: str, options: set[str], superoptions: set[str]
) -> None:
    """Each of the file systems that the kernel fills is mounted as the contract's table says."""
    seen = jobs.see(f"mode:{target}")
    mount = seen.mount_at(target)

    assert (kind, set()) == (mount.kind, options - set(mount.options))
    assert superoptions <= set(mount.super_options)
    if target in ("/dev/shm", "/dev/mqueue"):
        assert 0o41777 == seen.attempts[f"mode:{target}"]


def test_six_paths_of_proc_are_read_only(jobs: Jobs) -> None:
    """Those that the host has are mounted read-only, for root inside, too."""
    there = [path for path in READ_ONLY if os.path.exists(path)]
    seen = jobs.see()

    assert "/proc/sys" in there
    assert all("ro" in seen.mount_at(path).options for path in there)


def test_nothing_is_masked_for_a_privileged_process(jobs: Jobs) -> None:
    """No mount is below /proc, nor over /sys/firmware, and a setting of the kernel's can be opened for writing."""
    seen = jobs.see("write:/proc/sys/kernel/hostname", unsafe={"privileged": True})

    assert not [mount.target for mount in seen.mounts if mount.target.startswith(("/proc/", "/sys/"))]
    assert [0] == list(seen.attempts.values())


def test_no_other_device_can_be_opened(jobs: Jobs) -> None:
    """A privileged process makes any node, but opens only the standard ones."""
    script = """
    mknod /dev/kmsg c 1 11 || echo cannot make a node
    (exec 9</dev/kmsg) 2>/dev/null && echo opened /dev/kmsg
    mknod /dev/disk b 7 0 || echo cannot make a node
    (exec 9</dev/disk) 2>/dev/null && echo opened a disk
    for node in null zero full random urandom; do (exec 9</dev/$node) || echo cannot open $node; done
    true
    """
    # Nothing else keeps them shut: the file system takes devices, and the user is root.
    mount = jobs.see(unsafe={"privileged": True}).mount_at("/dev")

    assert "nodev" not in mount.options
    assert "" == jobs.shell(script, unsafe={"privileged": True})
