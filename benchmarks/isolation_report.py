"""The tables of isolation.py's figures: times, and ratios with their targets."""

from __future__ import annotations

from typing import Any, NamedTuple

from benchmarks.isolation_peers import ROWS
from benchmarks.report import MarkdownTable, in_markdown, rounded, wrapped
from benchmarks.summary import TWO_CORES

Figures = dict[str, Any]
COLUMNS = {
    "hardpoint": "hardpoint",
    "ring": "C, same channel",
    "futex": "C, futex",
    "socket": "C, socket",
    "go": "go-plugin, net/rpc",
}


class Target(NamedTuple):
    """A figure, or its ratio to another one of the same run, and the limit."""

    text: str
    above: str
    """Where the figure is: the keys, separated by slashes."""
    below: str
    """The same of the other one, or "" to compare `above` itself with the limit."""
    wanted: float
    at_most: bool = True
    unit: str = ""
    unless: str = ""
    """A figure; where there is one, this target is left out."""
    cores: int = 1
    """How many free cores the machine must have for it."""


def _in(placement: str, row: str, who: str) -> str:
    return f"calls/{placement}/{row}/{who}"


def _call_target(placement: str, row: str, other: str, wanted: float) -> Target:
    """Hardpoint's time relative to another's."""
    text = f"{row}, {placement}: hardpoint / {COLUMNS[other]}"
    return Target(text, _in(placement, row, "hardpoint"), _in(placement, row, other), wanted)


def _faster(placement: str, other: str, wanted: float) -> Target:
    """Another's time relative to hardpoint's."""
    text = f"greet, {placement}: {COLUMNS[other]} / hardpoint"
    return Target(text, _in(placement, "greet", other), _in(placement, "greet", "hardpoint"), wanted, at_most=False)


def _flood_target(kind: str, placement: str) -> Target:
    """The median of ratios, beside a plugin that only computes."""
    text = f"greet beside a flood of {kind} / beside a plugin that computes, {placement}"
    return Target(text, f"flood/{placement}/ratios/{kind}", "", 1.1, cores=2)


_FLOODS = ("lines", "records")
_WHERE = {"one core": "on one core", "two cores": "on two cores", "unpinned": "on cores that the kernel chooses"}
_BULK = ("64 KiB", "1 MiB")
TARGETS = [
    _faster("two cores", "socket", 25),
    _call_target("one core", "greet", "futex", 1.35),
    *(_call_target("unpinned", row, "socket", 1.0) for row, calls in ROWS.items() if not calls.rest),
    *(_call_target(placement, row, "ring", 1.15) for placement in _WHERE for row in _BULK),
    *(_faster(placement, "go", 50) for placement in _WHERE),
    *(_call_target(placement, "after a rest", "ring", 1.3) for placement in _WHERE),
    Target("processor time of an idle worker", "memory/idle", "", 100, unit=" µs a second"),
    Target("two hogs: their part of a fair share", "hogs/hardpoint/share", "", 0.95, at_most=False),
    Target("first answer / that of the earlier hardpoint", "start/first", "before/first", 1 / 3),
    Target("each further answer / that of the earlier hardpoint", "start/further", "before/further", 2.5 / 7),
    Target("first answer / python -I -S -c ''", "start/first", "start/bare", 1.4, unless="before"),
    Target("each further answer / python -I -S -c ''", "start/further", "start/bare", 0.15, unless="before"),
    *(_flood_target(kind, placement) for placement in ("on cores of their own", "unpinned") for kind in _FLOODS),
    Target("two threads on two workers / one", "threads/workers", "", 1.8, at_most=False, cores=2),
    Target("PSS of a worker, ten running", "memory/pss", "", 0.3, unit=" MiB"),
]
"""The earlier hardpoint, with workers in Python, is measured with --before. Its first answer took 4.2 times as long as
Python's start, a further one 0.4 times."""


def _at(figures: Figures, path: str) -> float | None:
    found: Any = figures
    for key in path.split("/"):
        found = found.get(key) if isinstance(found, dict) else None
    return None if found is None else float(found)


def judged(figures: Figures) -> list[tuple[Target, float, bool]]:
    """The targets whose figures were measured: each with its ratio, and True if it was met."""
    found = []
    for target in TARGETS:
        above, below = _at(figures, target.above), _at(figures, target.below) if target.below else 1.0
        if above is not None and below is not None and not (target.unless and figures.get(target.unless)):
            ratio = above / below
            found.append((target, ratio, ratio <= target.wanted if target.at_most else ratio >= target.wanted))
    return found


def tables(figures: Figures) -> list[MarkdownTable]:
    """A table of times for each placement, one of other figures, and the targets."""
    return [*(_calls(name, rows) for name, rows in figures["calls"].items()), _others(figures), _targets(figures)]


