"""A result as tables."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from ..table import Table, counted
from .numbers import ratio, summarize
from .workload import ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .numbers import Summary

_SHOWN = 4
_REFERENCES = ("floor", "native")
"""The other rows are shown as multiples of these."""


def flat(values: Sequence[Sequence[float]]) -> list[float]:
    """The values of all rounds in order."""
    return list(chain.from_iterable(values))


def tables(result: dict[str, Any]) -> list[Table]:
    """A table for each case, one for its threads if these were measured, and one for the start-up."""
    made: list[Table] = []
    for case in result["cases"]:
        made.append(_case_table(case))
        if case["threads"]:
            made.append(_threads_table(case))
    if result["start"]:
        made.append(_start_table(result["start"]))
    return made


def title(result: dict[str, Any]) -> str:
    """The first line: the library, the versions, the machine, and the number of values."""
    machine, settings = result["machine"], result["settings"]
    cores = counted(machine["cores"], "core")
    processor = f"{machine['processor'] or 'processor'} ({machine['machine']})"
    rounds, values = settings["rounds"], settings["values"]
    return (
        f"{result['file']}: hardpoint {result['hardpoint']}, {machine['python']}, {machine['libc']}, {processor}, {cores}; "
        f"median of {counted(rounds, 'process')} a row, {counted(values, 'value')} each"
    )


def notes(result: dict[str, Any]) -> list[str]:
    """Remarks below the tables: missing rows, imports without bytecode, values that were too noisy."""
    made: list[str] = []
    if result["missing"]:
        names = " and ".join(f"no {name}" for name in result["missing"])
        made.append(f"{names}: {next(iter(result['missing'].values()))}")
    if result["start"] and not result["machine"]["bytecode"]:
        made.append("PYTHONDONTWRITEBYTECODE is set: modules may have been compiled at each import")
    noisy = [
        f"{row} of {case['call']} (±{summary.spread:.0%})"
        for case in result["cases"]
        for row, values in case["rows"].items()
        if (summary := summarize(flat(values))).is_noisy
    ]
    if len(noisy) > _SHOWN:
        noisy[_SHOWN:] = [f"{len(noisy) - _SHOWN} more"]
    if noisy:
        made.append(
            f"the machine was too noisy to tell the cost of: {', '.join(noisy)}. Ratios with ~ are as uncertain; the "
            "others are not, since a slow moment of the machine cancels out. End other programs (the load was "
            f"{result['machine']['load']} at the start), or measure longer with --rounds"
        )
    return made


def _case_table(case: dict[str, Any]) -> Table:
    measured = {row: flat(values) for row, values in case["rows"].items()}
    references = [name for name in _REFERENCES if name in measured]
    lines: list[tuple[str, ...]] = []
    for name in (row.name for row in ROWS if row.name in measured):
        summary = summarize(measured[name])
        ratios = [ratio(measured[name], measured[reference]) for reference in references]
        lines.append((name, duration(summary.median), _spread(summary), *map(_times, ratios)))
    header = ("", "a call", "spread", *(f"x {name}" for name in references))
    return Table(f"{case['call']} -> {_result(case['result'])}", header, lines)


def _result(result: dict[str, Any]) -> str:
    kind, length = result["kind"], result["length"]
    unit = "character" if kind == "str" else "byte"
    return str(kind) if length is None else counted(length, unit)


def _threads_table(case: dict[str, Any]) -> Table:
    counts = list(case["threads"])
    lines: list[tuple[str, ...]] = []
    for name in (row.name for row in ROWS if row.name in case["threads"][counts[0]]):
        rates = [case["threads"][count][name] for count in counts]
        first, *others = rates
        cells = [_rate(summarize(first).median)]
        for rate in others:
            cells += [_rate(summarize(rate).median), _times(ratio(rate, first))]
        lines.append((name, *cells))
    header = ["", _threads(counts[0])]
    for count in counts[1:]:
        header += [_threads(count), f"x {_threads(counts[0])}"]
    return Table(f"{case['call']}, calls a second of threads together", tuple(header), lines)


def _threads(count: str) -> str:
    return f"{count} thread{'' if count == '1' else 's'}"


def _start_table(start: dict[str, dict[str, list[float]]]) -> Table:
    lines = [
        (name, *chain.from_iterable((duration(summary.median), _spread(summary)) for summary in map(summarize, times)))
        for name, times in ((name, (each["import"], each["load"])) for name, each in start.items())
    ]
    return Table("start-up, beyond Python's own and typing", ("", "import", "spread", "first load", "spread"), lines)


def duration(nanoseconds: float) -> str:
    """Three digits and a unit, such as "97.9 ns" and "5.83 µs"."""
    for limit, unit in ((1e3, "ns"), (1e6, "µs"), (1e9, "ms")):
        if nanoseconds < limit * 0.9995:
            return f"{_three(nanoseconds / limit * 1e3)} {unit}"
    return f"{_three(nanoseconds / 1e9)} s"


def _rate(calls: float) -> str:
    for limit, unit in ((1e6, " M/s"), (1e3, " k/s")):
        if calls >= limit * 0.9995:
            return f"{_three(calls / limit)}{unit}"
    return f"{_three(calls)} /s"


def _times(summary: Summary) -> str:
    return f"{'~' if summary.is_noisy else ''}{_three(summary.median)}"


def _three(number: float) -> str:
    if 0 < number < 0.01:
        return "<0.01"
    return f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"


def _spread(summary: Summary) -> str:
    return f"±{summary.spread:.1%}" if summary.spread < 0.0995 else f"±{summary.spread:.0%}"
