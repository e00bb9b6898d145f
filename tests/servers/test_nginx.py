"""nginx, which binds port 80 as a user who is nobody."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from tests.inside import wait_for
from tests.servers.conftest import Servers, listens, require_program

pytestmark = pytest.mark.needs_root

PORT = 80

# Loopback only, and nothing outside of its own directories.
CONFIG = f"""
daemon off;
worker_processes 1;
pid /var/vcap/data/nginx/tmp/nginx.pid;
events {{}}
http {{
    access_log /dev/stdout;
    client_body_temp_path /var/vcap/data/nginx/tmp/body;
    proxy_temp_path /var/vcap/data/nginx/tmp/proxy;
    fastcgi_temp_path /var/vcap/data/nginx/tmp/fastcgi;
    uwsgi_temp_path /var/vcap/data/nginx/tmp/uwsgi;
    scgi_temp_path /var/vcap/data/nginx/tmp/scgi;
    server {{
        listen 127.0.0.1:{PORT};
        location / {{ return 200 "from the container\\n"; }}
    }}
}}
"""


@pytest.fixture
def nginx(servers: Servers) -> Servers:
    """A job of nginx's, with and without the capability to bind a low port."""
    program = require_program("/usr/sbin/nginx", "nginx-light")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", PORT))
        except OSError as error:
            pytest.skip(f"port {PORT} of this machine, whose network a container shares, is taken: {error}")
    args = ["-e", "stderr", "-c", "/var/vcap/jobs/nginx/config/nginx.conf"]
    plain = {"executable": program, "args": args}
    servers.define(
        "nginx",
        {"name": "nginx", **plain, "capabilities": ["NET_BIND_SERVICE"]},
        {"name": "powerless", **plain},
        nginx_conf=CONFIG,
    )
    return servers


def fetch() -> str:
    """What the server answers."""
    with socket.create_connection(("127.0.0.1", PORT), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as answer:
            return answer.read().decode()


def test_nginx_binds_port_80_as_the_job_user(nginx: Servers) -> None:
    """With NET_BIND_SERVICE, nginx serves port 80 as the job's user, with that capability and no other."""
    nginx.must("start", "nginx")
    assert wait_for(lambda: listens(PORT)), nginx.log("nginx")

    answer = fetch()
    init = nginx.must("pid", "nginx").strip()
    program = Path(f"/proc/{init}/task/{init}/children").read_text().split()[0]
    status = Path(f"/proc/{program}/status").read_text()
    nginx.must("stop", "nginx")

    assert answer.startswith("HTTP/1.1 200 OK\r\n") and answer.endswith("\r\n\r\nfrom the container\n")
    uids = re.search(r"^Uid:\s+(.*)$", status, re.MULTILINE)
    powers = re.search(r"^CapEff:\s+(.*)$", status, re.MULTILINE)
    assert uids is not None and powers is not None
    uid = nginx.bpm.root.path.joinpath("sys/log/nginx").stat().st_uid
    assert ([uid] * 4, 1 << 10) == ([int(word) for word in uids[1].split()], int(powers[1], 16))
    assert uid != 0
    assert "GET / HTTP/1.0" in nginx.log("nginx", stream="stdout")
    assert not listens(PORT)


def test_nginx_without_the_capability_is_refused_the_port(nginx: Servers) -> None:
    """Without NET_BIND_SERVICE the kernel refuses the port, nginx ends, and list shows it as failed."""
    first_free = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if first_free <= PORT:
        pytest.skip(f"anyone may bind port {PORT} here: net.ipv4.ip_unprivileged_port_start is {first_free}")
    nginx.must("start", "nginx", "-p", "powerless")

    listing = wait_for(lambda: [line for line in nginx.must("list", "-l").splitlines() if " failed" in line])

    assert ["nginx.powerless", "-", "failed", "exit", "status", "1,"] == listing[0].split()[:6]
    assert f"bind() to 127.0.0.1:{PORT} failed (13: Permission denied)" in nginx.log("nginx", "powerless")
