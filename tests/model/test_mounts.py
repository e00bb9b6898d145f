"""The model is right: whatever is done to a tree of mounts, the model and the kernel answer alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from functools import partial
from itertools import product

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from tests.effort import times
from tests.model import linux
from tests.model.linux import FLAGS, Linux
from tests.model.mounts import FileSystem, Namespace
from tests.model.operations import Bind, Both, Change, Make, Operation, Regroup, Tmpfs, Unshare, find
from tests.model.views import comparable, of_kernel, of_model

pytestmark = pytest.mark.needs_root

GROUND = "/mnt"  # whatever is there, it is out of the way only in a namespace of the test's own

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, max_size=3).map(lambda names: "/" + "/".join(names))
WALKS = st.lists(NAMES | st.sampled_from(["..", ".", "l", "l"]), max_size=4).map(lambda names: "/" + "/".join(names))
WORDS = st.lists(st.sampled_from(sorted(FLAGS)), max_size=2, unique=True).map(tuple)
KINDS = st.sampled_from(["", "", "shared", "shared", "slave", "private"])
MADE = st.sampled_from(["directory", "directory", "file", "device"])
LINKS = st.sampled_from(["a", "..", "../b", "/a/b", "/", "../../..", "l", "b/../c"])


STEPS = st.one_of(
    st.builds(
        Make,
        st.sampled_from(["directory", "directory", "file", "device"]),
        WALKS.filter(lambda path: path[-1] in "abc"),
    ),
    st.builds(Make, st.just("link"), PATHS.map(lambda path: path.rstrip("/") + "/l"), LINKS),
    st.builds(Tmpfs, WALKS, WORDS),
    st.builds(Bind, WALKS, WALKS, st.booleans(), WORDS, KINDS),
    st.builds(Bind, PATHS, PATHS, st.just(True)),
    st.builds(Change, WALKS, WORDS, st.just(()), KINDS, st.booleans()),
    st.builds(Change, PATHS, st.just(()), WORDS, KINDS, st.just(True)),
    st.builds(Regroup, WALKS, WALKS),
    st.builds(Unshare),
)
# Most of what is drawn leads somewhere: names there are, and half the time everything is shared from the start.
GROWN = [Make("directory", path) for path in ("/a", "/a/a", "/a/b", "/b", "/b/a", "/b/a/c", "/c")]
SCRIPTS = st.builds(
    lambda shared, steps: [*GROWN, *([Change("/", kind="shared")] if shared else []), *steps],
    st.booleans(),
    st.lists(STEPS, max_size=12),
)


# Every path of up to three names.
EVERYWHERE = ["/" + "/".join(names) for depth in range(4) for names in product("abcl", repeat=depth)]


def lead(find: Callable[[str], tuple[Hashable, int]], paths: Iterable[str]) -> list[tuple[str, int, int]]:
    """Where each path leads: to an errno, or to the same as which earlier one, on a mount with which flags."""
    met: dict[Hashable, int] = {}
    answers = []
    for number, path in enumerate(paths):
        try:
            inode, flags = find(path)
        except OSError as error:
            answers.append((path, -(error.errno or 0), 0))
        else:
            answers.append((path, met.setdefault(inode, number), flags))
    return answers


@settings(max_examples=times(300), deadline=None)
@given(script=SCRIPTS, walks=st.lists(WALKS, max_size=8))
def test_model_and_kernel_agree(script: list[Operation], walks: list[str]) -> None:
    """Each operation ends in the same errno; then the mount tables, and where paths lead, are the same."""
    note("\n".join(map(str, script)))
    with linux.private_namespace():
        Tmpfs(GROUND).in_kernel(Linux("/"))
        both = Both(Linux(GROUND), Namespace(FileSystem("tmpfs").mounted()))
        both.do(script)
        tables = []
        for namespace in both.namespaces():
            tables.append((of_model(namespace), of_kernel(linux.read_mounts(), GROUND)))
            paths = [*EVERYWHERE, *walks]
            assert lead(partial(find, namespace), paths) == lead(both.system.identity, paths)
        expected, actual = zip(*tables, strict=True)
        assert comparable(expected) == comparable(actual)
