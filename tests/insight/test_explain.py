"""Why a path is as it is inside, told from the plan and the files of the host."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bpm import Environment, Explanation, explain_path
from tests.conftest import BoshRoot

pytestmark = pytest.mark.needs_root

Ask = Callable[..., Explanation]


@pytest.fixture
def ask(bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> Ask:
    """Asks for a path in a process with these further keys."""

    def explain(path: object, keys: str = "") -> Explanation:
        config = bosh_root.path / "jobs/web/config/bpm.yml"
        text = f"processes: [{{name: web, executable: /bin/true{keys}}}]\n"
        if config.exists():
            config.write_text(text)
        else:
            bosh_root.add_job("web", text)
        return explain_path(Environment(str(bosh_root.path), job_user.pw_name), "web", "web", str(path))

    return explain


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A directory of the host that no container has, which everyone may use."""
    directory = tempfile.mkdtemp(prefix="bpm-elsewhere-", dir="/srv")
    os.chmod(directory, 0o777)
    yield Path(directory)
    shutil.rmtree(directory)


def remedies(told: Explanation) -> list[tuple[str, str, str]]:
    return [(remedy.wish, remedy.key, remedy.text) for remedy in told.remedies]


def test_the_system_is_read_only(ask: Ask) -> None:
    """A program of the host is there, may be executed, and is mounted read-only by default."""
    told = ask("/usr/bin/env")

    assert ("read-only", "/usr is mounted read-only (because default: system mounts)") == (told.verdict, told.reason)
    assert [True, False, True] == [each.allowed for each in told.access]
    assert told.outside == "/usr/bin/env"


def test_what_nothing_mounts_is_absent(ask: Ask, elsewhere: Path) -> None:
    """A file that only the host has is absent, and an unrestricted volume would show it."""
    told = ask(elsewhere)

    assert ("absent", None) == (told.verdict, told.outside)
    assert "nothing mounts it" in told.reason
    key, text = "processes[0].unsafe.unrestricted_volumes[0]", f"{{path: {elsewhere}, mount_only: true}}"
    assert [("see it", key, text)] == remedies(told)


def test_what_nobody_has_is_absent(ask: Ask) -> None:
    """Of a path that the host has not either, no key can help."""

    assert [("see it", "", "there is no /no/such on the host either")] == remedies(ask("/no/such"))


def test_a_volume_may_be_made_writable(ask: Ask, elsewhere: Path) -> None:
    """On a read-only volume, its own key is what would change it."""
    told = ask(elsewhere / ".", f", unsafe: {{unrestricted_volumes: [{{path: {elsewhere}}}]}}")

    entry = "processes[0].unsafe.unrestricted_volumes[0]"
    assert ("read-only", f"{elsewhere} is mounted read-only (because {entry})") == (told.verdict, told.reason)
    assert [("write to it", f"{entry}.writable", "true")] == remedies(told)


def test_a_program_on_a_volume_may_be_allowed(ask: Ask, elsewhere: Path) -> None:
    """A program on a volume that is mounted noexec is told so, and the key that would allow it."""
    program = elsewhere / "program"
    program.touch(mode=0o755)
    program.chmod(0o777)
    told = ask(program, f", unsafe: {{unrestricted_volumes: [{{path: {elsewhere}, writable: true}}]}}")

    entry = "processes[0].unsafe.unrestricted_volumes[0]"
    assert ("writable", f"{elsewhere} is mounted noexec (because {entry})") == (told.verdict, told.access[2].why)
    assert [("execute it", f"{entry}.allow_executions", "true")] == remedies(told)


def test_below_the_root_an_additional_volume_will_do(ask: Ask, bosh_root: BoshRoot) -> None:
    """What lies in the BOSH root needs no unsafe key."""
    (bosh_root.path / "data/shared").mkdir()

    ((wish, key, _),) = remedies(ask(bosh_root.path / "data/shared"))

    assert ("see it", "processes[0].additional_volumes[0]") == (wish, key)


def test_the_root_has_another_name_inside(ask: Ask, bosh_root: BoshRoot) -> None:
    """Who asks for the host's path of something that the container has is told where it has it."""
    ((_, key, text),) = remedies(ask(bosh_root.path / "jobs/web/config/bpm.yml"))

    assert ("", "use /var/vcap/jobs/web/config/bpm.yml: inside, the BOSH root is /var/vcap") == (key, text)


def test_a_disk_is_asked_for_by_its_key(ask: Ask, bosh_root: BoshRoot) -> None:
    """The job's own data is there with ephemeral_disk, its store with persistent_disk."""
    (bosh_root.path / "data/web").mkdir()
    (bosh_root.path / "store/web").mkdir(parents=True)
    for path, key in (("/var/vcap/data/web", "ephemeral_disk"), ("/var/vcap/store/web", "persistent_disk")):
        file = str(bosh_root.path) + path.removeprefix("/var/vcap") + "/file"
        Path(file).touch()

        assert ("see it", f"processes[0].{key}", "true") == remedies(ask(f"{path}/file"))[0]
        assert ask(f"{path}/file", f", {key}: true").outside == file


