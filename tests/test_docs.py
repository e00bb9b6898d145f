"""The manual's examples run as they stand, as root and as an ordinary user, and are typed as they stand."""

from __future__ import annotations

import doctest
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bpm
from bpm import aio
from tests.conftest import BoshRoot
from tests.manual import CHECKOUT, Example, examples_of

LIBRARY = examples_of("docs/library.md")
README = examples_of("README.md")

# What bpm needs when it runs; the ordinary user gets a copy, wherever this checkout is.
PACKAGES = ("bpm", "attr", "attrs", "cffi", "_cffi_backend", "yaml")

JOB = """\
processes:
- name: web
  executable: /bin/sleep
  args: [{seconds}]
  limits:
    memory: 64M
"""


def place(example: Example) -> str:
    return example.place


@pytest.fixture(scope="module")
def site(open_directory: Path) -> Path:
    """A directory of packages that every user can read."""
    site = open_directory / "site"
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        if spec.submodule_search_locations:
            shutil.copytree(origin.parent, site / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, site)
    subprocess.run(["chmod", "-R", "a+rX", site], check=True)
    return site


@pytest.fixture(params=["root", "user"])
def who(request: pytest.FixtureRequest) -> str:
    """Whom an example runs as."""
    name: str = request.param
    return name


@pytest.fixture
def python(who: str, job_user: pwd.struct_passwd) -> str:
    """This interpreter, which they can run."""
    if who == "root":
        return sys.executable
    base: str = sys._base_executable  # type: ignore[attr-defined]
    try:
        subprocess.run([base, "-c", ""], user=job_user.pw_uid, group=job_user.pw_gid, extra_groups=[], check=True)
    except PermissionError as error:
        pytest.skip(f"only root can run this interpreter: {error}")
    return base


def run_example(
    example: Example, python: str, site: Path, user: pwd.struct_passwd | None, *, root: Path, cwd: Path
) -> subprocess.CompletedProcess[str]:
    """Run it as a file of its own, with warnings as errors."""
    file = site.parent / "example.py"
    file.write_text(example.code)
    file.chmod(0o644)
    identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
    return subprocess.run(
        [python, "-W", "error", file],
        env={"PATH": os.defpath, "PYTHONPATH": str(site), "BPM_BOSH_ROOT": str(root), "BPM_USER": "nobody"},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        **identity,  # type: ignore[call-overload]
    )


@pytest.mark.needs_root
@pytest.mark.parametrize("example", LIBRARY, ids=place)
def test_the_library_page_runs_as_written(
    example: Example, who: str, python: str, site: Path, job_user: pwd.struct_passwd, bosh_root: BoshRoot
) -> None:
    """Every example prints what stands below it, and no warning."""
    bosh_root.add_job("web", JOB.format(seconds=60))
    user = job_user if who == "user" else None
    done = run_example(example, python, site, user, root=bosh_root.path, cwd=Path("/"))

    assert (0, "") == (done.returncode, done.stderr)
    wanted, checker = example.output_for(who), doctest.OutputChecker()
    assert checker.check_output(wanted, done.stdout, doctest.ELLIPSIS), f"{done.stdout}\n--- wanted ---\n{wanted}"


@pytest.mark.needs_root
@pytest.mark.parametrize("example", README, ids=place)
def test_the_readme_runs_as_written(example: Example, site: Path, bosh_root: BoshRoot) -> None:
    """As root, next to a bpm.yml."""
    job = bosh_root.add_job("web", JOB.format(seconds=0))
    done = run_example(example, sys.executable, site, None, root=bosh_root.path, cwd=job / "config")

    assert (0, "") == (done.returncode, done.stderr)


def test_every_example_shows_what_it_prints() -> None:
    """No example of the page is without its output, and none differs for one of the two only."""
    assert [] == [example.place for example in LIBRARY if set(example.outputs) not in ({""}, {"root", "user"})]


def test_the_reference_has_every_public_name() -> None:
    """docs/api.md, from which Sphinx makes the reference, lists each name once."""
    listed = re.findall(r"^\.\. auto\w+:: bpm\.(\S+)$", (CHECKOUT / "docs/api.md").read_text(), re.MULTILINE)

    assert sorted([*bpm.__all__, *(f"aio.{name}" for name in aio.__all__)]) == sorted([*listed, "__version__"])


def test_the_page_begins_with_ten_lines() -> None:
    """That work: an import, a sandbox, a run, what came of it."""
    assert len(LIBRARY[0].code.splitlines()) <= 10


def test_a_users_files_are_typed(tmp_path: Path) -> None:
    """mypy --strict finds nothing in a user's wrapper, nor in the manual's examples; and py.typed is shipped."""
    assert (Path(bpm.__file__).parent / "py.typed").exists()
    files = [CHECKOUT / "tests/typed/wrapper.py"]
    for number, example in enumerate(LIBRARY + README):
        file = tmp_path / f"example_{number}.py"
        file.write_text(f"# {example.place}\n{example.code}")
        files.append(file)
    options = ["--strict", "--python-version", "3.10", "--config-file", os.devnull]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "--cache-dir", CHECKOUT / ".mypy_cache/users", *files],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert f"Success: no issues found in {len(files)} source files\n" == checked.stdout, checked.stdout + checked.stderr
