"""PostgreSQL: data on the persistent disk, a shutdown by INT, and errands beside the server."""

from __future__ import annotations

import glob
import os
from typing import Any

import pytest

from tests.inside import wait_for
from tests.servers.conftest import Servers, free_port, listens, require_program

pytestmark = pytest.mark.needs_root

DATA = "/var/vcap/store/postgres/data"


class Database:
    """A PostgreSQL job: the server, an errand that makes its data directory, and one that asks it something."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers
        self.port = free_port()
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin/postgres"))
        programs = os.path.dirname(require_program(found[-1] if found else None, "postgresql"))
        disk: dict[str, Any] = {"persistent_disk": True, "env": {"LC_ALL": "C.UTF-8"}}
        client = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "owner", "-At", "-v", "ON_ERROR_STOP=1", "postgres"]
        server = ["-D", DATA, "-h", "127.0.0.1", "-p", str(self.port), "-k", "/var/vcap/data/postgres/tmp"]
        servers.define(
            "postgres",
            {
                "name": "initdb",
                "executable": f"{programs}/initdb",
                "args": ["-D", DATA, "-U", "owner", "--auth", "trust", "--no-sync", "--encoding", "UTF8"],
                **disk,
            },
            {
                "name": "postgres",
                "executable": f"{programs}/postgres",
                "args": server,
                "shutdown_signal": "INT",
                **disk,
            },
            {
                "name": "psql",
                "executable": "/bin/sh",
                "args": ["-c", f'exec {programs}/psql {" ".join(client)} -c "$SQL"'],
                **disk,
            },
        )

    def ask(self, sql: str) -> str:
        """What the server answers."""
        return self.servers.must("run", "postgres", "-p", "psql", "-e", f"SQL={sql}")

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        self.servers.must("start", "postgres")
        assert wait_for(lambda: listens(self.port)), self.log
        assert wait_for(lambda: self.log.endswith("ready to accept connections\n")), self.log

    @property
    def log(self) -> str:
        return self.servers.log("postgres")


def test_postgresql_keeps_its_data_and_is_shut_down_cleanly(servers: Servers) -> None:
    """INT shuts it down cleanly, as its own log says, and what was stored is there after the next start."""
    database = Database(servers)
    servers.must("run", "postgres", "-p", "initdb")
    database.start()
    database.ask("create table words (word text); insert into words values ('kept')")
    servers.must("stop", "postgres")
    first_life = database.log

    database.start()
    answer = database.ask("select word from words")
    servers.must("stop", "postgres")

    assert "received fast shutdown request" in first_life
    assert first_life.splitlines()[-1].endswith("database system is shut down")
    assert "database system was shut down at" in database.log[len(first_life) :]
    assert "not properly shut down" not in database.log
    assert "kept\n" == answer
    data = servers.bpm.root.path / "store/postgres/data"
    assert servers.bpm.root.path.joinpath("sys/log/postgres").stat().st_uid == data.stat().st_uid != 0