def _calls(placement: str, rows: Figures) -> MarkdownTable:
    columns = {who: title for who, title in COLUMNS.items() if who in rows["greet"]}
    body = [[row, *(_microseconds(times, who) for who in columns)] for row, times in rows.items()]
    title = f"Host and worker {_WHERE[placement]}: microseconds"
    return MarkdownTable(title, ["", *columns.values()], body, set(range(1, len(columns) + 1)))


def _microseconds(times: dict[str, float], who: str, digits: int = 3) -> str:
    return significant(times[who] * 1e6, digits) if who in times else ""


def significant(value: float, digits: int) -> str:
    """Round to so many significant digits, never in scientific notation."""
    short = f"{value:.{digits}g}"
    return f"{float(short):,.0f}" if float(short) >= 10 ** (digits - 1) else short


def _others(figures: Figures) -> MarkdownTable:
    start, worker, hogs, threads = (figures[name] for name in ("start", "memory", "hogs", "threads"))
    rows = [
        ["first answer of a host's first isolated plugin", f"{start['first'] * 1e3:.1f} ms"],
        ["first answer of each further plugin", f"{start['further'] * 1e3:.2f} ms"],
        ["`python -I -S -c ''`, for comparison", f"{start['bare'] * 1e3:.1f} ms"],
        ["memory of each of ten workers, shared pages by their part (PSS)", f"{worker['pss']:.2f} MiB"],
        ["the same, shared pages in full (RSS)", f"{worker['rss']:.2f} MiB"],
        ["the process that forks workers (PSS)", f"{worker['zygote']:.2f} MiB"],
        ["processor time of an idle worker", f"{worker['idle']:.0f} µs a second"],
        ["calls beside two processes that compute", f"{hogs['hardpoint']['rate']:,.0f} a second"],
        ["the same, C on the same channel", f"{hogs['ring']['rate']:,.0f} a second"],
        ["speed-up of two threads on two workers, methods of 1 ms", f"{threads['workers']:.2f}"],
        ["the same of two threads that hash in one process", f"{threads['hashing']:.2f}"],
    ]
    return MarkdownTable("Start, memory and company", ["", ""], rows, {1})


def _targets(figures: Figures) -> MarkdownTable:
    has_two = (_at(figures, "threads/hashing") or 0) >= TWO_CORES
    rows = []
    for target, ratio, is_met in judged(figures):
        verdict = "met" if is_met else "missed" if has_two or target.cores == 1 else "no second core was free"
        limit = f"{'at most' if target.at_most else 'at least'} {rounded(target.wanted)}{target.unit}"
        rows.append([target.text, f"{rounded(ratio)}{target.unit}", limit, verdict])
    return MarkdownTable("Targets", ["ratio", "measured", "wanted", ""], rows, {1, 2})


def page(figures: Figures) -> str:
    """The tables and the machine, for docs/benchmarks.md."""
    return "\n\n".join([*map(in_markdown, tables(figures)), wrapped(f"- {_machine(figures)}", "  ")])


def costs(figures: Figures) -> str:
    """The most important figures beside what they are compared with, for docs/isolation.md."""
    rows = []
    for placement, times in figures["calls"].items():
        for row, other in (("greet", "socket"), ("1 MiB", "ring")):
            mine, theirs = (f"{_microseconds(times[row], who, 2)} µs" for who in ("hardpoint", other))
            rows.append([f"{row}, {placement}", mine, f"{COLUMNS[other]}: {theirs}"])
    start = figures["start"]
    rows += [
        ["first answer of the first isolated plugin", f"{start['first'] * 1e3:.0f} ms", _bare(start)],
        ["first answer of each further one", f"{start['further'] * 1e3:.1f} ms", ""],
        ["memory of each of ten workers (PSS)", f"{figures['memory']['pss']:.2f} MiB", ""],
    ]
    title = _machine(figures).rstrip(".")
    return in_markdown(MarkdownTable(title, ["", "hardpoint", "compared with"], rows, {1}))


def _bare(start: Figures) -> str:
    return f"`python -I -S -c ''`: {start['bare'] * 1e3:.0f} ms"


def brief(figures: Figures) -> str:
    """The time of an isolated greet beside others', for README.md."""
    calls = figures["calls"]
    columns = {who: title for who, title in COLUMNS.items() if who in calls["unpinned"]["greet"]}
    rows = [
        [f"host and worker {where}", *(f"{_microseconds(calls[placement]['greet'], who, 2)} µs" for who in columns)]
        for placement, where in _WHERE.items()
        if placement in calls
    ]
    head = ["", "hardpoint, isolated", *[title for who, title in columns.items() if who != "hardpoint"]]
    return in_markdown(MarkdownTable(_machine(figures).rstrip("."), head, rows, set(range(1, len(head)))))


def _machine(figures: Figures) -> str:
    machine = figures["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load']}; {machine['system']}; "
        f"{machine['python']}; {figures['date']}; the fastest of {figures['rounds']} samples."
    )
