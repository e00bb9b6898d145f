"""bpm in a process that has loaded it already, for hosts where to start an interpreter costs a second: see tests/vm.

Each command line is a fork of one interpreter, with the descriptors and the environment that it would be executed with,
and does what ``python -m bpm`` does from there on.
"""

from __future__ import annotations

import gc
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from pkgutil import walk_packages

_CHECKOUT = Path(__file__).parent.parent


class Preloaded:
    """Runs command lines in forks of one process, which is no child of the caller's, and ends with it."""

    def __init__(self) -> None:
        self.socket, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(far.fileno())]
        subprocess.run(command, stdin=subprocess.DEVNULL, cwd=_CHECKOUT, pass_fds=[far.fileno()], check=True)
        far.close()

    def run(self, words: list[str], environment: dict[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
        """Run one to its end, which is when nobody holds its output any more, as subprocess.run() has it."""
        pipes = [os.pipe() for _ in range(3)]
        with open(os.devnull) as nothing, open(os.memfd_create("letter"), "w") as letter:
            json.dump([words, environment, os.getcwd()], letter)
            letter.flush()
            descriptors = [letter.fileno(), nothing.fileno(), *(writer for _, writer in pipes)]
            socket.send_fds(self.socket, [b"."], descriptors)
        for _, writer in pipes:
            os.close(writer)
        stdout, stderr, status = _read_all([reader for reader, _ in pipes], time.monotonic() + timeout)
        code = os.waitstatus_to_exitcode(int(status))
        texts = [io.TextIOWrapper(io.BytesIO(text), errors="surrogateescape").read() for text in (stdout, stderr)]
        return subprocess.CompletedProcess(["bpm", *words], code, *texts)

    def close(self) -> None:
        self.socket.close()


def _read_all(readers: list[int], deadline: float) -> list[bytes]:
    """What comes until each of them ends."""
    found = {reader: bytearray() for reader in readers}
    try:
        with selectors.DefaultSelector() as selector:
            for reader in readers:
                selector.register(reader, selectors.EVENT_READ)
            while selector.get_map():
                ready = selector.select(deadline - time.monotonic())
                if not ready:
                    raise TimeoutError("bpm does not end")
                for key, _ in ready:
                    data = os.read(key.fd, 1 << 16)
                    found[key.fd] += data
                    if not data:
                        selector.unregister(key.fd)
    finally:
        for reader in readers:
            os.close(reader)
    return [bytes(found[reader]) for reader in readers]


def serve(letters: socket.socket) -> None:
    """Fork for each letter; tell each fork's status where its letter wants it, until nobody can send more."""
    import bpm

    for module in walk_packages(bpm.__path__, "bpm."):
        if not module.name.endswith("__main__"):
            __import__(module.name)
    gc.freeze()
    wake, waker = socket.socketpair()
    waker.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    told: dict[int, int] = {}
    with selectors.DefaultSelector() as selector:
        for end in letters, wake:
            selector.register(end, selectors.EVENT_READ)
        while True:
            ends = [key.fileobj for key, _ in selector.select()]
            if wake in ends:
                wake.recv(4096)
                _tell(told)
            if letters in ends:
                _, descriptors, _, _ = socket.recv_fds(letters, 1, 5)
                if not descriptors:
                    return
                *given, tell = descriptors
                told[_fork(given)] = tell
                for descriptor in given:
                    os.close(descriptor)


def _tell(told: dict[int, int]) -> None:
    while told:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        with open(told.pop(pid), "w") as to:
            to.write(str(status))


def _fork(descriptors: list[int]) -> int:
    pid = os.fork()
    if not pid:
        try:
            _become_bpm(*descriptors)
        finally:
            os._exit(250)
    return pid


def _become_bpm(letter: int, *standard: int) -> None:
    with open(letter) as file:
        file.seek(0)
        words, environment, directory = json.load(file)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(standard):
        os.dup2(descriptor, number)
    os.closerange(3, max(map(int, os.listdir("/proc/self/fd"))) + 1)
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    from bpm.cli import main

    status = main(words)
    for stream in sys.stdout, sys.stderr:
        stream.flush()
    os._exit(status)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    serve(socket.socket(fileno=int(sys.argv[1])))
