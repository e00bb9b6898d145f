"""Fields of a sandbox that mean nothing: refused by their names, before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bpm import Bind, Join, Limits, PlanError, Sandbox, Symlink, Tmpfs

IDS_MAX = 2**32


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hostname": "x" * 65}, "hostname"),
        ({"hostname": "a\0b"}, "hostname"),
        ({"umask": -1}, "umask"),
        ({"umask": 0o1000}, "umask"),
        ({"workdir": ""}, "workdir"),
        ({"workdir": "relative"}, "workdir"),
        ({"workdir": "/a\0"}, "workdir"),
        ({"env": {"A=B": "x"}}, "env.A=B"),
        ({"env": {"": "x"}}, "env."),
        ({"env": {"A": "\0"}}, "env.A"),
        ({"user": -1}, "user"),
        ({"user": IDS_MAX - 1}, "user"),
        ({"user": IDS_MAX}, "user"),
        ({"user": "a\0"}, "user"),
        ({"group": -1}, "group"),
        ({"group": IDS_MAX - 1}, "group"),
        ({"groups": (1, -5)}, "groups[1]"),
        ({"groups": ("no-such-group",)}, "groups[0]"),
        ({"groups": range(70_000)}, "groups"),
        ({"mounts": [Bind("")]}, "mounts[0]"),
        ({"mounts": [Bind("/usr", "/")]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/t", size="x")]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/t", size=-1)]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/t", size=0)]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/t", size="1M,mode=0")]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/t", mode=0o10000)]}, "mounts[0]"),
        ({"mounts": [Tmpfs("/")]}, "mounts[0]"),
        ({"mounts": [Symlink("x", "y")]}, "mounts[0]"),
        ({"mounts": [Symlink("/", "y")]}, "mounts[0]"),
        ({"mounts": [Symlink("/x/../y", "z")]}, "mounts[0]"),
        ({"mounts": [Symlink("/x", "")]}, "mounts[0]"),
        ({"mounts": [Symlink("/x", "y\0")]}, "mounts[0]"),
        ({"mounts": [Symlink("/x", "a"), Symlink("/x", "b")]}, "mounts[1]"),
        ({"mounts": [Bind("/usr"), Symlink("/usr", "a")]}, "mounts[1]"),
        ({"root": "relative"}, "root"),
        ({"limits": Limits(memory=-5)}, "limits.memory"),
        ({"limits": Limits(memory=1.5)}, "limits.memory"),  # type: ignore[arg-type]
        ({"limits": Limits(processes=0)}, "limits.processes"),
        ({"limits": Limits(processes=-2)}, "limits.processes"),
        ({"limits": Limits(cpu=0)}, "limits.cpu"),
        ({"limits": Limits(cpu=-1)}, "limits.cpu"),
        ({"limits": Limits(cpu_weight=0)}, "limits.cpu_weight"),
        ({"limits": Limits(cpu_time=0)}, "limits.cpu_time"),
        ({"limits": Limits(cpu_time=-1)}, "limits.cpu_time"),
        ({"limits": Limits(cpu_time=1.5)}, "limits.cpu_time"),  # type: ignore[arg-type]
        ({"limits": Limits(file_size=-1)}, "limits.file_size"),
        ({"limits": Limits(open_files=-1)}, "limits.open_files"),
        ({"limits": Limits(core_file_size=-2)}, "limits.core_file_size"),
        ({"limits": Limits(wall_time="5")}, "limits.wall_time"),  # type: ignore[arg-type]
        ({"limits": Limits(wall_time=float("inf"))}, "limits.wall_time"),
        ({"limits": Limits(wall_time=float("nan"))}, "limits.wall_time"),
    ],
    ids=str,
)
@pytest.mark.needs_root
def test_a_value_that_means_nothing_is_refused(change: dict[str, Any], field: str) -> None:
    """By a PlanError of its field; running anything in it is, too."""
    sandbox = Sandbox(**change)
    with pytest.raises(PlanError) as caught:
        sandbox.prepare()
    with pytest.raises(PlanError) as again:
        sandbox.run(["/usr/bin/true"])

    assert (field, field) == (caught.value.key, again.value.key)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Sandbox(mounts=Bind("/usr")),  # type: ignore[arg-type]
        lambda: Sandbox(mounts="/usr"),  # type: ignore[arg-type]
        lambda: Sandbox(mounts=["/usr"]),  # type: ignore[list-item]
        lambda: Sandbox(mounts=[None]),  # type: ignore[list-item]
        lambda: Sandbox(join=["/run/netns/x"]),  # type: ignore[list-item]
        lambda: Sandbox(root=3),  # type: ignore[arg-type]
        lambda: Sandbox(user=1.5),  # type: ignore[arg-type]
        lambda: Sandbox(user=b"root"),  # type: ignore[arg-type]
        lambda: Sandbox(groups="adm"),
        lambda: Sandbox(capabilities="CHOWN"),
        lambda: Sandbox(limits={"memory": 1}),  # type: ignore[arg-type]
        lambda: Sandbox(limits=None),  # type: ignore[arg-type]
        lambda: Sandbox(seccomp=True),  # type: ignore[arg-type]
        lambda: Sandbox(env={"A": 1}),  # type: ignore[dict-item]
        lambda: Sandbox(env={b"A": b"x"}),  # type: ignore[dict-item]
        lambda: Sandbox(env=None),  # type: ignore[arg-type]
        lambda: Sandbox(umask="022"),  # type: ignore[arg-type]
        lambda: Sandbox(hostname=3),  # type: ignore[arg-type]
        lambda: Sandbox(workdir=b"/"),  # type: ignore[arg-type]
        lambda: Bind(b"/usr"),  # type: ignore[arg-type]
        lambda: Bind(3),  # type: ignore[arg-type]
        lambda: Tmpfs("/t", mode="755"),  # type: ignore[arg-type]
        lambda: Join(None),  # type: ignore[arg-type]
        lambda: Join("/run/netns/x", "network"),  # type: ignore[arg-type]
    ],
)
def test_a_value_of_another_type_is_refused(make: Callable[[], Any]) -> None:
    """When it is made; what is no piece is not left out in silence."""
    with pytest.raises(TypeError):
        make()


def test_paths_may_be_paths() -> None:
    """As with subprocess: text, or what has a path."""
    usr = Path("/usr")

    assert Bind("/usr", "/u") == Bind(usr, Path("/u"))
    assert Sandbox(root="/usr", workdir="/usr") == Sandbox(root=usr, workdir=usr)
    assert (Tmpfs("/usr"), Symlink("/usr", "/usr"), Join("/usr")) == (Tmpfs(usr), Symlink(usr, usr), Join(usr))


@pytest.mark.needs_root
def test_minus_one_is_no_limit() -> None:
    """Where bpm.yml has it so, too."""
    plan = Sandbox(limits=Limits(processes=-1, core_file_size=-1)).plan()

    assert {"max"} == {setting.value for setting in plan.cgroup.settings if setting.because == "limits.processes"}
    assert [-1] == [limit.soft for limit in plan.rlimits]
