"""Law: whatever bpm.yml says, what is seen inside is what the plan says."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import times
from tests.integration.agreement import disagreements
from tests.integration.conftest import Probing

pytestmark = pytest.mark.needs_root

NAMES = st.text("ABCXYZ_", min_size=1, max_size=6)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=["Cs", "Cc"]), max_size=12)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "memory": st.sampled_from(["64M", "100M", "1G"]),
        "processes": st.integers(5, 100),
        "open_files": st.integers(16, 4096),
        "core_file_size": st.integers(0, 1 << 20),
    },
)
PROCESSES = st.fixed_dictionaries(
    {},
    optional={
        "env": st.dictionaries(NAMES, VALUES, max_size=4),
        "limits": LIMITS,
        "capabilities": st.lists(st.sampled_from(["CHOWN", "KILL", "NET_RAW", "NET_BIND_SERVICE"]), unique=True),
        "workdir": st.sampled_from(["/", "/tmp", "/var/vcap", "/var/vcap/packages", "/usr/bin"]),
        "args": st.lists(st.sampled_from(["sleep:0", "read:/etc/passwd", "list:/"]), max_size=3),
        "unsafe": st.fixed_dictionaries(
            {}, optional={"privileged": st.booleans(), "host_pid_namespace": st.booleans()}
        ),
    },
)


@settings(max_examples=times(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=PROCESSES)
def test_the_inside_agrees_with_any_plan(probing: Probing, keys: dict[str, Any]) -> None:
    """Ids, capabilities, limits, environment, directory, namespaces; of mounts, tests/model knows more."""
    keys = dict(keys)
    arguments = keys.pop("args", [])
    told = probing.run(*arguments, **keys)

    assert ([], 0) == (disagreements(told.plan, told.seen), told.record.exit_code)
