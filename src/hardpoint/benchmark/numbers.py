"""Measured values -> what can be said of them: the median, the spread, and whether it is more than noise."""

from __future__ import annotations

from statistics import median, quantiles
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NOISY = 0.10
"""A spread from which on a value is too noisy to tell."""


class Summary(NamedTuple):
    """The median of some values, and the quartiles around it: half of them lie between `low` and `high`."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half of what lies between the quartiles, as a part of the median. Outliers do not move it."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0

    @property
    def is_noisy(self) -> bool:
        """Whether the machine was too noisy to tell."""
        return self.spread > NOISY


def summarize(values: Sequence[float]) -> Summary:
    """The summary of at least one value."""
    if len(values) == 1:
        return Summary(values[0], values[0], values[0])
    low, _, high = quantiles(values, n=4, method="inclusive")
    return Summary(median(values), low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Summary:
    """The ratio of values that were measured side by side, pair by pair: what slowed both cancels."""
    return summarize([above / below for above, below in zip(over, under, strict=True)])
