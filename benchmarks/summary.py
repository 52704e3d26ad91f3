"""The results of a run: medians, spreads, ratios, and which targets are met."""

from __future__ import annotations

from math import comb
from statistics import median
from typing import Any, Literal, NamedTuple

from benchmarks.peer import METHODS
from benchmarks.targets import TARGETS, Target, Times
from hardpoint.benchmark import numbers

Runs = list[dict[str, Any]]
"""The measurements of each process, from worker.main."""
Verdict = Literal["met", "missed", "too noisy to tell"]

BASES = ("handwritten", "python", "hardpoint_native", "hardpoint_cffi")
"""Ratios are relative to the first of these that was measured."""
TWO_CORES = 1.9
"""Two threads that only hash are at least this many times as fast as one, if the machine has two cores free."""


class Figure(NamedTuple):
    """A median over processes, with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def summarize(runs: Runs) -> dict[str, Any]:
    """Compute everything that tables and plots show."""
    calls = runs[0]["calls"]
    names = list(dict.fromkeys(key.partition(".")[0] for key in calls))
    base = next((name for name in BASES if name in names), names[0])
    return {
        "base": base,
        "calls": {
            name: {method: _call(runs, f"{name}.{method}", f"{base}.{method}") for method in METHODS} for name in names
        },
        "targets": [_judge(target, runs) for target in TARGETS],
        "noise": median(numbers.summarize(run["calls"][key]).spread for run in runs for key in calls),
    }


def _call(runs: Runs, key: str, base: str) -> dict[str, Any]:
    times = numbers.summarize([median(run["calls"][key]) for run in runs])
    return {
        "ns": times.median,
        "spread": times.spread,
        "fastest": min(min(run["calls"][key]) for run in runs),
        "ratio": figure(runs, [("calls", key)], [("calls", base)]),
    }


def figure(runs: Runs, above: Times, below: Times) -> Figure:
    """The ratio of two sums of times, from samples of the same round: a slow moment of the machine cancels out."""
    ratios = [numbers.ratio(_sums(run, above), _sums(run, below)).median for run in runs]
    return Figure(median(ratios), *interval(ratios))


def _sums(run: dict[str, Any], times: Times) -> list[float]:
    """Add up times, round by round."""
    return [sum(parts) for parts in zip(*(run[phase][key] for phase, key in times), strict=True)]


def interval(values: list[float]) -> tuple[float, float]:
    """The 95 % confidence interval of the median by the sign test, which assumes no distribution."""
    values, n, skipped, tail = sorted(values), len(values), 0, 0.0
    while skipped < (n - 1) // 2:
        tail += comb(n, skipped) / 2**n
        if 2 * tail > 0.05:
            break
        skipped += 1
    first = max(skipped - 1, 0)
    return values[first], values[n - 1 - first]


def _judge(target: Target, runs: Runs) -> dict[str, Any]:
    result: dict[str, Any] = {"text": target.text, "wanted": target.wanted, "at_most": target.at_most}
    missing = [key for phase, key in (*target.above, *target.below) if key not in runs[0].get(phase, {})]
    if missing:
        return {**result, "verdict": "not measured", "why": f"{', '.join(missing)} could not be measured"}
    ratio = figure(runs, target.above, target.below)
    result |= {"ratio": ratio, "verdict": judge(ratio, target)}
    if target.control and result["verdict"] != "met":
        control = figure(runs, *target.control)
        if control.value < TWO_CORES:
            why = f"two threads that only hash got {control.value:.2f} times the rate of one"
            result |= {"verdict": "too noisy to tell", "why": why}
    return result


def judge(ratio: Figure, target: Target) -> Verdict:
    """Met or missed only if the whole interval is on one side."""
    if target.at_most:
        good, bad = ratio.high <= target.wanted, ratio.low > target.wanted
    else:
        good, bad = ratio.low >= target.wanted, ratio.high < target.wanted
    return "met" if good else "missed" if bad else "too noisy to tell"
