"""Ctrl-C at any point: it waits while something is made that has to be remembered, or unmade."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Uninterrupted:
    """A context in which SIGINT waits, if its handler is one of Python's: it is called at the end of the block.

    A handler runs between any two steps of Python's, so between os.open() and the assignment of what it returned,
    too; whatever it raises there, the descriptor is lost. Handlers run in the main thread only, so other threads need
    nothing of this.
    """

    def __init__(self) -> None:
        self._handler: Any = None
        self._caught: list[FrameType | None] = []

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):
                self._handler = handler
                signal.signal(signal.SIGINT, self._catch)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if self._caught:
                self._handler(signal.SIGINT, self._caught[0])

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self._caught.append(frame)
