"""The contract `scorer`."""

from typing import Protocol, runtime_checkable

import hardpoint


@hardpoint.contract("scorer", version="1.1")
@runtime_checkable
class Scorer(Protocol):
    """Scores answers to questions."""

    @hardpoint.quick
    def score(self, answer: bytes, points: int, weight: float, strict: bool) -> float:
        """Return the points that an answer earns, weighted."""
        ...

    def censor(self, text: bytearray) -> int:
        """Replace every digit with an x, in place, and return their number."""
        ...

    @hardpoint.since("1.1")
    def grade(self, score: float) -> str:
        """Return a word for a score. This body runs for plugins that were written for 1.0."""
        return "pass" if score >= 50 else "fail"
