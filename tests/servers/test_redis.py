"""redis, until its memory limit."""

from __future__ import annotations

import signal
import socket

import pytest

from bpm import Environment
from tests.inside import wait_for
from tests.servers.conftest import Servers, free_port, listens, require_program

pytestmark = pytest.mark.needs_root

LIMIT = 64  # MiB
SIZE = 8  # MiB of a value: near its limit a process crawls, so that is passed in one step
VALUE = b"x" * (SIZE << 20)


def set_value(key: int) -> bytes:
    """A SET, in redis's own protocol."""
    name = b"key:%d" % key
    return b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(name), name, len(VALUE), VALUE)


def fill(port: int) -> int:
    """Store values until the server goes away; how many MiB it took."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        for key in range(4 * LIMIT // SIZE):
            try:
                connection.sendall(set_value(key))
                if connection.recv(16) != b"+OK\r\n":
                    return key * SIZE
            except ConnectionError:
                return key * SIZE
    return 4 * LIMIT


def test_redis_filled_up_is_reported_as_out_of_memory(servers: Servers) -> None:
    """A redis that is filled beyond its memory limit is killed, and that is told by list --long and by its record."""
    program = require_program("/usr/bin/redis-server", "redis-server")
    port = free_port()
    options = {"bind": "127.0.0.1", "port": str(port), "save": "", "dir": "/var/vcap/data/redis/tmp"}
    args = [word for name, value in options.items() for word in (f"--{name}", value)]
    servers.define("redis", {"name": "redis", "executable": program, "args": args, "limits": {"memory": f"{LIMIT}M"}})
    servers.must("start", "redis")
    assert wait_for(lambda: listens(port)), servers.log("redis", stream="stdout")

    stored = fill(port)
    listing = wait_for(lambda: [line for line in servers.must("list", "--long").splitlines() if " failed " in line])
    root, user = servers.bpm.environment["BPM_BOSH_ROOT"], servers.bpm.environment["BPM_USER"]
    last = Environment(root, user).process("redis").status().last_exit
    servers.must("stop", "redis")

    assert LIMIT // 2 < stored < LIMIT
    assert listing[0].split()[:3] == ["redis", "-", "failed"]
    assert "killed by SIGKILL, out of memory" in listing[0]
    assert last is not None
    assert (signal.SIGKILL, True) == (last.signal, last.oom_killed)
