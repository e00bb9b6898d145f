"""One look at the host."""

from __future__ import annotations

import os
import pwd
import subprocess

import pytest

from bpm import host
from bpm.config import JobConfig, ProcessConfig, Unsafe, Volume
from bpm.errors import HostError, PlanError
from bpm.plan import CAPABILITIES, OPTIONAL_PATHS, User

WHO = "root"


def job(*paths: str) -> JobConfig:
    """A job of two processes, both with these unrestricted volumes."""
    unsafe = Unsafe(unrestricted_volumes=tuple(Volume(path=path) for path in paths))
    return JobConfig((ProcessConfig(name="a", unsafe=unsafe), ProcessConfig(name="b", unsafe=unsafe)))


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BPM_BOSH_ROOT", raising=False)
    monkeypatch.delenv("BPM_USER", raising=False)


class TestRoot:
    def test_given(self, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
        """The root that is given comes before $BPM_BOSH_ROOT."""
        monkeypatch.setenv("BPM_BOSH_ROOT", "/usr")
        assert (str(tmp_path), "/usr") == (host.find_root(str(tmp_path)), host.find_root())

    @pytest.mark.parametrize("path", ["/usr/", "//usr", "/usr/.", "/usr/../usr", "/./usr//"])
    def test_clean(self, path: str) -> None:
        """The root is a clean path, however it is written."""
        assert "/usr" == host.find_root(path)

    def test_link(self, tmp_path: object) -> None:
        """A root that is a link keeps its name."""
        os.symlink("/usr", f"{tmp_path}/root")
        assert f"{tmp_path}/root" == host.find_root(f"{tmp_path}/root")

    @pytest.mark.parametrize(
        ("path", "reason"),
        [
            ("relative", "'relative' is not an absolute path"),
            ("/no/such", "/no/such: No such file or directory"),
            ("/etc/passwd", "/etc/passwd: Not a directory"),
            ("/a\0b", "is not a path"),
        ],
    )
    def test_wrong(self, path: str, reason: str) -> None:
        """A root that cannot be used gets one line, which names it and $BPM_BOSH_ROOT."""
        with pytest.raises(HostError) as caught:
            host.find_root(path)
        assert reason in str(caught.value)
        assert "$BPM_BOSH_ROOT" in str(caught.value)
        assert 1 == len(str(caught.value).splitlines())

    def test_empty_variables_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An empty variable is as good as none: the default is meant, here a root that does not exist or does."""
        monkeypatch.setenv("BPM_BOSH_ROOT", "")
        try:
            assert "/var/vcap" == host.find_root()
        except HostError as error:
            assert "cannot use the BOSH root /var/vcap: " in str(error)


class TestUser:
    def test_given(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The user who is given comes before $BPM_USER."""
        nobody = pwd.getpwnam("nobody")
        monkeypatch.setenv("BPM_USER", "nobody")
        expected = (User("nobody", nobody.pw_uid, nobody.pw_gid), User(WHO, 0, 0))
        assert expected == (host.find_user(), host.find_user(WHO))

    @pytest.mark.parametrize("name", ["nobody-of-that-name", "a\0b", "é" * 300])
    def test_missing(self, name: str) -> None:
        """A missing user gets one line, which names the user, $BPM_USER and the way out."""
        with pytest.raises(HostError) as caught:
            host.find_user(name)
        expected = f"this machine has no user {name!r}, whom processes run as: create that user, or name another one in"
        assert f"{expected} $BPM_USER" == str(caught.value)


class TestObserve:
    def test_this_host(self, tmp_path: object) -> None:
        """The facts are this host's: asked for in another way, they are the same."""
        facts = host.observe(JobConfig(), root=str(tmp_path), user=WHO)
        assert (str(tmp_path), User(WHO, 0, 0)) == (facts.root, facts.user)
        assert {path for path in OPTIONAL_PATHS if os.path.exists(path)} == facts.existing
        assert (
            subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True).stdout == facts.machine + "\n"
        )
        for controller in facts.controllers:
            assert os.path.ismount(controller.mount_point)

    def test_capabilities(self, tmp_path: object) -> None:
        """The capabilities are those that prctl(2) finds in the bounding set."""
        import ctypes

        prctl = ctypes.CDLL(None).prctl  # 23 is PR_CAPBSET_READ
        expected = {name for number, name in enumerate(CAPABILITIES) if prctl(23, number, 0, 0, 0) == 1}
        assert expected == host.observe(JobConfig(), root=str(tmp_path), user=WHO).capabilities

    def test_looks_twice_the_same(self, tmp_path: object) -> None:
        """Looking changes nothing: two looks are equal."""
        config = job("/etc/*", "/dev/null")
        looks = [host.observe(config, root=str(tmp_path), user=WHO) for _ in range(2)]
        assert looks[0] == looks[1]

    def test_volumes(self, tmp_path: object) -> None:
        """Each pattern is looked up once; an existing literal path stands for itself, a missing one for nothing."""
        for name in ("b", "a", ".c"):
            open(f"{tmp_path}/{name}", "w").close()
        facts = host.observe(job(f"{tmp_path}/*", f"{tmp_path}/a", f"{tmp_path}/none"), root=str(tmp_path), user=WHO)
        every = tuple(f"{tmp_path}/{name}" for name in (".c", "a", "b"))
        assert ((f"{tmp_path}/*", every), (f"{tmp_path}/none", ())) == facts.globs
        expected = (every, (f"{tmp_path}/a",), ())
        assert expected == tuple(facts.matches(f"{tmp_path}/{name}") for name in ("*", "a", "none"))

    def test_malformed_pattern(self, tmp_path: object) -> None:
        """A malformed pattern is refused, with its key."""
        with pytest.raises(PlanError, match=r"malformed pattern '/x/\[': the \[ is not closed") as caught:
            host.observe(job("/y", "/x/["), root=str(tmp_path), user=WHO)
        assert "processes[0].unsafe.unrestricted_volumes[1].path" == caught.value.key

    def test_no_descriptor_stays_open(self, tmp_path: object) -> None:
        """Looking leaves no descriptor."""
        before = os.listdir("/proc/self/fd")
        host.observe(job("/etc/*/*"), root=str(tmp_path), user=WHO)
        assert before == os.listdir("/proc/self/fd")
