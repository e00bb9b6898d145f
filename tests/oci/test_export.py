"""A bundle on disk."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
from pathlib import Path

import pytest

from bpm import PlanError, Unsafe, Volume, export_bundle
from bpm.config import Hooks
from bpm.oci import bundle_files
from bpm.oci.prepare import FUNCTIONS
from tests.plan.making import plan_of

NAMES = ["README.md", "config.json", "prepare", "rootfs"]


def modes(directory: Path) -> dict[str, int]:
    """The permission bits of a directory and all that is in it."""
    paths = (directory, *directory.iterdir())
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in paths}


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_nobody_else_reads_it_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    """An environment may hold secrets; but inside, everyone has to get through the root directory."""
    before = os.umask(mask)
    try:
        export_bundle(plan_of(env={"PASSWORD": "é"}), str(tmp_path / "b"))
    finally:
        os.umask(before)

    expected = {"b": 0o700, "README.md": 0o600, "config.json": 0o600, "prepare": 0o700, "rootfs": 0o755}
    assert expected == modes(tmp_path / "b")
    assert "PASSWORD=é" in json.loads((tmp_path / "b/config.json").read_text())["process"]["env"]


def test_an_empty_directory_will_do(tmp_path: Path) -> None:
    """It is filled."""
    export_bundle(plan_of(), str(tmp_path))

    assert NAMES == sorted(os.listdir(tmp_path))


def test_a_directory_in_use_is_left_alone(tmp_path: Path) -> None:
    """A second export to the same place is refused."""
    (tmp_path / "file").touch()

    with pytest.raises(OSError) as raised:
        export_bundle(plan_of(), str(tmp_path))
    assert (errno.ENOTEMPTY, str(tmp_path)) == (raised.value.errno, raised.value.filename)
    assert ["file"] == os.listdir(tmp_path)


@pytest.mark.parametrize(("name", "number"), [("file", errno.ENOTDIR), ("missing/b", errno.ENOENT)])
def test_a_place_that_cannot_be(tmp_path: Path, name: str, number: int) -> None:
    """A file, or a directory in one that is missing."""
    (tmp_path / "file").touch()

    with pytest.raises(OSError) as raised:
        export_bundle(plan_of(), str(tmp_path / name))
    assert (number, ["file"]) == (raised.value.errno, os.listdir(tmp_path))


def test_what_cannot_be_said_leaves_nothing(tmp_path: Path) -> None:
    """The directory is not made before the plan is put into words."""
    with pytest.raises(PlanError):
        export_bundle(plan_of(hooks=Hooks(pre_start="hook")), str(tmp_path / "b"))

    assert [] == os.listdir(tmp_path)


@pytest.mark.needs_root
def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """What was written before is taken away again."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12k", "none", tmp_path], check=True)
    try:
        with pytest.raises(OSError) as raised:
            export_bundle(plan_of(), str(tmp_path / "b"))
        assert (errno.ENOSPC, []) == (raised.value.errno, os.listdir(tmp_path))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


# The page and the script


def text_of(name: str, **keys: object) -> str:
    (text,) = [file.text for file in bundle_files(plan_of(**keys), "x86_64") if file.name == name]
    return text


def test_the_page_says_what_is_different() -> None:
    """The hook, the log files, the signal, and what is mounted from the host, each where there is any."""
    page = text_of("README.md", hooks=Hooks(pre_start="/bin/hook"), shutdown_signal="INT")

    assert "`pre_start` hook, `/bin/hook`" in page
    assert "- stderr: `/var/vcap/sys/log/web/web.stderr.log`" in page
    assert "bpm sends SIGINT" in page
    assert "- `/var/vcap/data/web/tmp` at `/tmp`, `/var/tmp`, `/var/vcap/data/web/tmp`" in page
    assert "There is no init." in page
    assert "pre_start" not in text_of("README.md")
    assert "no init" not in text_of("README.md", unsafe=Unsafe(host_pid_namespace=True))


def test_no_name_gets_out_of_its_line() -> None:
    """Neither in the page nor in the script, where it would be a command."""
    evil = "/var/vcap/data/a\n$(touch /tmp/x)'"
    keys = {"additional_volumes": (Volume(path=evil, shared=True),)}

    assert r"`/var/vcap/data/a\n$(touch /tmp/x)'`" in text_of("README.md", **keys)
    steps = text_of("prepare", **keys).split(FUNCTIONS)[1]
    stubs = "".join(f"{name}() {{ :; }}\n" for name in ("chown", "make", "mount", "mountpoint"))
    script = stubs + 'make_volume() { printf %s "$3"; }\n' + steps
    words = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert (evil, "") == (words.stdout, words.stderr)
