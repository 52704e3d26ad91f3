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
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import hardpoint
from benchmarks import machine
from benchmarks.workshop import CONTRACT, MissingError, compiler
from hardpoint.contracts import Greeter
from hardpoint.definition import contract_of
from hardpoint.header import render

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = Path(__file__).parent
PLUGIN = HERE.parent / "build/plugins/english.so"
CALLS, FRAME = 100, "16 40"
"""Calls in a row, and the bytes of greet's frame and of its answer."""
MIB, COPIES = 1 << 20, 8
CORES = sorted(os.sched_getaffinity(0))
PLACES = {"one core": CORES[:1] * 2, "two cores": CORES[:2], "unpinned": [-1, -1]}
FURTHER, RUNNING = 10, 10


@hardpoint.contract("payload", version="1.0")
@runtime_checkable
class Payload(Protocol):
    """What payload.c does."""

    def echo(self, data: bytes) -> bytes:
        """The same bytes."""
        ...

    def work(self, rounds: int) -> int:
        """A number, after so many multiplications."""
        ...


def build(folder: Path) -> None:
    """Compile payload.so and pingpong. MissingError if there is no compiler."""
    (folder / "payload.h").write_text(render(contract_of(Payload)))
    for source, target, flags in (("payload.c", "payload.so", ["-shared", "-fPIC"]), ("pingpong.c", "pingpong", [])):
        words = [*compiler(HERE / source), "-std=c11", "-O2", "-Wall", "-Wextra", *flags, f"-I{folder}", f"-I{CONTRACT}"]
        subprocess.run([*words, "-o", str(folder / target), str(HERE / source)], check=True)


def seconds_of(work: Callable[[], object]) -> float:
    """How long it takes, by the clock on the wall."""
    start = perf_counter()
    work()
    return perf_counter() - start


class PingPong:
    """The two C processes."""

    def __init__(self, folder: Path, place: list[int]) -> None:
        words = [str(folder / "pingpong"), *map(str, place)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, request: str) -> float:
        """What a request took."""
        assert self.process.stdin and self.process.stdout  # noqa: PT018 - both are pipes
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / 1e9

    def __enter__(self) -> PingPong:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core, and those that it will start."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def workers_of(plugin: object) -> tuple[int, ...]:
    """The processes of an isolated plugin."""
    isolation = hardpoint.info(plugin).isolation
    assert isolation is not None
    return isolation.workers


def part_calls(plugin: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Round trips and payloads in one placement, and the same in C."""
    place = PLACES[arguments.place]
    if place[0] >= 0:
        os.sched_setaffinity(0, {place[0]})
    taken: dict[str, list[float]] = {"greet": [], "greet_c": [], "mib": [], "mib_c": []}
    with (
        PingPong(folder, place) as ours,
        hardpoint.loaded(plugin, Greeter, isolated=True) as greeter,
        hardpoint.loaded(folder / "payload.so", Payload, isolated=True) as payload,
    ):
        for pid in (*workers_of(greeter), *workers_of(payload)):
            if place[1] >= 0:
                pin(pid, place[1])
        greet, echo, data = greeter.greet, payload.echo, bytes(MIB)

        def greets() -> None:
            for _ in range(CALLS):
                greet("World")

        def echoes() -> None:
            for _ in range(COPIES):
                echo(data)

        assert echo(data) == data
        for _ in range(arguments.rounds):
            taken["greet_c"].append(ours.seconds(f"p {CALLS} {FRAME}") / CALLS)
            taken["greet"].append(seconds_of(greets) / CALLS)
            taken["mib_c"].append(ours.seconds(f"m {COPIES} {MIB}") / COPIES)
            taken["mib"].append(seconds_of(echoes) / COPIES)
    return {name: median(values) for name, values in taken.items()}


def part_start(plugin: Path, _: Path, __: argparse.Namespace) -> dict[str, float]:
    """From load to the first answer, in this new process."""
    loaded: list[Greeter] = []

    def answer() -> None:
        loaded.append(hardpoint.load(plugin, Greeter, isolated=True))
        loaded[-1].greet("World")

    first = seconds_of(answer)
    further = [seconds_of(answer) for _ in range(FURTHER)]
    bare = seconds_of(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True))
    return {"first": first, "further": median(further), "bare": bare}


def part_threads(_: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Two threads to one: of calls on two workers, and of hashing in this process."""
    block = bytes(MIB)
    with hardpoint.loaded(folder / "payload.so", Payload, isolated=hardpoint.Isolation(workers=2)) as payload:
        many = round(1e6 * 1e-3 / seconds_of(lambda: payload.work(1_000_000)))
        ratios: dict[str, list[float]] = {"threads": [], "threads_control": []}
        works: dict[str, Callable[[], object]] = {
            "threads": lambda: payload.work(many), "threads_control": lambda: hashlib.sha256(block),
        }  # fmt: skip
        for _ in range(arguments.rounds):
            for name, work in works.items():
                ratios[name].append(2 * together(work, 1) / together(work, 2))
    return {name: median(values) for name, values in ratios.items()}


def together(work: Callable[[], object], threads: int) -> float:
    """Seconds that so many threads take to do the work twenty times each."""
    barrier = threading.Barrier(threads + 1)

    def run() -> None:
        barrier.wait()
        for _ in range(20):
            work()
        barrier.wait()

    team = [threading.Thread(target=run) for _ in range(threads)]
    for each in team:
        each.start()
    barrier.wait()
    taken = seconds_of(barrier.wait)
    for each in team:
        each.join()
    return taken


def part_memory(plugin: Path, _: Path, __: argparse.Namespace) -> dict[str, float]:
    """MiB of a worker, and of the process that forks them."""
    with ExitStack() as stack:
        greeters = [stack.enter_context(hardpoint.loaded(plugin, Greeter, isolated=True)) for _ in range(RUNNING)]
        for each in greeters:
            each.greet("World")
        pids = [pid for each in greeters for pid in workers_of(each)]
        parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        figures = [memory(pid) for pid in pids]
        return {
            "pss": median(each["Pss"] for each in figures),
            "rss": median(each["Rss"] for each in figures),
            "zygote_pss": memory(parent)["Pss"],
        }


def memory(pid: int) -> dict[str, float]:
    """What smaps_rollup says of a process, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)}


PARTS = {"calls": part_calls, "start": part_start, "threads": part_threads, "memory": part_memory}


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
