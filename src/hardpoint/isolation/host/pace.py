"""Bounds the processor time that one plugin's output takes of the host: a flood slows no other plugin's calls."""

from __future__ import annotations

from time import monotonic, process_time

_BUSY, _IDLE = 1 / 20, 1 / 4
"""Share of a processor, in the long run, while the host computes and while it waits. A line takes some 12 us."""
_COMPUTES = 1 / 20
"""Share of a processor from which on the host's other threads are taken to be computing."""
_BURST = 0.05
"""Seconds of processor time that a plugin may take at once after a rest: some 4,000 lines."""


class Pace:
    """How much of its share one plugin has left."""

    def __init__(self) -> None:
        self._left = _BURST
        self._since, self._used = monotonic(), process_time()

    def spend(self, seconds: float) -> float:
        """Take processor time of the calling thread; return the seconds to rest until the share is kept again."""
        now, used = monotonic(), process_time()
        passed, others = now - self._since, used - self._used - seconds
        self._since, self._used = now, used
        share = _BUSY if others > passed * _COMPUTES else _IDLE
        self._left = min(_BURST, self._left + passed * share) - seconds
        return max(0.0, -self._left / share)
