"""The parts of isolation.py, each of which runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

import hardpoint
from benchmarks.workshop import CONTRACT, compiler
from hardpoint.authoring.c_header import render
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

HERE = Path(__file__).parent
PLUGIN = HERE.parent / "build/plugins/english.so"
CALLS, FRAME = 100, "16 40"
"""Calls in a sample, and the bytes of greet's frame and of its answer."""
MIB, COPIES = 1 << 20, 8
CORES = sorted(os.sched_getaffinity(0))
PLACEMENTS = {"one core": CORES[:1] * 2, "two cores": CORES[:2], "unpinned": [-1, -1]}
FURTHER, RUNNING = 10, 10


@hardpoint.contract("payload", version="1.0")
@runtime_checkable
class Payload(Protocol):
    """The contract that payload.c implements."""

    def echo(self, data: bytes) -> bytes:
        """Return the same bytes."""
        ...

    def work(self, rounds: int) -> int:
        """Return a number, after so many multiplications."""
        ...


def build(folder: Path) -> None:
    """Compile payload.so and pingpong. MissingError if there is no compiler."""
    (folder / "payload.h").write_text(render(contract_of(Payload)))
    for source, target, flags in (("payload.c", "payload.so", ["-shared", "-fPIC"]), ("pingpong.c", "pingpong", [])):
        words = [
            *compiler(HERE / source),
            "-std=c11",
            "-O2",
            "-Wall",
            "-Wextra",
            *flags,
            f"-I{folder}",
            f"-I{CONTRACT}",
        ]
        subprocess.run([*words, "-o", str(folder / target), str(HERE / source)], check=True)


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock time of a call in seconds."""
    start = perf_counter()
    work()
    return perf_counter() - start


class PingPong:
    """The two C processes."""

    def __init__(self, folder: Path, cores: list[int]) -> None:
        words = [str(folder / "pingpong"), *map(str, cores)]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def seconds(self, request: str) -> float:
        """The time of a request in seconds."""
        assert self.process.stdin and self.process.stdout  # noqa: PT018 - both are pipes
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / 1e9

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def pin(pid: int, core: int) -> None:
    """Pin every thread of a process to one core, and so those that it will start."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def workers_of(plugin: object) -> tuple[int, ...]:
    """The process ids of an isolated plugin's workers."""
    isolation = hardpoint.info(plugin).isolation
    assert isolation is not None
    return isolation.workers


def part_calls(plugin: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure round trips and payloads in one placement, and the same in C."""
    cores = PLACEMENTS[arguments.placement]
    if cores[0] >= 0:
        os.sched_setaffinity(0, {cores[0]})
    taken: dict[str, list[float]] = {"greet": [], "greet_c": [], "mib": [], "mib_c": []}
    with (
        PingPong(folder, cores) as ours,
        hardpoint.loaded(plugin, Greeter, isolated=True) as greeter,
        hardpoint.loaded(folder / "payload.so", Payload, isolated=True) as payload,
    ):
        for pid in (*workers_of(greeter), *workers_of(payload)):
            if cores[1] >= 0:
                pin(pid, cores[1])
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
    """Measure from load to the first answer, in this new process."""
    loaded: list[Greeter] = []

    def answer() -> None:
        loaded.append(hardpoint.load(plugin, Greeter, isolated=True))
        loaded[-1].greet("World")

    first = seconds_of(answer)
    further = [seconds_of(answer) for _ in range(FURTHER)]
    bare = seconds_of(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True))
    return {"first": first, "further": median(further), "bare": bare}


def part_threads(_: Path, folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """Measure the rate of two threads relative to one: for calls on two workers, and for hashing in this process."""
    block = bytes(MIB)
    with hardpoint.loaded(folder / "payload.so", Payload, isolated=hardpoint.Isolation(workers=2)) as payload:
        many = round(1e6 * 1e-3 / seconds_of(lambda: payload.work(1_000_000)))
        ratios: dict[str, list[float]] = {"threads": [], "threads_control": []}
        works: dict[str, Callable[[], object]] = {
            "threads": lambda: payload.work(many),
            "threads_control": lambda: hashlib.sha256(block),
        }
        for _turn in range(arguments.rounds):
            for name, work in works.items():
                ratios[name].append(2 * together(work, 1) / together(work, 2))
    return {name: median(values) for name, values in ratios.items()}


def together(work: Callable[[], object], threads: int) -> float:
    """Seconds for so many threads to do the work twenty times each."""
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
    """Measure the memory of a worker, and of the process that forks them, in MiB."""
    with ExitStack() as stack:
        greeters = [stack.enter_context(hardpoint.loaded(plugin, Greeter, isolated=True)) for _ in range(RUNNING)]
        for each in greeters:
            each.greet("World")
        pids = [pid for each in greeters for pid in workers_of(each)]
        parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        sizes = [memory(pid) for pid in pids]
        return {
            "pss": median(size["Pss"] for size in sizes),
            "rss": median(size["Rss"] for size in sizes),
            "zygote_pss": memory(parent)["Pss"],
        }


def memory(pid: int) -> dict[str, float]:
    """The figures of a process in smaps_rollup, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)}


PARTS = {"calls": part_calls, "start": part_start, "threads": part_threads, "memory": part_memory}
