"""An ordinary user, and becoming one."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.inside import wait_for
from tests.native.callers import check, libc

PR_SET_DUMPABLE = 4
RANGES = (Path("/etc/subuid"), Path("/etc/subgid"))


@contextmanager
def made_user() -> Iterator[pwd.struct_passwd]:
    """One made for as long as the block lasts, with ranges of ids for newuidmap(1)."""
    name = f"bpmuser{os.getpid()}"
    new = [path for path in RANGES if not path.exists()]
    subprocess.run(["useradd", "--system", "--no-create-home", name], check=True)
    user = pwd.getpwnam(name)
    give_ranges(user)
    try:
        yield user
    finally:
        take_ranges(user)
        # Not before the kernel, or a late pid 1, has let go of all that ran as this user.
        assert wait_for(lambda: subprocess.run(["userdel", name], capture_output=True).returncode == 0)
        for path in new:
            if path.exists() and not path.read_bytes():
                path.unlink()


def give_ranges(user: pwd.struct_passwd) -> None:
    for path in RANGES:
        with path.open("a") as file:
            file.write(f"{user.pw_name}:300000:65536\n")


def take_ranges(user: pwd.struct_passwd) -> None:
    for path in RANGES:
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(user.pw_name)))


def become(user: pwd.struct_passwd, groups: Sequence[int] = ()) -> None:
    """Make this process (a fork) one that this user has started."""
    os.setgroups(groups)
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    check(libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
