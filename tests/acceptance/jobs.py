"""Jobs for the whole of bpm: files of a BOSH root, started by the real command line, seen by what they print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.cli.conftest import CommandLine
from tests.inside import Seen, read_seen

PROBE = "/var/vcap/packages/probe/bin/probe"

Done = subprocess.CompletedProcess[str]


class Jobs:
    """Makes jobs, and runs bpm on them.

    Args:
        bpm: The command line, on a BOSH root of the test's own.
        probe: The compiled probe; it becomes a package.
    """

    def __init__(self, bpm: CommandLine, probe: Path) -> None:
        self.bpm = bpm
        self.path = bpm.root.path
        shutil.copy(probe, bpm.root.add_package("probe") / "bin/probe")

    def define(self, executable: str, *args: str, job: str = "web", **keys: Any) -> None:
        """A job of one process, or new keys for one that is there; keys are those of bpm.yml."""
        config = {"processes": [{"name": job, "executable": executable, "args": list(args), **keys}]}
        self.write(json.dumps(config, ensure_ascii=False), job)

    def write(self, config: str, job: str = "web") -> None:
        """A job by the text of its bpm.yml."""
        link = self.path / "jobs" / job
        if not link.is_symlink():
            self.bpm.root.add_job(job, "")
        (link / "config/bpm.yml").write_bytes(os.fsencode(config))

    def must(self, *words: str) -> str:
        """What a command prints, which must succeed."""
        done = self.bpm(*words)
        assert 0 == done.returncode, (words, done.stdout, done.stderr)
        return done.stdout

    def output(self, executable: str, *args: str, **keys: Any) -> str:
        """What a program prints when ``bpm run`` runs it in a job, to a good end."""
        self.define(executable, *args, **keys)
        return self.must("run", keys.get("job", "web"))

    def shell(self, script: str, **keys: Any) -> str:
        """What a shell script prints."""
        return self.output("/bin/sh", "-c", script, **keys)

    def attempt(self, script: str, **keys: Any) -> Done:
        """How a shell script ends."""
        self.define("/bin/sh", "-c", script, **keys)
        return self.bpm("run", keys.get("job", "web"))

    def see(self, *attempts: str, **keys: Any) -> Seen:
        """What the probe sees, and what its attempts are answered."""
        return read_seen(self.output(PROBE, *attempts, **keys))

    def elsewhere(self, host: str, *words: str, root: str | None = None) -> Done:
        """Run a command on a host that differs from this one in its mounts.

        Args:
            host: A shell script that makes it so, in a mount namespace of its own.
            root: The BOSH root there.
        """
        prefix = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec", f'{host}\nexec "$@"', "sh"]
        return self.under(prefix, *words, **({"BPM_BOSH_ROOT": root} if root else {}))

    def under(self, prefix: Sequence[str], *words: str, **more_environment: str) -> Done:
        """Run a command by way of another program."""
        return subprocess.run(
            [*prefix, *self.bpm.argv(*words)],
            env={**self.bpm.environment, **more_environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=60,
            check=False,
        )

    @property
    def uid(self) -> int:
        """Whom the jobs run as."""
        import pwd

        return pwd.getpwnam(self.bpm.environment["BPM_USER"]).pw_uid


def cgroup_file(pid: str, controller: str, v1: str, v2: str) -> str:
    """What a file of a process's cgroup says, whichever version the controller is in."""
    places = dict(line.split(":", 2)[1:] for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines())
    name = next((names for names in places if controller in names.split(",")), "")
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        mount, _, kind = line.partition(" - ")
        root, point = mount.split()[3:5]
        words = kind.split()
        if words[0] == ("cgroup" if name else "cgroup2") and (not name or controller in words[2].split(",")):
            below = places[name].removeprefix(root.rstrip("/"))
            return Path(point + below, v1 if name else v2).read_text().strip()
    raise AssertionError(f"no {controller} controller is mounted here")
