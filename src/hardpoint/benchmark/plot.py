"""Draw a result with matplotlib, an extra that is imported when a plot is drawn."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from ..errors import HardpointError
from ..table import counted
from .numbers import summarize
from .report import duration, flat
from .workload import ROWS, size_text

# Okabe and Ito's colours, which colour-blind readers can tell apart.
_COLOURS = {
    "floor": "#888888", "python": "#E69F00", "native": "#009E73", "cffi": "#0072B2", "ctypes": "#CC79A7",
    "isolated": "#56B4E9",
}  # fmt: skip
_OTHER = "#D55E00"
_APART = frozenset(row.name for row in ROWS if row.binding is None)
"""Rows that do not do the plugin's work: the method only puts the same result together. They are drawn apart."""
_NOTE = "(only puts the same result together)"
_GRID, _CAPTION = "#dddddd", "#666666"
_WIDTH = 8.0
_LONGEST = 60
_DOT, _FRAME, _LINES, _THREADS = 0.22, 0.7, 3.8, 2.8  # heights in inches: a dot's line, its frame, the other panels
_GAP = 0.6
"""Lines between the rows and those apart."""

Case = dict[str, Any]


def check_matplotlib() -> None:
    """Raise HardpointError if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise HardpointError("a plot needs matplotlib, which is not installed; pip install 'hardpoint[plot]'")


def draw(result: dict[str, Any], path: str) -> None:
    """Write the plot: dots for single calls, lines over the sizes of a payload and over the number of threads.

    Lines have one legend together, below all panels.
    """
    check_matplotlib()
    from matplotlib.figure import Figure  # an extra, and a second or more

    strips = _strips(result["cases"])
    heights = [_height(kind, cases) for kind, cases in strips]
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.7), layout="constrained")
    grid = figure.add_gridspec(max(1, len(strips)), 2, height_ratios=heights or [1])
    for number, (kind, cases) in enumerate(strips):
        if kind == "threads":  # two panels side by side, or a single one across
            for column, case in enumerate(cases):
                _threads(figure.add_subplot(grid[number, column if len(cases) > 1 else slice(None)]), case)
        else:
            {"dots": _dots, "sizes": _sizes}[kind](figure.add_subplot(grid[number, :]), cases)
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    machine = result["machine"]
    figure.suptitle(f"{result['file'].rpartition('/')[2]}: what a call costs", fontsize="x-large", fontweight="bold")
    caption = (
        f"hardpoint {result['hardpoint']}, {machine['python']}, {machine['processor']} {machine['machine']}; medians "
        "and quartiles"
    )
    if not _legend(figure, caption):
        figure.supxlabel(caption, fontsize="x-small", color=_CAPTION)
    figure.savefig(path, dpi=150)


def _legend(figure: Any, title: str) -> bool:
    """Draw one legend for the lines of all panels, rows apart last; return False if there are no lines."""
    handles = {
        label: line for axis in figure.axes for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    labels = sorted(handles, key=_APART.__contains__)
    if labels:
        made = figure.legend(
            [handles[label] for label in labels],
            [f"{label} {_NOTE}" if label in _APART else label for label in labels],
            loc="outside lower center", ncols=4, frameon=False, fontsize="small", title=title, title_fontsize="x-small",
        )  # fmt: skip
        made.get_title().set_color(_CAPTION)
    return bool(labels)


def _strips(cases: list[Case]) -> list[tuple[str, list[Case]]]:
    """The strips of the plot from top to bottom, with their cases; a method with several sizes has its own strip."""
    groups = {
        text: [case for case in cases if case["text"] == text] for text in dict.fromkeys(c["text"] for c in cases)
    }
    single = [case for group in groups.values() if len(group) == 1 for case in group]
    threaded = [case for case in cases if len(case["threads"]) > 1]
    return [
        *([("dots", single)] if single else []),
        *(("sizes", group) for group in groups.values() if len(group) > 1),
        *(("threads", threaded[at : at + 2]) for at in range(0, len(threaded), 2)),
    ]


def _height(kind: str, cases: list[Case]) -> float:
    if kind == "threads":
        return _THREADS
    return _LINES if kind == "sizes" else _FRAME + _DOT * sum(len(case["rows"]) + 1.6 + _GAP for case in cases)


def _dots(axis: Any, cases: list[Case]) -> None:
    """A line for each row, on a logarithmic scale: one binding can cost hundreds of times as much as another."""
    at, names, places, every = 0.0, list[str](), list[float](), list[float]()
    for case in cases:
        at += 1.6
        axis.annotate(_cut(case["call"]), (0, at - 1), (5, -3), xycoords=("axes fraction", "data"),
                      textcoords="offset points", fontweight="bold")  # fmt: skip
        for name in _in_order(case["rows"]):
            at += _GAP if name in _APART else 0.0
            summary = summarize(flat(case["rows"][name]))
            error = [[summary.median - summary.low], [summary.high - summary.median]]
            axis.errorbar(summary.median, at, xerr=error, fmt="o", color=_colour(name), markerfacecolor=_filling(name))
            label = f"{duration(summary.median)} {_NOTE}" if name in _APART else duration(summary.median)
            axis.annotate(label, (summary.high, at), (8, 0), textcoords="offset points",
                          va="center", fontsize="small")  # fmt: skip
            names.append(name)
            places.append(at)
            every += [summary.low, summary.high]
            at += 1
    axis.set_yticks(places, names)
    axis.set_ylim(at, 0)
    axis.tick_params(axis="y", length=0)
    axis.set_xscale("log")
    axis.set_xlim(min(every) / 2, max(every) * 4)  # room for the label of the last dot
    _readable(axis.xaxis)
    axis.grid(axis="x", color=_GRID)
    axis.set_axisbelow(True)
    axis.set_xlabel("a call")


def _sizes(axis: Any, cases: list[Case]) -> None:
    sizes = [case["payload"] for case in cases]
    for name in _in_order(cases[0]["rows"]):
        _line(axis, name, sizes, [flat(case["rows"][name]) for case in cases])
    if 0 in sizes:
        axis.set_xscale("symlog", base=2, linthresh=1)
    else:
        axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(sizes, [size_text(size) for size in sizes])
    axis.tick_params(axis="x", which="minor", bottom=False)
    _readable(axis.yaxis)
    axis.set_title(_cut(cases[0]["text"]), loc="left", fontsize="medium", fontweight="bold")
    axis.set_xlabel("size of each text or buffer")
    axis.set_ylabel("a call")
    axis.grid(axis="y", color=_GRID)


def _threads(axis: Any, case: Case) -> None:
    counts = [int(count) for count in case["threads"]]
    for name in case["threads"][str(counts[0])]:
        rates = [case["threads"][str(count)][name] for count in counts]
        first = summarize(rates[0]).median
        _line(axis, name, counts, [[rate / first for rate in each] for each in rates])
    axis.plot(counts, [count / counts[0] for count in counts], color="#aaaaaa", linestyle=":", label="in proportion")
    axis.set_xticks(counts, [str(count) for count in counts])
    axis.set_ylim(bottom=0)
    axis.set_title(_cut(case["call"]), loc="left", fontsize="medium", fontweight="bold")
    axis.set_xlabel("threads together")
    axis.set_ylabel(f"calls a second, x {counted(counts[0], 'thread')}")
    axis.grid(axis="y", color=_GRID)


def _line(axis: Any, name: str, xs: list[int], values: list[list[float]]) -> None:
    summaries = [summarize(each) for each in values]
    axis.plot(
        xs, [each.median for each in summaries], linestyle="--" if name in _APART else "-", marker="o", markersize=4,
        color=_colour(name), markerfacecolor=_filling(name), label=name,
    )  # fmt: skip
    axis.fill_between(
        xs, [each.low for each in summaries], [each.high for each in summaries],
        color=_colour(name), alpha=0.15, linewidth=0,
    )  # fmt: skip


def _readable(axis: Any) -> None:
    """Label a logarithmic axis with a few times and their units."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=8))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: duration(value).replace(".00", "").replace(".0 ", " ")))


def _in_order(rows: dict[str, Any]) -> list[str]:
    """The rows that were measured, those apart last."""
    measured = [row.name for row in ROWS if row.name in rows]
    return sorted(measured, key=_APART.__contains__)


def _filling(name: str) -> str:
    """The colour inside of a dot: none for rows apart."""
    return "white" if name in _APART else _colour(name)


def _colour(name: str) -> str:
    return _COLOURS.get(name, _OTHER)


def _cut(text: str) -> str:
    short = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
    return short.replace("$", r"\$")  # $ would begin a formula
