"""Why a path is as it is inside, told from the plan and the files of the host."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
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
        ("/proc/1/maps", "writable", "the kernel's own proc"),
        ("/proc/nothing", "absent", "this kernel's proc has no /proc/nothing"),
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


def test_a_destination_beyond_a_link_is_where_the_link_leads(ask: Ask, elsewhere: Path) -> None:
    """What is mounted by way of a link of another volume is found by either name, with its own mount's options."""
    (elsewhere / "real/deep").mkdir(parents=True)
    (elsewhere / "link").symlink_to("real")
    through = f"{elsewhere}/link/deep"
    keys = f", unsafe: {{unrestricted_volumes: [{{path: {elsewhere}}}, {{path: {through}, writable: true}}]}}"

    for path in (through, elsewhere / "real/deep"):
        told = ask(path, keys)

        assert told.mount is not None
        assert (through, "processes[0].unsafe.unrestricted_volumes[1]") == (told.mount.target, told.mount.because)
        assert "rw" in told.mount.options
    assert f"{elsewhere}/real/deep" == ask(through, keys).leads_to
    above = ask(elsewhere / "real", keys).mount
    assert above is not None
    assert str(elsewhere) == above.target


def test_a_file_leads_nowhere(ask: Ask) -> None:
    """Not even to the directory it is in."""
    told, reason = ask("/usr/bin/env/.."), "/usr/bin/env/.. leads through /usr/bin/env, which is no directory"

    assert ("absent", reason) == (told.verdict, told.reason)


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


@pytest.fixture
def mounted_below(bosh_root: BoshRoot) -> Iterator[Path]:
    """A read-only file system of the host's, with a program on it, mounted below a directory of the BOSH root."""
    below = bosh_root.path / "data/volume/below"
    below.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "none", below], check=True)
    try:
        (below / "program").touch(0o777)
        subprocess.run(["mount", "-o", "remount,bind,ro,noexec", below], check=True)
        yield below
    finally:
        subprocess.run(["umount", below], check=True)


def test_what_the_host_forbids_below_a_volume_stays_forbidden(ask: Ask, mounted_below: Path) -> None:
    """A volume's own key opens its topmost mount, and not what the host has mounted below it."""
    told = ask(
        mounted_below / "program",
        f", additional_volumes: [{{path: {mounted_below.parent}, writable: true, allow_executions: true}}]",
    )

    assert ("read-only", f"the host itself has {mounted_below} mounted read-only") == (told.verdict, told.reason)
    assert f"the host itself has {mounted_below} mounted noexec" == told.access[2].why
    # Mounted for itself, it is the topmost.
    entry = "processes[0].additional_volumes[1]"
    assert [("write to it", entry), ("execute it", entry)] == [(wish, key) for wish, key, _ in remedies(told)]


def test_what_does_not_come_along_is_hidden(ask: Ask, bosh_root: BoshRoot) -> None:
    """What the host mounts below the packages is not seen, since they are not mounted with all that is below them."""
    package = bosh_root.path / "data/packages/other"
    package.mkdir()
    ask("/")
    subprocess.run(["mount", "-t", "tmpfs", "none", package], check=True)
    try:
        (package / "file").touch()
        told = ask("/var/vcap/data/packages/other/file")
    finally:
        subprocess.run(["umount", package], check=True)

    assert "hidden" == told.verdict
    assert f"what the host has mounted at {package} does not come along with /var/vcap/data/packages" in told.reason


def test_a_neighbour_is_on_the_host_only(ask: Ask, bosh_root: BoshRoot) -> None:
    """Another job of the BOSH root exists, wherever that root is, and is told of by its name on the host."""
    bosh_root.add_job("other", "processes: []")

    told = ask("/var/vcap/jobs/other")

    assert ("absent", f"{bosh_root.path}/jobs/other exists on the host, but nothing mounts it into the container") == (
        told.verdict,
        told.reason,
    )


def test_what_a_start_makes_where_nothing_shows_it(ask: Ask, bosh_root: BoshRoot) -> None:
    """The socket directory is made, and a job that wants to see it must ask for it."""
    reason = f"a start makes {bosh_root.path}/sys/run/web on the host (because default: socket directory)"

    assert ("absent", True) == ((told := ask("/var/vcap/sys/run/web")).verdict, told.reason.startswith(reason))


def test_the_containers_own_root_is_roots(ask: Ask) -> None:
    """There a privileged process may make what it likes, for as long as it lives."""
    closed, opened = ask("/var"), ask("/var", ", unsafe: {privileged: true}")

    assert ("read-only", "it is root's") == (closed.verdict, closed.access[1].why)
    assert ("writable", True) == (opened.verdict, opened.access[1].allowed)
