"""``bpm explain``, as people use it."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import CommandLine, as_nobody

pytestmark = pytest.mark.same_everywhere

JOB = "processes: [{name: web, executable: /bin/true}]\n"


def test_it_says_what_why_and_which_key(bpm: CommandLine) -> None:
    """A person is told the verdict and its reason, then the mount, and what would change it, in which file."""
    bpm.root.add_job("web", JOB)

    done = bpm("explain", "web", "/root")

    first, *rest = done.stdout.splitlines()
    assert (0, "") == (done.returncode, done.stderr)
    assert "/root: absent, since /root exists on the host, but nothing mounts it into the container" == first
    entry = "processes[0].unsafe.unrestricted_volumes[0]: {path: /root, mount_only: true}"
    assert [f"To see it: set {entry}", f"  in {bpm.root.path}/jobs/web/config/bpm.yml"] == rest


def test_as_json(bpm: CommandLine) -> None:
    """``--json`` prints the same as an object."""
    bpm.root.add_job("web", JOB)

    told = json.loads(bpm("explain", "web", "/usr", "--json").stdout)

    assert ("/usr", "read-only", "/usr") == (told["path"], told["verdict"], told["mount"]["target"])


def test_a_path_must_be_named(bpm: CommandLine) -> None:
    """Without a path, or with two, the usage is shown."""
    bpm.root.add_job("web", JOB)

    for words in ((), ("/a", "/b")):
        done = bpm("explain", "web", *words)
        assert (1, "") == (done.returncode, done.stdout)
        assert done.stderr.endswith("\nError: must specify a job and one path\n")


@pytest.mark.needs_root
def test_who_is_not_root_is_told_what_they_may_see(bpm: CommandLine) -> None:
    """Where only root may look, it is said, and nothing is guessed."""
    bpm.root.add_job("web", JOB.replace("}", ", unsafe: {privileged: true, unrestricted_volumes: [{path: /root}]}}", 1))

    done = as_nobody(bpm.argv("explain", "web", "/root/.bashrc"), bpm.environment)

    assert (0, "/root/.bashrc: unknown, since you may not look at /root/.bashrc, which root may") == (
        done.returncode,
        done.stdout.splitlines()[0],
    )
