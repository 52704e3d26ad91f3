"""Measure the cost of isolation: calls of a plugin in a process of its own, beside processes in C and in Go.

    python -m benchmarks.isolation [PLUGIN] [--rounds 150] [--processes 8] [--before SRC] [--json FILE] [--docs]

All of a table is measured in one run and by turns, and the ratios in the last one are those of its figures, with their
targets:

- Calls of greet("World") and of an echo of 64 B to 1 MiB, with host and worker on one core, on two, and wherever the
  kernel puts them; and after 10 ms of rest. The same in C (peers/processes): on hardpoint's own channel, through
  shared memory and a futex without any spinning, and over a SOCK_SEQPACKET socket. And in Go, hashicorp/go-plugin over
  net/rpc, where Go and its package are installed. The fastest sample of each.
- The same beside two processes that compute, and how much of their fair share these were left.
- The first answer: load(isolated=True) and a greet, in new processes that have imported hardpoint, for the first plugin
  and for each further one while the others run; a bare Python from start to end; and, with --before, those of an
  earlier hardpoint, whose folder `src` it names.
- Calls that compute for a millisecond: the rate of two threads on two workers relative to that of one thread. Two
  threads that hash in this process show whether the machine had two cores free.
- Calls of one plugin while another floods the host with output, as flood.py measures them.
- The memory of a worker while ten run, by /proc/PID/smaps_rollup: proportional (a page that N processes share counts
  1/N) and resident; and the processor time of one that has nothing to do.

PLUGIN is a greeter, build/plugins/english.so by default. A C compiler is needed. --docs writes the tables into
docs/benchmarks.md, docs/isolation.md and README.md; `python -m benchmarks.isolation_docs` does it for the figures in
docs/isolation.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import isolation_docs, machine
from benchmarks.isolation_parts import PARTS, PLACEMENTS, Payload
from benchmarks.isolation_peers import HERE, PLUGIN, build, compile_plugin
from benchmarks.isolation_report import page
from benchmarks.workshop import MissingError

Figures = dict[str, Any]


def in_a_process(part: str, options: argparse.Namespace, *more: str, source: Path | None = None) -> Figures:
    """Run this script with `--part` in a new process, which may write .pyc files, as a user's Python does.

    `source` is the folder that this process imports hardpoint from, if it is another one.
    """
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    if source:
        env["PYTHONPATH"] = str(source)
    words = [str(options.plugin), f"--part={part}", f"--folder={options.folder}", f"--rounds={options.rounds}", *more]
    command = [sys.executable, "-m", "benchmarks.isolation", *words]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env, cwd=HERE.parent)
    figures: Figures = json.loads(done.stdout)
    return figures


def starts(options: argparse.Namespace, source: Path | None = None) -> Figures:
    """The medians of several new processes, after one that writes the .pyc files."""
    found = [in_a_process("start", options, source=source) for _ in range(options.processes + 1)][1:]
    return {name: median(each[name] for each in found) for name in found[0]}


def measure(options: argparse.Namespace) -> Figures:
    """Measure all parts, one after the other."""
    figures: Figures = {"date": datetime.now(UTC).date().isoformat(), "machine": machine.describe(), "calls": {}}
    figures["rounds"] = options.rounds
    for placement, cores in PLACEMENTS.items():
        if len(cores) == 2:  # the machine may have one core only
            figures["calls"][placement] = in_a_process("calls", options, f"--placement={placement}")
    figures["start"] = starts(options)
    if options.before:
        figures["before"] = starts(options, options.before.resolve())
    figures["flood"] = beside_a_flood(options)["calls"]
    return figures | {part: in_a_process(part, options) for part in ("hogs", "threads", "memory")}


def beside_a_flood(options: argparse.Namespace) -> Figures:
    """The figures of flood.py."""
    file = options.folder / "flood.json"
    words = [str(options.plugin), f"--rounds={options.rounds // 12 + 1}", "--json", str(file)]
    command = [sys.executable, "-m", "benchmarks.flood", *words]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, cwd=HERE.parent)
    figures: Figures = json.loads(file.read_text())
    return figures


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=150, help="samples of each (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=8, help="for the first answer (default: %(default)s)")
    parser.add_argument("--before", type=Path, metavar="SRC", help="an earlier hardpoint, for the first answer")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, in seconds and MiB")
    parser.add_argument("--docs", action="store_true", help="update the pages, and docs/isolation.json")
    for hidden in ("--part", "--folder", "--placement"):
        parser.add_argument(hidden, type=Path if hidden == "--folder" else str, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.plugin = options.plugin.resolve()
    if not options.plugin.is_file():
        parser.error(f"{options.plugin}: file not found; ./build.sh builds the plugins")
    return options


def main() -> None:
    """Measure, and print the tables or one part's figures."""
    options = arguments()
    if options.part:
        print(json.dumps(PARTS[options.part](options.plugin, options.folder, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        try:
            compile_plugin(HERE / "payload.c", Payload, options.folder)
            missing = build(options.folder)
        except MissingError as error:
            sys.exit(str(error))
        for name, why in missing.items():
            print(f"Without {name}: {why}", file=sys.stderr)
        figures = measure(options)
    print(page(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.docs:
        isolation_docs.write(figures)


if __name__ == "__main__":
    main()
