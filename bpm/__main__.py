"""`python -m bpm`, and the console script `bpm`."""

from __future__ import annotations

import sys

from bpm.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
