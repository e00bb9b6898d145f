"""The script of a bundle does on the host what bpm does there."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpm import Environment, ProcessPlan, export_bundle
from bpm.runtime import prepare_host
from tests.conftest import BoshRoot
from tests.inside import parse_mounts

pytestmark = pytest.mark.needs_root

CONFIG = """\
processes:
- name: web
  executable: /bin/true
  ephemeral_disk: true
  persistent_disk: true
  additional_volumes:
  - {{path: {root}/data/a/b/c, writable: true}}
  - {{path: {root}/data/here}}
  - {{path: {root}/data/socket}}
  - {{path: {root}/data/only, mount_only: true}}
  - {{path: "{root}/data/with space"}}
"""


@pytest.fixture
def plan(bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> ProcessPlan:
    bosh_root.add_job("web", CONFIG.format(root=bosh_root.path))
    lay_out(bosh_root.path)
    return Environment(str(bosh_root.path), job_user.pw_name).process("web").plan()


def lay_out(root: Path) -> None:
    """What is there before: a directory with other rights, something that is no directory, a disk."""
    (root / "store").mkdir(exist_ok=True)
    (root / "data/here").mkdir(mode=0o755, exist_ok=True)
    (root / "data/here").chmod(0o755)
    (root / "data/only").mkdir(exist_ok=True)
    (root / "data/socket").touch()


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    """Every path below the root, with its mode and owner; without what only bpm itself uses."""
    paths = sorted(path for path in root.rglob("*") if not {"bpm", "bpm.log"} & set(path.parts))
    facts = {str(path.relative_to(root)): path.lstat() for path in paths if path.suffix != ".log"}
    return {path: (info.st_mode, info.st_uid, info.st_gid) for path, info in facts.items()}


def run_script(plan: ProcessPlan, place: Path) -> subprocess.CompletedProcess[str]:
    export_bundle(plan, str(place))
    return subprocess.run([place / "prepare"], capture_output=True, text=True, check=False)


def test_it_leaves_the_host_as_bpm_does(plan: ProcessPlan, bosh_root: BoshRoot, tmp_path: Path) -> None:
    """The same directories with the same owners and rights; and once more changes nothing."""
    before = set(os.listdir(bosh_root.path / "data"))
    done = run_script(plan, tmp_path / "b")
    scripts = tree(bosh_root.path)
    again = subprocess.run([tmp_path / "b/prepare"], capture_output=True, text=True, check=False)
    scripts_again = tree(bosh_root.path)
    for name in set(os.listdir(bosh_root.path / "data")) - before | {"here", "socket", "only"}:
        path = bosh_root.path / "data" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(bosh_root.path / "store")
    for name in ("log", "run"):
        shutil.rmtree(bosh_root.path / "data/sys" / name)
        (bosh_root.path / "data/sys" / name).mkdir(mode=0o755)
    lay_out(bosh_root.path)
    prepare_host(plan).close()

    assert [(0, "", "")] * 2 == [(run.returncode, run.stdout, run.stderr) for run in (done, again)]
    assert tree(bosh_root.path) == scripts == scripts_again
    assert stat.S_ISDIR(scripts["data/a/b/c"][0]) and stat.S_ISREG(scripts["data/socket"][0])


def test_the_root_inside_becomes_roots(plan: ProcessPlan, tmp_path: Path) -> None:
    """Whoever exported it."""
    export_bundle(plan, str(tmp_path / "b"))
    os.chown(tmp_path / "b/rootfs", 5, 5)
    subprocess.run(["sh", "prepare"], cwd=tmp_path / "b", check=True)

    info = (tmp_path / "b/rootfs").stat()
    assert (0, 0) == (info.st_uid, info.st_gid)


def remove_store(root: Path) -> None:
    (root / "store").rmdir()


def plant_link(root: Path) -> None:
    (root / "data/a/b").mkdir(parents=True)
    (root / "data/a/b/c").symlink_to("/etc")
    os.lchown(root / "data/a/b/c", 2000, 2000)


def link_to_the_kernels(root: Path) -> None:
    (root / "data/a/b").mkdir(parents=True)
    (root / "data/a/b/c").symlink_to("/sys/kernel")


def plant_file(root: Path) -> None:
    (root / "data/sys/log/web").touch()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (remove_store, "requested persistent disk does not exist"),
        (plant_link, "refusing {root}/data/a/b/c: a symbolic link of another user's"),
        (link_to_the_kernels, "refusing {root}/data/a/b/c: in a file system of the kernel's"),
        (plant_file, "{root}/sys/log/web is no directory"),
    ],
)
def test_what_is_wrong_is_said(
    plan: ProcessPlan, bosh_root: BoshRoot, tmp_path: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    """A disk that is missing; a link that the job's user could have planted; a file in the way."""
    before = [os.stat(path) for path in ("/etc", "/sys/kernel")]
    spoil(bosh_root.path)
    done = run_script(plan, tmp_path / "b")

    assert (1, f"{tmp_path}/b/prepare: {reason.format(root=bosh_root.path)}\n") == (done.returncode, done.stderr)
    after = [os.stat(path) for path in ("/etc", "/sys/kernel")]
    assert [(info.st_uid, info.st_mode) for info in before] == [(info.st_uid, info.st_mode) for info in after]


def test_a_shared_volume_is_a_shared_mount(bosh_root: BoshRoot, job_user: pwd.struct_passwd, tmp_path: Path) -> None:
    """Made once, however often it runs."""
    volume = bosh_root.path / "data/shared"
    keys = f"additional_volumes: [{{path: {volume}, shared: true}}]"
    bosh_root.add_job("web", f"processes: [{{name: web, executable: /bin/true, {keys}}}]\n")
    plan = Environment(str(bosh_root.path), job_user.pw_name).process("web").plan()
    script = tmp_path / "b/prepare"
    try:
        done = [run_script(plan, tmp_path / "b"), subprocess.run([script], check=False)]
        mounts = [line for line in parse_mounts(Path("/proc/self/mountinfo").read_text()) if line.target == str(volume)]
    finally:
        subprocess.run(["umount", volume], check=False)

    assert [0, 0] == [run.returncode for run in done]
    assert [True] == [any(word.startswith("shared:") for word in line.propagation) for line in mounts]
