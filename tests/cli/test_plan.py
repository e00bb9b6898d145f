"""``bpm plan``, as people and their tools use it."""

from __future__ import annotations

import json
import shutil

import pytest

from bpm import ProcessPlan
from bpm.cli.text import lay_out
from tests.cli.conftest import CommandLine, as_nobody
from tests.cli.typist import Typist

SLEEP = "processes: [{{name: web, executable: /bin/sleep, args: [100], limits: {{open_files: {}}}}}]\n"


def test_each_line_has_its_reason(bpm: CommandLine) -> None:
    """Below titles stand lines, each with its reason after a hash; the reasons of one section line up."""
    bpm.root.add_job("web", SLEEP.format(100))

    done = bpm("plan", "web")

    assert (0, "") == (done.returncode, done.stderr)
    assert "\nMounts\n  /proc " in done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    assert all("  # " in line for line in lines)
    limits = done.stdout.partition("\nLimits\n")[2].partition("\n\n")[0]
    assert "  RLIMIT_NOFILE  100  # processes[0].limits.open_files" == limits


def test_the_json_is_the_plan(bpm: CommandLine) -> None:
    """``--json`` prints what the library reads back as the plan that a start would carry out."""
    bpm.root.add_job("web", SLEEP.format(100))

    plan = ProcessPlan.from_json(bpm("plan", "web", "--json").stdout)

    assert (("/bin/sleep", "100"), str(bpm.root.path)) == (plan.argv, plan.root)


def test_flags_are_those_of_run(bpm: CommandLine) -> None:
    """A variable and a volume of flags are in the plan, with the flag as the reason."""
    bpm.root.add_job("web", SLEEP.format(100))

    out = bpm("plan", "web", "-e", "A=b", "-v", f"{bpm.root.path}/data/x:writable").stdout

    assert "# flag -e[0]" in out and "# flag -v[0]" in out


def test_the_only_process_needs_no_name(bpm: CommandLine) -> None:
    """Where a job has one process, that one is meant; of several, one that does not exist names those that do."""
    bpm.root.add_job("one", "processes: [{name: other, executable: /bin/true}]\n")
    bpm.root.add_job("two", "processes: [{name: a, executable: /bin/true}, {name: b, executable: /bin/true}]\n")

    assert 0 == bpm("plan", "one").returncode
    assert 'Error: there is no process "two" in the job two (processes there: a, b)\n' == bpm("plan", "two").stderr
    assert f'there is no job "on" in {bpm.root.path}/jobs; did you mean "one"?' in bpm("plan", "on").stderr


def test_what_cannot_be_planned_is_an_error(bpm: CommandLine) -> None:
    """What a start would refuse is refused, with nothing on stdout."""
    bpm.root.add_job("web", "processes: [{name: web, executable: /b, limits: {memory: lots}}]\n")

    done = bpm("plan", "web")

    assert (1, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("Error: byte quantity must be ")


@pytest.mark.needs_root
def test_everyone_may_plan_for_another_machine(bpm: CommandLine) -> None:
    """A root directory copied from elsewhere, whose user is unknown here, is planned by who is not root."""
    bpm.root.add_job("web", SLEEP.format(100))
    environment = {**bpm.environment, "BPM_USER": "nosuchuser"}

    done = as_nobody(bpm.argv("plan", "web", "--json"), environment)

    note = (
        "this machine has no user 'nosuchuser', whom processes run as; the one of a BOSH stemcell, 1000:1000, is meant"
    )
    assert (0, f"bpm: note: {note}\n") == (done.returncode, done.stderr)
    assert (1000, 1000) == ((identity := ProcessPlan.from_json(done.stdout).identity).uid, identity.gid)
    assert [] == list((bpm.root.path / "data/sys/log").iterdir())


@pytest.mark.needs_root
def test_diff_tells_what_a_restart_would_change(bpm: CommandLine) -> None:
    """Against what runs, nothing differs until bpm.yml does; then the old line and the new one are shown."""
    job = bpm.root.add_job("web", SLEEP.format(100))
    nothing = bpm("plan", "web", "--diff")
    assert 0 == bpm("start", "web").returncode

    same = bpm("plan", "web", "--diff")
    (job / "config/bpm.yml").write_text(SLEEP.format(200))
    other = bpm("plan", "web", "--diff")

    assert (2, "", "Error: process is not running or could not be found\n") == (
        nothing.returncode,
        nothing.stdout,
        nothing.stderr,
    )
    assert (0, "", "") == (same.returncode, same.stdout, same.stderr)
    assert (1, "") == (other.returncode, other.stderr)
    assert [
        "Limits",
        "- RLIMIT_NOFILE  100  # processes[0].limits.open_files",
        "+ RLIMIT_NOFILE  200  # processes[0].limits.open_files",
    ] == other.stdout.splitlines()
    assert ["-", "+"] == [change["change"] for change in json.loads(bpm("plan", "web", "-d", "--json").stdout)]


@pytest.mark.needs_root
def test_only_root_sees_what_runs(bpm: CommandLine) -> None:
    """For anyone else, ``--diff`` says that it cannot know."""
    bpm.root.add_job("web", SLEEP.format(100))

    done = as_nobody(bpm.argv("plan", "web", "--diff"), bpm.environment)

    assert (2, "", "Error: only root can see what is running\n") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.needs_root
def test_a_root_that_moved_is_still_planned(bpm: CommandLine, tmp_path: object) -> None:
    """A plan needs nothing but the root's jobs directory."""
    bpm.root.add_job("web", SLEEP.format(100))
    for name in ("data/sys", "data/packages"):
        shutil.rmtree(bpm.root.path / name)

    assert 0 == bpm("plan", "web").returncode


# At a terminal


def screen(bpm: CommandLine, columns: int, **variables: str) -> str:
    """What a terminal of that width gets to see."""
    with Typist(bpm.argv("plan", "web"), {**bpm.environment, **variables}, rows=50, columns=columns) as typist:
        typist.read_until("default: environment")
        assert 0 == typist.wait()
        return typist.seen.decode()


@pytest.mark.same_everywhere
def test_lines_fit_the_terminal(bpm: CommandLine) -> None:
    """In 80 columns no line is longer, unless a single name is; and nothing is left out."""
    bpm.root.add_job("web", SLEEP.format(100))

    seen = screen(bpm, 80).splitlines()

    assert [] == [line for line in seen if len(line) > 80 and len(line.split()) > 1]
    assert any(line.startswith("      # processes[0].limits") or "  # processes[0].limits" in line for line in seen)


@pytest.mark.same_everywhere
def test_colours_are_for_terminals(bpm: CommandLine) -> None:
    """A terminal has bold titles, unless NO_COLOR is set."""
    bpm.root.add_job("web", SLEEP.format(100))

    assert "\x1b[1mMounts\x1b[0m" in screen(bpm, 200, TERM="xterm")
    assert "\x1b" not in screen(bpm, 200, TERM="xterm", NO_COLOR="1")


@pytest.mark.same_everywhere
def test_wide_letters_line_up(capfd: pytest.CaptureFixture[str]) -> None:
    """Columns line up by what letters take on the screen; what would move the cursor is shown as an escape."""
    lay_out("T", [("", ("日本", "x"), "a"), ("", ("e\u0301", "y"), "b"), ("", ("\x1b[1m", "z"), "c")])

    assert "T\n  日本     x  # a\n  e\u0301        y  # b\n  \\x1b[1m  z  # c\n" == capfd.readouterr().out
