"""Measure by how much an isolated plugin that floods the host with output slows the calls of another.

    python -m benchmarks.flood [PLUGIN] [--rounds 12] [--seconds 0.25] [--json FILE]

flood.so writes lines to stdout, or log records, as fast as it can, in one thread; meanwhile the main thread calls greet
of PLUGIN, also isolated, and the host's logging handlers get what comes. Each is compared with the same calls beside
the same plugin when it only computes, since one processor less slows them as well; by turns, and the medians of ratios
within rounds. Once with the calls on a core that nothing else uses, so that they wait only for what the host does with
the flood, and once wherever the kernel puts all of it. The target is 1.1.

PLUGIN is build/plugins/english.so by default; a C compiler is needed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import threading
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any, Protocol, runtime_checkable

import hardpoint
from benchmarks.isolation_parts import CORES, workers_of
from benchmarks.isolation_peers import HERE, PLUGIN, compile_plugin, pin
from benchmarks.workshop import MissingError
from hardpoint.contracts import Greeter

BATCH, LEAD = 100, 0.05
"""Calls between two looks at the clock, and the seconds that a flood runs before calls are timed."""
KINDS = {"quiet": "does nothing", "compute": "computes", "lines": "writes lines", "records": "logs records"}
FLOODS, LIMIT = ("lines", "records"), 1.1
PLACEMENTS = {"on cores of their own": CORES[:2][::-1], "unpinned": []}
Figures = dict[str, Any]


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

    def emit(self, record: logging.LogRecord) -> None:  # noqa: ARG002 - logging's
        """Count one."""
        self.seen += 1


def beside(greeter: Greeter, noisy: Noisy, kind: str, length: float, core: int) -> tuple[float, int]:
    """The seconds of a greet while the other plugin does this, and how often it did it."""
    done: list[int] = []

    def make_noise() -> None:
        if core >= 0:
            os.sched_setaffinity(0, {core})
        done.append(getattr(noisy, kind, lambda _: 0)(length + 2 * LEAD))

    thread = threading.Thread(target=make_noise)
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


def place(greeter: Greeter, noisy: Noisy, cores: list[int]) -> None:
    """Put greet's host and worker on one core; the noise, and the host's threads that read it, on another."""
    noise, own = cores
    pin(os.getpid(), noise)
    os.sched_setaffinity(0, {own})
    for plugin, core in ((greeter, own), (noisy, noise)):
        for pid in workers_of(plugin):
            pin(pid, core)


def measure(plugin: Path, library: Path, options: argparse.Namespace, cores: list[int]) -> Figures:
    """Measure in turns: the median seconds of a greet beside each kind, of the ratios, and the numbers written."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    written = 0
    with (
        hardpoint.loaded(plugin, Greeter, isolated=True) as greeter,
        hardpoint.loaded(library, Noisy, isolated=True) as noisy,
    ):
        greeter.greet("World")
        noisy.lines(LEAD)  # starts the threads that read
        if cores:
            place(greeter, noisy, cores)
        for _ in range(options.rounds):
            for kind in KINDS:
                seconds, count = beside(greeter, noisy, kind, options.seconds, cores[0] if cores else -1)
                times[kind].append(seconds)
                written += count if kind in FLOODS else 0
    figures: Figures = {kind: median(times[kind]) for kind in KINDS}
    ratios = {kind: median(a / b for a, b in zip(times[kind], times["compute"], strict=True)) for kind in KINDS}
    return figures | {"ratios": ratios, "written": written}


def show(figures: Figures) -> None:
    """Print a line for each kind, and what reached the host."""
    for placement, found in figures["calls"].items():
        print(f"{placement + ', beside a plugin that':<34} {'greet':>9} {'ratio':>6}  at most {LIMIT}")
        for kind, does in KINDS.items():
            ratio = found["ratios"][kind]
            verdict = ("met" if ratio <= LIMIT else "missed") if kind in FLOODS else ""
            print(f"  {does:<32} {found[kind] * 1e6:6.2f} us {ratio:>6.2f}  {verdict}".rstrip())
    print(
        f"{figures['written']:,.0f} lines and records were written; {figures['seen']:,.0f} reached the host's handlers"
    )


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each kind (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each turn (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            library = compile_plugin(HERE / "flood.c", Noisy, Path(folder))
        except MissingError as error:
            sys.exit(str(error))
        counter, logger = Counter(), logging.getLogger("hardpoint")
        logger.addHandler(counter)
        logger.setLevel(logging.INFO)  # that of lines; else they would reach no handler
        logger.propagate = False
        found = {
            name: measure(arguments.plugin.resolve(), library, arguments, cores)
            for name, cores in PLACEMENTS.items()
            if len(cores) != 1  # the machine may have one core only
        }
    figures = {"calls": found, "written": sum(each["written"] for each in found.values()), "seen": counter.seen}
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
