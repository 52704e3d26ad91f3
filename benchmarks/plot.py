"""Plot a run: the time of a greet, a bar for each peer."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.report import Results

OURS, OTHERS = "#1b7f5c", "#8a94a6"


def plot(results: Results, target: Path) -> None:
    """Write the plot, in the format of the file's suffix."""
    mpl = import_module("matplotlib")
    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "hardpoint"  # without it the same figures make a different file each time
    mpl.rcParams["svg.fonttype"] = "none"  # text as text, not as outlines
    pyplot = import_module("matplotlib.pyplot")
    calls = results["calls"]
    names = sorted(calls, key=lambda name: float(calls[name]["greet"]["ns"]), reverse=True)
    times = [calls[name]["greet"]["ns"] for name in names]
    colors = [OURS if name.startswith("hardpoint") else OTHERS for name in names]
    figure, axes = pyplot.subplots(figsize=(9, 0.38 * len(names) + 1.2), layout="constrained")
    bars = axes.barh([results["peers"][name]["title"] for name in names], times, color=colors)
    axes.bar_label(bars, labels=[_label(time) for time in times], padding=4)
    axes.set_xscale("log")
    axes.set_xlim(1, max(times) * 6)
    axes.set_xlabel('greet("World"): nanoseconds a call, logarithmic scale')
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)
    pyplot.close(figure)


def _label(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.1f} µs"
