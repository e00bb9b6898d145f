"""Sandboxes in asyncio: the same calls, awaited.

Waiting is the loop's: it watches a pidfd and the pipes, as it watches sockets. No thread, no child watcher, no signal
handler; any loop that has ``add_reader()`` will do. (What is not awaited is the spawn itself, about a millisecond.)

    from bpm import Sandbox, aio

    async def main():
        done = await aio.run(Sandbox.system(), ["uname", "-r"], capture_output=True, text=True)
        print(done.stdout)
"""

from bpm.aio.calls import popen, run
from bpm.aio.process import Process

__all__ = ["Process", "popen", "run"]
