"""The BOSH paths, outside and inside."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpm.layout import INSIDE_ROOT, JobLayout, Layout, Place, container_id, container_name

WEB = Layout("/srv/bosh").job("web")


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (WEB.directory, "jobs/web"),
        (WEB.data, "data/web"),
        (WEB.temp, "data/web/tmp"),
        (WEB.store, "store/web"),
        (WEB.log, "sys/log/web"),
        (WEB.run, "sys/run/web"),
        (WEB.bpm_log, "sys/log/web/bpm.log"),
        (WEB.stdout("worker"), "sys/log/web/worker.stdout.log"),
        (WEB.stderr("worker"), "sys/log/web/worker.stderr.log"),
        (WEB.pid_directory, "sys/run/bpm/web"),
        (WEB.pidfile("worker"), "sys/run/bpm/web/worker.pid"),
        (WEB.layout.jobs, "jobs"),
        (WEB.layout.packages, "packages"),
        (WEB.layout.data_packages, "data/packages"),
        (WEB.layout.store, "store"),
    ],
)
def test_every_path_has_two_sides(place: Place, path: str) -> None:
    """Outside it is below the root, inside always below /var/vcap."""
    assert Place(f"/srv/bosh/{path}", f"{INSIDE_ROOT}/{path}") == place


def test_paths_that_no_container_sees() -> None:
    """The configuration, the records and the locks are outside only."""
    layout = WEB.layout
    assert "/srv/bosh/jobs/web/config/bpm.yml" == WEB.config
    assert ("/srv/bosh/data/bpm/containers", "/srv/bosh/data/bpm/locks") == (layout.state, layout.locks)
    assert "/srv/bosh/data/bpm/locks/job-bpm-web.lock" == layout.process_lock("bpm-web")


def test_a_volumes_lock_is_named_by_the_hash_of_its_path() -> None:
    """The name is the path's SHA-256, also of a path that is not UTF-8."""
    for path, raw in (("/srv/bosh/data/a", b"/srv/bosh/data/a"), ("/x/\udcff", b"/x/\xff")):
        assert f"/srv/bosh/data/bpm/locks/vol-{sha256(raw).hexdigest()}.lock" == WEB.layout.volume_lock(path)


def test_a_bare_place_cannot_be_printed() -> None:
    """To print a place, one says which side is meant."""
    with pytest.raises(TypeError, match=r"say \.outside or \.inside"):
        str(WEB.data)
    with pytest.raises(TypeError):
        f"{WEB.data}"


def test_by_default_both_sides_are_the_same() -> None:
    """On a plain BOSH machine, a path has one name."""
    data = Layout().job("web").data
    assert data.outside == data.inside


@pytest.mark.parametrize(
    ("job", "process", "name", "identifier"),
    [
        ("web", "web", "web", "bpm-web"),
        ("web", "worker", "web.worker", "bpm-web.2eworker"),
        ("a.b", "a.b", "a.b", "bpm-a.2eb"),
        ("A_b-9", "A_b-9", "A_b-9", "bpm-A_b-9"),
        ("é", "é", "é", "bpm-.c3.a9"),
        ("a b", "a/b", "a b.a/b", "bpm-a.20b.2ea.2fb"),
    ],
)
def test_names(job: str, process: str, name: str, identifier: str) -> None:
    """A process named like its job goes by the job's name; what is not a letter, digit, _ or - is spelt in hex."""
    assert (name, identifier) == (container_name(job, process), container_id(job, process))


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_identifiers_tell_apart_what_names_tell_apart(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Two containers share an identifier just if they share a name, and it is a file name of plain characters."""
    assert (container_name(*one) == container_name(*other)) == (container_id(*one) == container_id(*other))
    assert set(container_id(*one)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")


def test_a_job_is_equal_to_itself_asked_for_again() -> None:
    """Layouts are values."""
    assert JobLayout(Layout("/srv/bosh"), "web") == WEB
