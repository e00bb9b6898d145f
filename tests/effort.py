"""How often tests try what they try more than once, and how long they wait."""

from __future__ import annotations

import os

SLOW_HOST = "BPM_SLOW_HOST"
"""Set where a process costs some ten times as much as on the machine itself: see tests/vm."""


EFFORT = "BPM_EFFORT"
"""How many times as often as usual: ``make model`` takes its time."""


def times(many: int) -> int:
    """So many times; a tenth of that on a slow host, where the same is tried with another kernel, not tried harder."""
    return max(many // 10, 2) if SLOW_HOST in os.environ else many * int(os.environ.get(EFFORT, 1))


def patience(seconds: float) -> float:
    """So many seconds; five times that on a slow host."""
    return 5 * seconds if SLOW_HOST in os.environ else seconds
