"""Ctrl-C and SIGTERM during a training: the first ends it after the epoch in hand, a second one at once.

However it ends, ``PROGRESS`` is in its folder until it is finished, and it can go on (``training.progress``).
"""

from __future__ import annotations

import logging
import signal
import threading
from types import TracebackType
from typing import Any

log = logging.getLogger("grape_dgl")

PROGRESS = "progress.safetensors"
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class _StopNow(BaseException):
    """Passes through Lightning, which would turn a KeyboardInterrupt into the end of the process."""


class Interruption:
    """Handles both signals while it is entered (in the main thread; no other may); ``received`` tells of the first.

    A second signal leaves the block as KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.received = self.at_once = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in SIGNALS}
            self.install()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if kind is _StopNow:
            raise KeyboardInterrupt from None

    def install(self) -> None:
        """Set the handlers (again: Lightning sets its own when it starts); nothing where the block is not entered."""
        for number in self._previous:
            signal.signal(number, self._handle)

    def check(self) -> None:
        """End at once after a second signal, whose exception is lost where it comes in a callback of Python itself."""
        if self.at_once:
            raise _StopNow

    def _handle(self, number: int, frame: Any) -> None:
        if self.received:
            self.at_once = True
            self.check()
        self.received = True
        log.warning("interrupted: finishing this epoch, then writing the run (again to stop at once)")
