"""Where the time goes: seconds by phase, phase after phase."""

from __future__ import annotations

import time


class Laps:
    """``lap(phase)`` gives the phase all seconds since the lap before, so that the phases add up to the whole."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def __call__(self, phase: str) -> None:
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return sum(self.seconds.values())
