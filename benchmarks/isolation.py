"""Measure the cost of isolation: calls of a plugin in a process of its own, compared with two processes in C.

    python -m benchmarks.isolation [PLUGIN] [--rounds 150] [--processes 8] [--json FILE]

Each figure is compared with one of the same run, measured in turns with it, and with its target:

- A round trip of greet("World"), and of two C processes that answer each other over the same kind of socket
  (pingpong.c): both on one core, on two cores, and wherever the kernel puts them.
- 1 MiB of bytes there and back, and the same two C processes with shared memory: copied in, copied by the other side (a
  plugin that returns its input does that as well) and copied out.
- The first answer: load(isolated=True) and a greet, in new processes that have imported hardpoint, for the first plugin
  and for each further one while the others run; and a bare Python from start to end.
- Calls that compute for a millisecond: the ratio of the rate of two threads on two workers to that of one thread. The
  control, two threads that hash in this process, shows whether the machine had two cores free.
- The memory of a worker while ten run, by /proc/PID/smaps_rollup: proportional (a page that N processes share counts
  1/N) and resident.

PLUGIN is a greeter, build/plugins/english.so by default. A C compiler is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import machine
from benchmarks.isolation_parts import HERE, PARTS, PLACEMENTS, PLUGIN, RUNNING, build
from benchmarks.workshop import MissingError


def in_a_process(part: str, plugin: Path, folder: Path, *more: str) -> dict[str, float]:
    """Run this script with `--part` in a new process, which may write .pyc files, as a user's Python does."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "benchmarks.isolation", str(plugin), f"--part={part}", f"--folder={folder}", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env, cwd=HERE.parent)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(plugin: Path, folder: Path, rounds: int, processes: int) -> dict[str, Any]:
    """Measure all parts, one after the other."""
    calls = {}
    for placement, cores in PLACEMENTS.items():
        if len(cores) == 2:  # the machine may have one core only
            calls[placement] = in_a_process("calls", plugin, folder, f"--placement={placement}", f"--rounds={rounds}")
    starts = [in_a_process("start", plugin, folder) for _ in range(processes + 1)][1:]
    start = {name: median(each[name] for each in starts) for name in starts[0]}
    threads = in_a_process("threads", plugin, folder, f"--rounds={rounds // 10 + 1}")
    return {"machine": machine.describe(), "calls": calls, "start": start, "threads": threads,
            "memory": in_a_process("memory", plugin, folder)}  # fmt: skip


def show(figures: dict[str, Any]) -> None:
    """Print a table: each figure, the one that it is compared with, the ratio, and the target."""
    rows: list[tuple[str, str, str, str, str]] = []
    for placement, each in figures["calls"].items():
        below = ", under 8 us" if placement == "one core" else ""
        for what, name, wanted in (("greet", "greet", f"about 2{below}"), ("1 MiB each way", "mib", "under 3")):
            times = each[name], each[f"{name}_c"]
            ours, raw = (f"{seconds * 1e6:.1f} us" for seconds in times)
            rows.append((f"{what}, {placement}", ours, f"C: {raw}", f"{times[0] / times[1]:.2f}", wanted))
    start, threads, worker = figures["start"], figures["threads"], figures["memory"]
    bare = f"python -IS: {start['bare'] * 1e3:.1f} ms"
    for what, name, wanted in (("the first", "first", "under 50 ms"), ("each further", "further", "under 4 ms")):
        ratio = f"{start[name] / start['bare']:.2f}"
        rows.append((f"first answer, {what}", f"{start[name] * 1e3:.1f} ms", bare, ratio, wanted))
    control = f"hashing: {threads['threads_control']:.2f}"
    rows += [
        ("two threads on two workers", "", control, f"{threads['threads']:.2f}", "1.8"),
        (f"PSS of a worker, {RUNNING} run", f"{worker['pss']:.2f} MiB", f"forker: {worker['zygote_pss']:.1f} MiB", "",
         "under 3 MiB"),
        (f"RSS of a worker, {RUNNING} run", f"{worker['rss']:.2f} MiB", "", "", ""),
    ]  # fmt: skip
    for row in (("", "hardpoint", "compared", "ratio", "target"), *rows):
        print("{:<28} {:>11}  {:<20} {:>6}  {}".format(*row).rstrip())
    print("\n" + ", ".join(f"{name}: {value}" for name, value in figures["machine"].items()))


def main() -> None:
    """Measure, and print a table or one part's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=150, help="turns of each pair (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=8, help="for the first answer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, in seconds and MiB")
    for hidden in ("--part", "--folder", "--placement"):
        parser.add_argument(hidden, type=Path if hidden == "--folder" else str, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    plugin: Path = arguments.plugin.resolve()
    if not plugin.is_file():
        parser.error(f"{plugin}: file not found; ./build.sh builds the plugins")
    if arguments.part:
        print(json.dumps(PARTS[arguments.part](plugin, arguments.folder, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            build(Path(folder))
        except MissingError as error:
            parser.error(str(error))
        figures = measure(plugin, Path(folder), arguments.rounds, arguments.processes)
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
