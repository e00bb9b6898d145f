"""``bpm export``, as operators use it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import CommandLine, as_nobody

CONFIG = "processes: [{name: web, executable: /bin/sleep, args: [100]}, {name: other, executable: /bin/true}]\n"


def test_a_bundle_is_written(bpm: CommandLine, tmp_path: Path) -> None:
    """config.json, rootfs, prepare and README.md; nothing is printed, and nothing of the root is touched."""
    bpm.root.add_job("web", CONFIG)
    before = sorted(bpm.root.path.rglob("*"))

    done = bpm("export", "web", "--oci", str(tmp_path / "b"), "-e", "A=b", "-v", f"{bpm.root.path}/data/x")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert ["README.md", "config.json", "prepare", "rootfs"] == sorted(os.listdir(tmp_path / "b"))
    config = json.loads((tmp_path / "b/config.json").read_text())
    assert ["/bin/sleep", "100"] == config["process"]["args"]
    assert "A=b" in config["process"]["env"]
    assert f"{bpm.root.path}/data/x" in [mount["destination"] for mount in config["mounts"]]
    assert before == sorted(bpm.root.path.rglob("*"))


def test_one_process_is_picked(bpm: CommandLine, tmp_path: Path) -> None:
    """By -p, as everywhere."""
    bpm.root.add_job("web", CONFIG)

    assert 0 == bpm("export", "web", "-p", "other", "--oci", str(tmp_path / "b")).returncode
    assert ["/bin/true"] == json.loads((tmp_path / "b/config.json").read_text())["process"]["args"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["web"], "must specify a directory with --oci"),
        (["--oci", "{place}/b"], "must specify a job"),
        (
            ["wob", "--oci", "{place}/b"],
            'there is no job "wob" in {root}/jobs; did you mean "web"? (jobs there: web)',
        ),
        (
            ["web", "-p", "x", "--oci", "{place}/b"],
            'there is no process "x" in the job web (processes there: web, other)',
        ),
        (["web", "--oci", "{place}"], "cannot write the bundle: {place}: Directory not empty"),
        (["web", "--oci", "{place}/file"], "cannot write the bundle: {place}/file: Not a directory"),
        (["web", "--oci", "{place}/a/b"], "cannot write the bundle: {place}/a/b: No such file or directory"),
        (["web", "--oci", "/proc/b"], "cannot write the bundle: /proc/b: No such file or directory"),
    ],
)
def test_what_is_wrong_is_said(bpm: CommandLine, tmp_path: Path, words: list[str], error: str) -> None:
    """In one line, with nothing on stdout, and nothing made."""
    bpm.root.add_job("web", CONFIG)
    (tmp_path / "file").touch()
    names = {"place": tmp_path, "root": bpm.root.path}

    done = bpm("export", *(word.format(**names) for word in words))

    assert (1, "") == (done.returncode, done.stdout)
    assert f"Error: {error.format(**names)}" == done.stderr.splitlines()[-1]
    assert ["file"] == os.listdir(tmp_path)


@pytest.mark.needs_root
def test_everyone_may_export_but_not_everywhere(bpm: CommandLine, open_directory: Path) -> None:
    """Without root, into a directory of one's own; elsewhere the kernel's answer is the error."""
    bpm.root.add_job("web", CONFIG)
    mine, others = open_directory / "mine", open_directory / "others"
    mine.mkdir()
    others.mkdir()
    subprocess.run(["chown", "nobody:", mine], check=True)

    done = as_nobody(bpm.argv("export", "web", "--oci", f"{mine}/b"), bpm.environment)
    refused = as_nobody(bpm.argv("export", "web", "--oci", f"{others}/b"), bpm.environment)

    assert (0, "") == (done.returncode, done.stderr)
    assert (mine / "b/config.json").exists()
    assert (1, f"Error: cannot write the bundle: {others}/b: Permission denied\n") == (
        refused.returncode,
        refused.stderr,
    )
