"""A contract of our own: what every scorer can do."""

from typing import Protocol, runtime_checkable

import hardpoint


@hardpoint.contract("scorer", version="1.1")
@runtime_checkable
class Scorer(Protocol):
    """Scores answers to questions."""

    @hardpoint.quick
    def score(self, answer: bytes, points: int, weight: float, strict: bool) -> float:
        """The points that an answer earns, weighted."""
        ...

    def censor(self, text: bytearray) -> int:
        """Put an x for every digit, in place; how many there were."""
        ...

    @hardpoint.since("1.1")
    def grade(self, score: float) -> str:
        """A word for a score; this body answers for plugins that were written for 1.0."""
        return "pass" if score >= 50 else "fail"
