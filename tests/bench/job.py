"""The job of the benchmarks: upstream's whole mount plan, limits, identity and filter, for /bin/true."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import bpm
from bpm._native import SpawnRequest
from bpm.plan import compile_policy
from bpm.runtime import Descriptors, lower_plan
from bpm.runtime.prepare import prepare

CONFIG = """
processes:
- name: web
  executable: /bin/true
  limits: {open_files: 1024, core_file_size: 0}
  env: {A: one, B: two}
  ephemeral_disk: true
"""


@contextmanager
def prepared_request(root: str) -> Iterator[SpawnRequest]:
    """The request for that job below a BOSH root, with what it needs open."""
    config = bpm.load(CONFIG, job="web", root=root)
    plan = bpm.make_plan(config, "web", bpm.observe(config, root=root, user="nobody"))
    assert plan.seccomp is not None
    with prepare(plan) as prepared:
        null = prepared.null
        opened = Descriptors((null, null, null), tuple(prepared.sources))
        yield lower_plan(plan, opened, compile_policy(plan.seccomp, os.uname().machine))
