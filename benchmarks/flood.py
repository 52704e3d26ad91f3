"""Measure by how much an isolated plugin that floods the host with output slows the calls of another.

    python -m benchmarks.flood [PLUGIN] [--rounds 20] [--seconds 0.3] [--json FILE]

flood.so writes lines to stdout, or log records, as fast as it can, in one thread; meanwhile the main thread calls greet
of PLUGIN, also isolated, and the host's logging handlers get what comes. Each is compared with the same calls beside
the same plugin when it only computes, since one processor less slows them as well; by turns, and the medians of ratios
within rounds. The target is 1.1. PLUGIN is build/plugins/english.so by default; a C compiler is needed.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import threading
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Protocol, runtime_checkable

import hardpoint
from benchmarks.isolation_peers import HERE, PLUGIN, compile_plugin
from benchmarks.workshop import MissingError
from hardpoint.contracts import Greeter

BATCH, LEAD = 100, 0.05
"""Calls between two looks at the clock, and the seconds that a flood runs before calls are timed."""
KINDS = {"quiet": "does nothing", "compute": "computes", "lines": "writes lines", "records": "logs records"}
LIMIT = 1.1


@hardpoint.contract("noisy", version="1.0")
@runtime_checkable
class Noisy(Protocol):
    """The contract that flood.c implements: each method returns how often it did it in so many seconds."""

    def lines(self, length: float) -> int:
        """Write lines to stdout."""
        ...

    def records(self, length: float) -> int:
        """Log records."""
        ...

    def compute(self, length: float) -> int:
        """Count."""
        ...


class Counter(logging.Handler):
    """Counts the records that reach the host's handlers."""

    seen = 0

    def emit(self, _: logging.LogRecord) -> None:
        """Count one."""
        self.seen += 1


def beside(greeter: Greeter, noisy: Noisy, kind: str, length: float) -> tuple[float, int]:
    """The seconds of a greet while the other plugin does this, and how often it did it."""
    done: list[int] = []
    work = getattr(noisy, kind, lambda _: 0)
    thread = threading.Thread(target=lambda: done.append(work(length + 2 * LEAD)))
    thread.start()
    sleep(LEAD)
    count, start, now = 0, perf_counter(), 0.0
    greet = greeter.greet
    while now < length:
        for _ in repeat(None, BATCH):
            greet("World")
        count += BATCH
        now = perf_counter() - start
    thread.join()
    return now / count, done[0]


def measure(plugin: Path, library: Path, rounds: int, length: float) -> dict[str, float]:
    """Measure in turns: the median seconds of a greet beside each kind, of the ratios, and the numbers written."""
    counter, logger = Counter(), logging.getLogger("hardpoint")
    logger.addHandler(counter)
    logger.propagate = False
    figures: dict[str, float] = {}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with (
        hardpoint.loaded(plugin, Greeter, isolated=True) as greeter,
        hardpoint.loaded(library, Noisy, isolated=True) as noisy,
    ):
        for _ in range(rounds):
            for kind in KINDS:
                seconds, written = beside(greeter, noisy, kind, length)
                times[kind].append(seconds)
                figures[f"{kind}_written"] = figures.get(f"{kind}_written", 0) + written
    for kind in KINDS:
        figures[kind] = median(times[kind])
        figures[f"{kind}_ratio"] = median(a / b for a, b in zip(times[kind], times["compute"], strict=True))
    logger.removeHandler(counter)
    return figures | {"seen": counter.seen}


def show(figures: dict[str, float]) -> None:
    """Print a line for each kind, and what reached the host."""
    print(f"{'beside a plugin that':<28} {'greet':>9} {'ratio':>6}  at most {LIMIT}")
    for kind, does in KINDS.items():
        verdict = ("met" if figures[f"{kind}_ratio"] <= LIMIT else "missed") if kind in ("lines", "records") else ""
        print(f"{does:<28} {figures[kind] * 1e6:6.2f} us {figures[f'{kind}_ratio']:>6.2f}  {verdict}".rstrip())
    written = figures["lines_written"] + figures["records_written"]
    print(f"{written:,.0f} lines and records were written; {figures['seen']:,.0f} reached the host's handlers")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.3, help="of each turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = compile_plugin(HERE / "flood.c", Noisy, Path(folder))
        except MissingError as error:
            sys.exit(str(error))
        figures = measure(arguments.plugin.resolve(), library, arguments.rounds, arguments.seconds)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
