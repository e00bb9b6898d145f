"""``bpm check``, as people and their tools use it."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from bpm import Environment, check_job, check_text
from bpm.config import codes
from tests.cli.conftest import CHECKOUT, CommandLine, as_nobody
from tests.cli.typist import Typist
from tests.conftest import BoshRoot

pytestmark = pytest.mark.same_everywhere

SHARED = CHECKOUT.parent / "shared/jobs"


def found(text: str, job: str = "web") -> list[tuple[int, int, str]]:
    """Line, column and code of each finding in a text."""
    findings = check_text(text, job=job)
    return [(problem.line, problem.column, problem.code) for problem in (*findings.errors, *findings.warnings)]


def process(keys: str) -> str:
    """A bpm.yml with one process, its further keys from line 4 on."""
    return f"processes:\n- name: web\n  executable: /bin/true\n{keys}"


def test_nothing_is_found_in_what_is_good() -> None:
    """A plain bpm.yml has no findings."""

    assert [] == found(process("  limits: {memory: 1G, processes: 10, open_files: 1024}\n"))


@pytest.mark.parametrize(
    ("keys", "findings"),
    [
        ("  args: a: b\n", [(4, 10, "syntax")]),
        ("  args: 1\n  env: 2\n", [(4, 9, "wrong-type"), (5, 8, "wrong-type")]),
        ("  shutdown_signal: KILL\n", [(4, 20, "invalid")]),
        ("  limits:\n    memory: lots\n", [(5, 13, "cannot-plan")]),
        ("  unsafe: {unrestricted_volumes: [{path: /proc/x}]}\n", [(4, 35, "cannot-plan")]),
        ("  limit: {memory: 1G}\n", [(4, 3, "unknown-key")]),
        ("  capabilities: [KILL, NET_BIND]\n", [(4, 24, "unknown-capability")]),
        ("- {name: web, executable: /b}\n", [(4, 10, "duplicate-process")]),
        (
            "  additional_volumes:\n  - path: /var/vcap/data/a\n  - {path: /var/vcap/data/a, writable: true}\n",
            [(6, 5, "duplicate-volume")],
        ),
        ("  unsafe: {unrestricted_volumes: [{path: /var/vcap/jobs/web/x}]}\n", [(4, 35, "dropped-volume")]),
        (
            "  ephemeral_disk: true\n  additional_volumes: [{path: /var/vcap/data/web/a, writable: true}]\n",
            [(5, 24, "redundant-volume")],
        ),
        ("  unsafe: {unrestricted_volumes: [{path: /dev}]}\n", [(4, 35, "hiding-volume")]),
        (
            "  additional_volumes: [{path: /var/vcap/data/a, writable: true, allow_executions: true}]\n",
            [(4, 24, "writable-executable")],
        ),
        ("  args: [--listen, 'localhost:80']\n  unsafe: {privileged: true}\n", [(5, 24, "needless-privilege")]),
        ("  args: [--port, 443]\n  unsafe: {privileged: true}\n", [(5, 24, "needless-privilege")]),
        ("  args: ['-p', 80]\n  unsafe: {privileged: true}\n", [(5, 24, "needless-privilege")]),
        ("  args: ['-p', 8080]\n  unsafe: {privileged: true}\n", []),
        ("  env: {PORT: 443}\n  unsafe: {privileged: true}\n", [(5, 24, "needless-privilege")]),
        ("  args: [--port, 8443]\n  unsafe: {privileged: true}\n", []),
        ("  capabilities: [KILL]\n  unsafe: {privileged: true}\n", [(4, 17, "redundant-capability")]),
        ("  hooks: {pre_start: bin/pre}\n", [(4, 22, "relative-hook")]),
        ("  limits: {memory: 100K}\n", [(4, 20, "low-limit")]),
        ("  limits: {processes: 1}\n", [(4, 23, "low-limit")]),
        ("  limits: {open_files: 3}\n", [(4, 24, "low-limit")]),
        ("  limits: {memory: 1M, processes: 2, open_files: 4}\n", []),
        ("  limits: {processes: 0}\n", [(4, 23, "no-limit")]),
        ("  limits: {memory: 0M}\n", [(4, 20, "no-limit")]),
        ("  limits: {memory: 1.5G, swap: 1G, memory_high: 1G, cpu: 1.5}\n", []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else None,
)
def test_each_lint_finds_its_own(keys: str, findings: list[tuple[int, int, str]]) -> None:
    """What is wrong or remarkable is found, where it stands, and nothing else is."""

    assert findings == found(process(keys))


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"the jobs of public BOSH releases are not in {SHARED}")
def test_real_jobs_have_no_errors() -> None:
    """No bpm.yml of a public BOSH release has an error, nor a warning that is wrong."""
    findings = {file.stem: check_text(file.read_bytes(), job=file.stem) for file in sorted(SHARED.rglob("*.yml"))}

    assert 39 == len(findings)
    assert {} == {job: each.errors for job, each in findings.items() if each.errors}
    assert {"credhub": ["writable-executable"]} == {
        job: [problem.code for problem in each.warnings] for job, each in findings.items() if each.warnings
    }


def test_every_code_is_in_the_manual() -> None:
    """docs/checks.md has a line for each code, below its severity, and for no other."""
    page = (CHECKOUT / "docs/checks.md").read_text()
    _, errors, warnings = page.split("\n## ")
    listed = [
        [line.split("`")[1] for line in section.splitlines() if line.startswith("| `")]
        for section in (errors, warnings)
    ]

    assert sorted(codes.ERRORS) == sorted(listed[0])
    assert sorted(codes.CODES - codes.ERRORS) == sorted(listed[1])


def test_every_code_is_met() -> None:
    """Every code is one that some test here expects."""
    source = Path(__file__).read_text()

    assert [] == [code for code in codes.CODES if f'"{code}"' not in source]


# With the files of a root


@pytest.fixture
def environment(bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> Environment:
    return Environment(str(bosh_root.path), job_user.pw_name)


def codes_of(environment: Environment, job: str = "web") -> list[str]:
    findings = check_job(environment, job)
    return [problem.code for problem in (*findings.errors, *findings.warnings)]


def test_what_is_not_there_is_found(environment: Environment, bosh_root: BoshRoot) -> None:
    """Of a job in its root, what is missing is found: disk, volume, hook, program, interpreter, working directory."""
    root = bosh_root.path
    directory = bosh_root.add_job(
        "web",
        "processes:\n"
        "- {name: disk, executable: /bin/true, persistent_disk: true}\n"
        f"- {{name: volume, executable: /bin/true, additional_volumes: [{{path: {root}/data/no, mount_only: true}}]}}\n"
        "- {name: hook, executable: /bin/true, hooks: {pre_start: /no/hook}}\n"
        "- {name: program, executable: /var/vcap/packages/no/bin/program}\n"
        "- {name: script, executable: /var/vcap/jobs/web/bin/script}\n"
        "- {name: place, executable: /bin/true, workdir: /var/vcap/jobs/web/no}\n"
        "- {name: glob, executable: /bin/true, unsafe: {unrestricted_volumes: [{path: '/no/*'}, {path: /nothing}]}}\n",
    )
    (directory / "bin/script").write_text("#!/usr/bin/nothing\n")
    (directory / "bin/script").chmod(0o755)

    findings = check_job(environment, "web")

    assert [
        (2, "missing-disk"),
        (3, "missing-source"),
        (4, "missing-hook"),
    ] == [(problem.line, problem.code) for problem in findings.errors]
    assert [
        (5, "missing-executable"),
        (6, "missing-interpreter"),
        (7, "missing-workdir"),
        (8, "empty-glob"),
        (8, "empty-glob"),
    ] == [(problem.line, problem.code) for problem in findings.warnings]


def test_many_matches_are_told_of(environment: Environment, bosh_root: BoshRoot) -> None:
    """A pattern that 101 paths match is a finding, one that 100 match is none."""
    many = bosh_root.path / "data/many"
    many.mkdir()
    for number in range(101):
        (many / str(number)).touch()
    volume = f"unsafe: {{unrestricted_volumes: [{{path: '{many}/*'}}]}}"
    bosh_root.add_job("web", f"processes: [{{name: web, executable: /bin/true, {volume}}}]")

    assert ["wide-glob"] == codes_of(environment)
    (many / "0").unlink()
    assert [] == codes_of(environment)


def test_what_a_start_makes_is_not_missed(environment: Environment, bosh_root: BoshRoot) -> None:
    """What bpm makes, or a hook may make, is no finding before the first start."""
    volume = f"{{path: {bosh_root.path}/data/made}}"
    hook = bosh_root.add_job("other", "processes: []\n") / "bin/hook"
    hook.touch()
    hooked = f"hooks: {{pre_start: {hook}}}, additional_volumes: [{{path: {bosh_root.path}/data/x, mount_only: true}}]"
    bosh_root.add_job(
        "web",
        "processes:\n"
        f"- {{name: web, executable: /bin/true, ephemeral_disk: true, additional_volumes: [{volume}]}}\n"
        f"- {{name: hooked, executable: /bin/true, {hooked}}}\n",
    )

    assert [] == codes_of(environment)


def test_limits_that_cannot_be_had_are_told_of() -> None:
    """A start that goes on without something is a finding."""
    from bpm import HostFacts, load, make_plan
    from bpm.insight.check import lint_plan

    config = load(process("  unsafe: {privileged: true}\n  limits: {memory: 1G}\n"), job="web")
    plan = make_plan(config, None, HostFacts(swap_accounting=False))

    assert ["not-enforced", "not-enforced"] == [problem.code for problem in lint_plan(plan)]


# The command


def test_a_finding_is_a_line(bpm: CommandLine) -> None:
    """Findings go to stdout, as FILE:LINE:COLUMN: SEVERITY: TEXT [CODE], and nothing to stderr."""
    bpm.root.add_job("web", process("  limit: 3\n"))

    done = bpm("check", "web")

    file = bpm.root.path / "jobs/web/config/bpm.yml"
    line = f'{file}:4:3: warning: unknown key "limit", which changes nothing; did you mean "limits"? [unknown-key]\n'
    assert (1, line, "") == (done.returncode, done.stdout, done.stderr)


def test_the_exit_status_tells_the_worst(bpm: CommandLine) -> None:
    """0 for nothing, 1 for warnings, 2 for errors, and for what could not be checked; all jobs without a word."""
    bpm.root.add_job("good", process("").replace("web", "good"))
    assert (0, "", "") == ((done := bpm("check")).returncode, done.stdout, done.stderr)
    bpm.root.add_job("odd", process("  limit: 3\n"))
    assert 1 == bpm("check").returncode
    bpm.root.add_job("bad", process("  args: 3\n"))

    assert (0, 1, 2) == (bpm("check", "good").returncode, bpm("check", "odd").returncode, bpm("check").returncode)
    assert 2 == bpm("check", "--nope").returncode
    assert 2 == bpm("check", "good", "/no/file").returncode


def test_findings_as_json(bpm: CommandLine) -> None:
    """``--json`` prints a list, an empty one too."""
    bpm.root.add_job("web", process("  args: 3\n"))
    bpm.root.add_job("good", process(""))

    (finding,) = json.loads(bpm("check", "web", "--json").stdout)

    assert {
        "file": str(bpm.root.path / "jobs/web/config/bpm.yml"),
        "line": 4,
        "column": 9,
        "severity": "error",
        "text": 'expected a list of strings, found the number "3"',
        "code": "wrong-type",
        "key": "processes[0].args",
    } == finding
    assert [] == json.loads(bpm("check", "good", "--json").stdout)


def test_an_unknown_job_names_those_there_are(bpm: CommandLine) -> None:
    """A job that does not exist is told on stderr, with the nearest and all that do; the others are checked."""
    for job in ("web", "worker"):
        bpm.root.add_job(job, process("  limit: 3\n"))

    done = bpm("check", "wroker", "web")

    assert (2, 1) == (done.returncode, done.stdout.count("\n"))
    there = (
        f'Error: there is no job "wroker" in {bpm.root.path}/jobs; did you mean "worker"? (jobs there: web, worker)\n'
    )
    assert there == done.stderr


def test_files_are_taken_for_themselves(bpm: CommandLine, tmp_path: Path) -> None:
    """A file is checked wherever it is, for the job that its path names; stdin is one too."""
    file = tmp_path / "web.yml"
    file.write_text(process("  ephemeral_disk: true\n  additional_volumes: [{path: /var/vcap/data/web}]\n"))

    named = bpm("check", str(file))
    piped = subprocess.run(
        bpm.argv("check", "-"),
        env=bpm.environment,
        input=process("  limit: 3\n").encode(),
        capture_output=True,
        check=False,
    )

    assert (2, True) == (named.returncode, named.stdout.startswith(f"{file}:5:31: error: invalid volume path"))
    assert (1, True) == (piped.returncode, piped.stdout.startswith(b"<stdin>:4:3: warning: "))


def test_a_job_s_own_file_is_the_job(bpm: CommandLine) -> None:
    """The path of a bpm.yml in the root is checked as the job is: with its files."""
    bpm.root.add_job("web", process("").replace("/bin/true", "/no/program"))

    assert bpm("check", "web").stdout == bpm("check", str(bpm.root.path / "jobs/web/config/bpm.yml")).stdout
    assert "[missing-executable]" in bpm("check", "web").stdout


@pytest.mark.needs_root
def test_everyone_may_check(bpm: CommandLine) -> None:
    """Checking needs no root, nor the user of a machine that is elsewhere; that is told on stderr."""
    bpm.root.add_job("web", process(""))

    done = as_nobody(bpm.argv("check", "web"), {**bpm.environment, "BPM_USER": "nosuchuser"})

    assert (0, "") == (done.returncode, done.stdout)
    assert "bpm: note: " in done.stderr and "nosuchuser" in done.stderr and "1000:1000" in done.stderr


def test_names_of_other_worlds_come_out_right(bpm: CommandLine) -> None:
    """UTF-8 is printed as it is, in any locale; what would move a terminal's cursor is not."""
    bpm.root.add_job("grün-日本", 'processes: [{name: a, executable: /bin/true, "l\\e[31m": 1, ü: 2}]\n')

    done = bpm("check", LC_ALL="C")

    assert f"{bpm.root.path}/jobs/grün-日本/config/bpm.yml:1:" in done.stdout
    assert "\x1b" not in done.stdout and 'unknown key "ü"' in done.stdout


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False), ({}, False)],
    ids=str,
)
def test_colours_are_for_terminals(bpm: CommandLine, variables: dict[str, str], coloured: bool) -> None:
    """A terminal shows the severity in a colour, unless it cannot or NO_COLOR is set; a pipe never does."""
    bpm.root.add_job("web", process("  limit: 3\n"))

    with Typist(bpm.argv("check", "web"), {**bpm.environment, **variables}, columns=80) as typist:
        assert 1 == typist.wait()
        seen = typist.seen + os.read(typist.screen, 65536) if not typist.seen else typist.seen

    assert coloured == (b"\x1b[33mwarning\x1b[0m" in seen)
    assert coloured == (b"\x1b" in seen)
    assert "\x1b" not in bpm("check", "web", **variables).stdout
