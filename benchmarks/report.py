"""Tables of a run, for a terminal and in Markdown."""

from __future__ import annotations

from importlib import import_module
from textwrap import fill
from typing import Any, NamedTuple

from hardpoint.benchmark.numbers import NOISY

Results = dict[str, Any]
"""The contents of results.json, from run.main."""


class MarkdownTable(NamedTuple):
    """Rows of text under headings; the columns in `right` are aligned to the right."""

    title: str
    head: list[str]
    rows: list[list[str]]
    right: set[int]


def tables(results: Results) -> list[MarkdownTable]:
    """The peers, sorted by the time of a greet; the targets; and the cost before the first call."""
    return [_calls(results), _targets(results), *([_startup(results["startup"])] if "startup" in results else [])]


def _calls(results: Results) -> MarkdownTable:
    peers, calls = results["peers"], results["calls"]
    rows = []
    for name in sorted(calls, key=lambda name: float(calls[name]["greet"]["ns"])):
        greet, lang = calls[name]["greet"], calls[name]["lang"]
        rows.append(
            [peers[name]["title"], peers[name]["version"], *_time(greet), *_time(lang)],
        )
    base = peers[results["base"]]["title"]
    return MarkdownTable(
        "Cost of a call in nanoseconds (median ± half the interquartile range, over processes); x is the ratio to the "
        f"{base}, the median of ratios within rounds, which differs slightly from the quotient of the column",
        ["peer", "version", 'greet("World")', "x", "lang()", "x"],
        rows,
        {2, 3, 4, 5},
    )


def _time(call: dict[str, Any]) -> list[str]:
    return [f"{_ns(call['ns'])} ± {call['spread']:.0%}", rounded(call["ratio"][0])]


def _ns(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def rounded(value: float) -> str:
    """Two decimals below 10, none above."""
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"


def _targets(results: Results) -> MarkdownTable:
    rows = []
    for target in results["targets"]:
        wanted = f"{'at most' if target['at_most'] else 'at least'} {target['wanted']:g}"
        measured = ""
        if "ratio" in target:
            measured = "{} ({} to {})".format(*(rounded(value) for value in target["ratio"]))
        verdict = target["verdict"] + (f": {target['why']}" if "why" in target else "")
        rows.append([target["text"], measured, wanted, verdict])
    return MarkdownTable("Targets", ["ratio", "measured", "wanted", ""], rows, {1, 2})


def _startup(startup: dict[str, Any]) -> MarkdownTable:
    """The figures of startup.py, in its order."""
    seconds, plugins = startup["seconds"], startup["plugins"]
    rows = [["python -c 'import typing'", f"{seconds['typing'] * 1e3:.1f} ms", ""]]
    for name, text in (("import", "import hardpoint"), ("load", "import hardpoint, and the first load")):
        rows.append([text, f"{seconds[name] * 1e3:.1f} ms", f"+{(seconds[name] - seconds['typing']) * 1e3:.1f} ms"])
    rows.append(["ctypes.CDLL, one more library", f"{seconds['cdll'] * 1e6:.0f} µs", ""])
    for name, text in (("further", "hardpoint.load, one more library"), ("elf", "of that, reading the file")):
        rows.append([text, f"{seconds[name] * 1e6:.0f} µs", f"x {seconds[name] / seconds['cdll']:.1f}"])
    rows.append([f"hardpoint.load, {plugins} libraries together", f"{seconds['many']:.2f} s", ""])
    return MarkdownTable("Before the first call", ["", "time", "compared with Python alone"], rows, {1, 2})


def remarks(results: Results) -> list[str]:
    """The machine, the noise, and the peers that are missing."""
    machine = results["machine"]
    where = (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}; {machine['system']}; "
        f"{machine['python']}; {machine['compiler']}; {results['date']}."
    )
    how = (
        f"{results['processes']} processes of {results['rounds']} rounds each. Within a process, the times of one call "
        f"differ by {results['noise']:.0%} (half the interquartile range){_advice(results)}."
    )
    return [where, how, *(f"Without {name}: {why}" for name, why in results["missing"].items())]


def _advice(results: Results) -> str:
    return ": too noisy, measure again when the machine is quiet" if results["noise"] > NOISY else ""


def markdown(results: Results) -> str:
    """The tables and remarks as Markdown."""
    parts = [in_markdown(table) for table in tables(results)]
    return "\n\n".join([*parts, "\n".join(wrapped(f"- {line}", "  ") for line in remarks(results))])


_README = {
    "handwritten": "extension module in C, written by hand",
    "hardpoint_native": "**hardpoint**",
    "cython": "Cython",
    "nanobind": "nanobind",
    "pybind11": "pybind11",
    "python": "a method in pure Python, without a plugin",
    "cffi_compiled": "cffi, compiled (API mode)",
    "cffi_abi": "cffi, without a compiler (ABI mode)",
    "ctypes": "ctypes",
    "hardpoint_cffi": "**hardpoint**, installed without a C compiler",
    "extism": "WebAssembly (extism)",
    "hardpoint_isolated": "**hardpoint**, isolated: in a process of its own",
    "hashicorp_grpc": "a Go program and its plugin, each a process (hashicorp/go-plugin, gRPC)",
}
"""The peers in README.md, described for a reader who has not seen docs/benchmarks.md."""


def summary(results: Results) -> str:
    """The times of a greet for README.md: the fastest peer first, and the machine."""
    calls, machine = results["calls"], results["machine"]
    greets = {name: calls[name]["greet"] for name in _README if name in calls}
    rows = [
        [_README[name], _rough_time(greet["ns"]), _rough_ratio(greet["ratio"][0])]
        for name, greet in sorted(greets.items(), key=lambda item: float(item[1]["ns"]))
    ]
    where = f"{machine['processor']}, {machine['cores']} cores; {machine['system']}; {machine['python']}"
    title = f"{where}; {results['date']}; medians of {results['processes']} processes"
    return in_markdown(MarkdownTable(title, ["called through", "time", "ratio"], rows, {1, 2}))


def _rough_time(ns: float) -> str:
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.3g} µs"


def _rough_ratio(value: float) -> str:
    """Two digits: the median of ratios within rounds differs by a few percent from the quotient of the times."""
    rough = float(f"{value:.2g}")
    return f"{rough:,.0f}" if rough >= 10 else f"{rough}"


def in_markdown(table: MarkdownTable) -> str:
    """The title and the table as Markdown."""
    rule = ["---:" if column in table.right else "---" for column in range(len(table.head))]
    lines = [" | ".join(row) for row in (table.head, rule, *table.rows)]
    return "\n".join([wrapped(f"{table.title}:"), "", *(f"| {line} |" for line in lines)])


def wrapped(text: str, indent: str = "") -> str:
    """Lines of at most 120 characters."""
    return fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def show(results: Results) -> None:
    """Print the tables to the terminal."""
    console = import_module("rich.console").Console()
    for table in tables(results):
        drawn = import_module("rich.table").Table(title=table.title, title_justify="left")
        for column, name in enumerate(table.head):
            drawn.add_column(name, justify="right" if column in table.right else "left")
        for row in table.rows:
            drawn.add_row(*row)
        console.print(drawn)
    for line in remarks(results):
        console.print(line, highlight=False)
