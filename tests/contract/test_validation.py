"""What makes a bpm.yml invalid, in the contract's order."""

from __future__ import annotations

import pytest

import bpm

pytestmark = pytest.mark.same_everywhere

NAME = "{name: '', executable: '', additional_volumes: [{path: /a/}, {path: /etc}], shutdown_signal: KILL}"
EXECUTABLE = NAME.replace("name: ''", "name: a")
CANONICAL = EXECUTABLE.replace("executable: ''", "executable: /x")
WITHIN = CANONICAL.replace("/a/", "/etc")
DEFAULT = CANONICAL.replace("/a/", "/var/vcap/data/job")
SIGNAL = "{name: a, executable: /x, shutdown_signal: KILL}"


@pytest.mark.parametrize(
    ("process", "sentence"),
    [
        (NAME, "invalid config: name"),
        (EXECUTABLE, "invalid config: executable"),
        (CANONICAL, "volume path must be canonical, expected /a but got /a/"),
        (
            DEFAULT,
            "invalid volume path: /var/vcap/data/job cannot conflict with default job data or store directories",
        ),
        (WITHIN, "invalid volume path: /etc must be within /var/vcap"),
        (SIGNAL, "shutdown signal should either be 'TERM' or 'INT' (or left unspecified), but got 'KILL'"),
    ],
    ids=["name", "executable", "canonical", "default", "within", "signal"],
)
def test_the_first_failure_wins(process: str, sentence: str) -> None:
    """Name, executable, each volume in turn, signal: of several things wrong, the first is told."""
    with pytest.raises(bpm.ConfigError) as caught:
        bpm.load(f"processes: [{process}]", job="job")

    assert [sentence] == [problem.reason for problem in caught.value.problems]


def test_one_invalid_process_makes_the_file_invalid() -> None:
    """The good one beside it cannot be had either."""
    with pytest.raises(bpm.ConfigError):
        bpm.load("processes: [{name: good, executable: /x}, {name: bad}]", job="job")


@pytest.mark.parametrize("path", ["/etc", "/", "/var/vcap/data/job", "/a/../b/", "relative", "/x/*"])
def test_unrestricted_volumes_are_not_validated(path: str) -> None:
    """Any path may be an unrestricted volume's."""
    config = bpm.load(
        f"processes: [{{name: a, executable: /x, unsafe: {{unrestricted_volumes: [{{path: {path}}}]}}}}]", job="job"
    )

    assert path == config.processes[0].unsafe.unrestricted_volumes[0].path
