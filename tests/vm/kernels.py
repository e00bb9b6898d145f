"""The kernels: Debian's package user-mode-linux, fetched by apt as published in several suites.

Apt gets a private directory with one suite in it, and the machine's own packages stay as they are. A kernel of a newer
suite wants its libc too, so that is fetched with it, and laid beside it.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path

from attrs import frozen

MIRROR = os.environ.get("BPM_DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"

_WANTED = ("linux.uml", "overlay.ko", "libc.so.6", "ld-linux-x86-64.so.2")

_APT = """
Dir::State "{0}/state";
Dir::State::status "{0}/status";
Dir::Cache "{0}/cache";
Dir::Etc::sourcelist "{0}/sources.list";
Dir::Etc::sourceparts "-";
APT::Sandbox::User "root";
APT::Architecture "amd64";
APT::Architectures {{ "amd64"; }};
Acquire::Languages "none";
"""


@frozen
class Kernel:
    """A kernel that can be executed.

    Args:
        directory: Where ``linux.uml``, its libraries, and ``overlay.ko``, its one module, are.
    """

    directory: Path

    @property
    def program(self) -> Path:
        return self.directory / "linux.uml"

    @property
    def module(self) -> Path:
        return self.directory / "overlay.ko"

    @property
    def environment(self) -> dict[str, str]:
        """What it is executed with, to be linked with its own libc."""
        return {"LD_LIBRARY_PATH": str(self.directory)}


def explain_absence() -> str | None:
    """Why no such kernel can be had on this machine; None where it can."""
    if os.uname().machine != "x86_64":
        return f"User Mode Linux is for x86_64, and this is {os.uname().machine}"
    missing = [name for name in ("apt-get", "dpkg-deb") if shutil.which(name) is None]
    return f"the kernels are Debian's packages, and here is no {' and no '.join(missing)}" if missing else None


def get_kernel(suite: str) -> Kernel:
    """The kernel of a suite of Debian, from the cache, or fetched into it.

    Raises:
        subprocess.CalledProcessError: Apt cannot get it, and has said why.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "bpm-test-kernels")
    directory = cache / suite
    if not directory.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{suite}-", dir=cache) as private:
            fetched = Path(private, "kernel")
            fetched.mkdir()
            _fetch(suite, Path(private), fetched)
            _set_interpreter(fetched / "linux.uml", directory / "ld-linux-x86-64.so.2")
            fetched.rename(directory)
    return Kernel(directory)


def _fetch(suite: str, private: Path, into: Path) -> None:
    (private / "apt.conf").write_text(_APT.format(private))
    (private / "sources.list").write_text(f"deb [signed-by={KEYS}] {MIRROR} {suite} main\n")
    (private / "status").touch()
    for name in ("state/lists/partial", "cache/archives/partial"):
        (private / name).mkdir(parents=True)
    apt = {**os.environ, "APT_CONFIG": str(private / "apt.conf")}
    for command in (["update"], ["download", "user-mode-linux", "libc6"]):
        subprocess.run(["apt-get", "-qq", *command], cwd=private, env=apt, check=True)
    for package in private.glob("*.deb"):
        _unpack(package, into)


def _unpack(package: Path, into: Path) -> None:
    """The few files of a package that are wanted, side by side."""
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    unpacked = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as members:
        for member in members:
            name = os.path.basename(member.name)
            file = members.extractfile(member) if member.isfile() and name in _WANTED else None
            if file is not None:
                (into / name).write_bytes(file.read())
                (into / name).chmod(member.mode)


def _set_interpreter(program: Path, interpreter: Path) -> None:
    """Write another dynamic linker's path into a program.

    To execute ``ld.so PROGRAM`` would not do: this kernel's memory begins where its heap does, which then is ld.so's,
    far from it. So the path is appended, and the header PT_INTERP, see elf(5), made to point there.
    """
    text = bytearray(program.read_bytes())
    headers, size, count = struct.unpack_from("<Q", text, 32)[0], *struct.unpack_from("<HH", text, 54)
    for header in range(headers, headers + size * count, size):
        if struct.unpack_from("<I", text, header)[0] == 3:  # PT_INTERP
            path = bytes(interpreter) + b"\0"
            struct.pack_into("<Q", text, header + 8, len(text))
            struct.pack_into("<QQ", text, header + 32, len(path), len(path))
            text += path
    program.write_bytes(text)
