"""What isolation costs: a call of a plugin in a process of its own, beside what no such call can do without.

    python -m benchmarks.isolation [PLUGIN] [--rounds 150] [--processes 8] [--json FILE]

Each figure stands beside one of the same run, measured in turns with it, and beside its target:

- A round trip of greet("World"), against two C processes that answer each other over the same kind of socket
  (pingpong.c): all on one core, the two sides on two cores, and wherever the kernel puts them.
- 1 MiB of bytes there and back, against the same two C processes with shared memory: copied in, copied by the other
  side (which a plugin that gives back what it gets does as well) and copied out.
- The first answer: load(isolated=True) and a greet, in new processes that have imported hardpoint: of the first plugin,
  and of each further one while the others run. Beside it, a bare Python from start to end.
- Calls that compute for a millisecond: the rate of two threads on two workers to that of one; the control is the same
  with two threads that hash in this process, and says whether the machine had two cores to give.
- The memory of a worker while ten run, by /proc/PID/smaps_rollup: proportional (pages that N processes share count
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
from benchmarks.isolation_parts import HERE, PARTS, PLACES, PLUGIN, RUNNING, build
from benchmarks.workshop import MissingError


def in_a_process(part: str, plugin: Path, folder: Path, *more: str) -> dict[str, float]:
    """What this script measures when it is run with `--part`; a Python that may write .pyc, as a user's."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", "benchmarks.isolation", str(plugin), f"--part={part}", f"--folder={folder}", *more]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env, cwd=HERE.parent)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def measure(plugin: Path, folder: Path, rounds: int, processes: int) -> dict[str, Any]:
    """Everything, one part after the other."""
    calls = {}
    for place, cores in PLACES.items():
        if len(cores) == 2:  # there may be one core alone
            calls[place] = in_a_process("calls", plugin, folder, f"--place={place}", f"--rounds={rounds}")
    starts = [in_a_process("start", plugin, folder) for _ in range(processes + 1)][1:]
    start = {name: median(each[name] for each in starts) for name in starts[0]}
    threads = in_a_process("threads", plugin, folder, f"--rounds={rounds // 10 + 1}")
    return {"machine": machine.describe(), "calls": calls, "start": start, "threads": threads,
            "memory": in_a_process("memory", plugin, folder)}  # fmt: skip


def show(figures: dict[str, Any]) -> None:
    """Print a table: what was measured, beside what, the ratio, and the target."""
    rows: list[tuple[str, str, str, str, str]] = []
    for place, each in figures["calls"].items():
        below = ", under 8 us" if place == "one core" else ""
        for what, name, wanted in (("greet", "greet", f"about 2{below}"), ("1 MiB each way", "mib", "under 3")):
            times = each[name], each[f"{name}_c"]
            ours, raw = (f"{seconds * 1e6:.1f} us" for seconds in times)
            rows.append((f"{what}, {place}", ours, f"C: {raw}", f"{times[0] / times[1]:.2f}", wanted))
    start, threads, worker = figures["start"], figures["threads"], figures["memory"]
    bare = f"python -IS: {start['bare'] * 1e3:.1f} ms"
    for what, name, wanted in (("the first", "first", "under 50 ms"), ("each further", "further", "under 4 ms")):
        ratio = f"{start[name] / start['bare']:.2f}"
        rows.append((f"first answer, {what}", f"{start[name] * 1e3:.1f} ms", bare, ratio, wanted))
    control = f"hashing: {threads['threads_control']:.2f}"
    rows += [
        ("two threads on two workers", "", control, f"{threads['threads']:.2f}", "1.8"),
        (f"PSS of a worker, {RUNNING} run", f"{worker['pss']:.2f} MiB", f"forker: {worker['zygote_pss']:.1f} MiB", "", "under 3 MiB"),
        (f"RSS of a worker, {RUNNING} run", f"{worker['rss']:.2f} MiB", "", "", ""),
    ]  # fmt: skip
    for row in (("", "hardpoint", "beside", "ratio", "target"), *rows):
        print("{:<28} {:>11}  {:<20} {:>6}  {}".format(*row).rstrip())
    print("\n" + ", ".join(f"{name}: {value}" for name, value in figures["machine"].items()))


def main() -> None:
    """Measure, and print a table or one part's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=150, help="turns of each pair (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=8, help="for the first answer (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too, in seconds and MiB")
    for hidden in ("--part", "--folder", "--place"):
        parser.add_argument(hidden, type=Path if hidden == "--folder" else str, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    plugin: Path = arguments.plugin.resolve()
    if not plugin.is_file():
        parser.error(f"{plugin}: there is no such file; ./build.sh builds the plugins")
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
