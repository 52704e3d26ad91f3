"""Medians and quartiles of measured values, and of the ratios of values measured side by side."""

from __future__ import annotations

from statistics import quantiles
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

NOISY = 0.10
"""A value with a larger spread is too noisy to tell."""


class Summary(NamedTuple):
    """The median of some values, and the quartiles around it: half of them lie between `low` and `high`."""

    median: float
    low: float
    high: float

    @property
    def spread(self) -> float:
        """Half the interquartile range, relative to the median. Outliers do not affect it."""
        return (self.high - self.low) / 2 / self.median if self.median else 0.0

    @property
    def is_noisy(self) -> bool:
        """True if the machine was too noisy to tell."""
        return self.spread > NOISY


def summarize(values: Sequence[float]) -> Summary:
    """Summarize at least one value."""
    if len(values) == 1:  # quantiles takes one value from Python 3.13 on
        return Summary(values[0], values[0], values[0])
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return Summary(middle, low, high)


def ratio(over: Sequence[float], under: Sequence[float]) -> Summary:
    """Summarize the ratios of values that were measured side by side: a slow moment of the machine cancels out."""
    return summarize([above / below for above, below in zip(over, under, strict=True)])