def test_what_a_start_makes_is_told_so(ask: Ask) -> None:
    """Before the first start, the temporary directory is not there, and is told of as it will be."""
    told = ask("/tmp")

    assert ("writable", "a start makes it (because default: temporary directory)") == (told.verdict, told.reason)
    assert "absent" == ask("/tmp/file").verdict


def test_owners_are_those_after_a_start(ask: Ask, bosh_root: BoshRoot, job_user: pwd.struct_passwd) -> None:
    """A volume that bpm gives to the process's user is writable, whoever owns it now."""
    volume = bosh_root.path / "data/x"
    volume.mkdir()
    told = ask(volume, f", additional_volumes: [{{path: {volume}, writable: true}}]")

    assert ("writable", f"directory, owner {job_user.pw_uid}:{job_user.pw_gid}, mode 0700") == (told.verdict, told.kind)


def test_what_only_the_mode_forbids_no_key_allows(ask: Ask) -> None:
    """Where owner and mode are in the way, they are what is to be changed."""
    told = ask("/etc/shadow")

    assert ("read it", "", "change owner or mode of /etc/shadow on the host") in remedies(told)
    assert "owner and mode do not let" in told.access[0].why


@pytest.mark.parametrize(
    ("path", "verdict", "words"),
    [
        ("/sys/firmware/x", "hidden", "/sys/firmware is masked"),
        ("/proc/sys/kernel", "read-only", "/proc/sys is made read-only"),
        ("/dev/null", "writable", "bpm makes this device"),
        ("/dev/sda", "absent", "begins empty"),
        ("/sys/kernel", "read-only", "the kernel's own sysfs"),
        ("/var", "read-only", "a directory that bpm makes in the container's own root"),
    ],
)
def test_what_the_kernel_and_bpm_make(ask: Ask, path: str, verdict: str, words: str) -> None:
    """What is no file of the host is told of by the plan."""
    told = ask(path)

    assert (verdict, True) == (told.verdict, words in told.reason), told.reason


def test_links_are_followed_inside(ask: Ask, bosh_root: BoshRoot) -> None:
    """A link leads where it leads inside; a relative path begins in the working directory."""
    directory = Path(os.path.realpath(bosh_root.path / "jobs")) / "web"
    ask("/")
    (directory / "bin/link").symlink_to("/usr/bin/env")

    assert "/usr/bin/env" == ask("bin/link").leads_to


def test_what_was_dropped_is_told(ask: Ask) -> None:
    """A volume that was asked for and is not mounted is told of, with the reason."""
    told = ask("/var/vcap/jobs/web/x", ", unsafe: {unrestricted_volumes: [{path: /var/vcap/jobs/web/x}]}")

    assert told.dropped == () or "inside one of the job's own mounts" in told.dropped[0]


def test_what_it_says_is_what_happens(
    ask: Ask, elsewhere: Path, bosh_root: BoshRoot, job_user: pwd.struct_passwd
) -> None:
    """A program that runs with these keys can do what is said that it may, and nothing that is said it may not."""
    (elsewhere / "readable").touch(mode=0o644)
    (elsewhere / "secret").touch(mode=0o600)
    (elsewhere / "open").touch()
    (elsewhere / "open").chmod(0o666)
    paths = [
        *(elsewhere / name for name in ("readable", "secret", "open", "nothing")),
        *("/usr/bin/env", "/etc/shadow", "/tmp", "/dev/null", "/proc/sys", "/var", "/root/.bashrc", "/dev/sda"),
    ]
    for options in ("", ", writable: true"):
        keys = f", unsafe: {{unrestricted_volumes: [{{path: {elsewhere}{options}}}]}}"
        told = [ask(path, keys) for path in paths]
        test = 'for p in "$@"; do for t in e r w; do env test -$t "$p" && printf 1 || printf 0; done; echo; done'
        argv = ", ".join(f"'{word}'" for word in ("-c", test.replace("'", "''"), "sh", *map(str, paths)))
        (bosh_root.path / "jobs/web/config/bpm.yml").write_text(
            f"processes: [{{name: web, executable: /bin/sh, args: [{argv}]{keys}}}]"
        )
        read, write = os.pipe()
        Environment(str(bosh_root.path), job_user.pw_name).process("web").run(stdout=write)
        os.close(write)
        with os.fdopen(read) as output:
            seen = output.read().split()

        for path, each, (exists, readable, writable) in zip(paths, told, seen, strict=True):
            assert (each.verdict not in ("absent", "hidden")) == (exists == "1"), (path, each)
            assert (each.verdict == "writable") == (writable == "1"), (path, each)
            if each.access:
                assert each.access[0].allowed == (readable == "1"), (path, each)
