"""`python -m tests.bench.library ROOT MEBIBYTES`: the library's spawn, one for each byte on stdin.

Answers as bare.c does: nanoseconds until the program was executed, and until it was reaped.
"""

from __future__ import annotations

import os
import sys
import time

from bpm._native import spawn
from tests.bench.job import prepared_request

PAGE = 4096


def main() -> None:
    """Serve."""
    root, mebibytes = sys.argv[1], int(sys.argv[2])
    ballast = bytearray(mebibytes << 20)
    for offset in range(0, len(ballast), PAGE):
        ballast[offset] = 1
    with prepared_request(root) as request:
        while os.read(0, 1):
            start = time.perf_counter_ns()
            spawned = spawn(request)
            executed = time.perf_counter_ns()
            info = os.waitid(os.P_PIDFD, spawned.pidfd, os.WEXITED)
            reaped = time.perf_counter_ns()
            os.close(spawned.pidfd)
            assert info is not None
            assert (os.CLD_EXITED, 0) == (info.si_code, info.si_status), info
            print(executed - start, reaped - start, flush=True)


if __name__ == "__main__":
    main()
