"""The parts of isolation.py, each of which runs in a process of its own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import hardpoint
from benchmarks.isolation_peers import PROGRAMS, ROWS, Caller, Program, Row, pin
from hardpoint.contracts import Greeter

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

CORES = sorted(os.sched_getaffinity(0))
PLACEMENTS = {"one core": CORES[:1] * 2, "two cores": CORES[:2], "unpinned": [-1, -1]}
FURTHER, RUNNING = 10, 10
"""Plugins that are loaded after the first one, and workers whose memory is measured."""
IDLE = 1.0
"""Seconds without a call in which the processor time of a worker is measured."""
HOGGED, BESIDE = 0.2, Row(0, 10_000)
"""Seconds of calls beside two processes that compute, and the calls of a sample."""
Figures = dict[str, Any]


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


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock time of a call in seconds."""
    start = perf_counter()
    work()
    return perf_counter() - start


def workers_of(plugin: object) -> tuple[int, ...]:
    """The process ids of an isolated plugin's workers."""
    isolation = hardpoint.info(plugin).isolation
    assert isolation is not None
    return isolation.workers


class Ours:
    """Calls of isolated plugins, as Program has them of its worker."""

    def __init__(self, plugin: Path, folder: Path, core: int) -> None:
        self.stack = ExitStack()
        self.greeter = self.stack.enter_context(hardpoint.loaded(plugin, Greeter, isolated=True))
        self.payload = self.stack.enter_context(hardpoint.loaded(folder / "payload.so", Payload, isolated=True))
        self.data = {row: b"x" * row.size for row in ROWS.values()}  # bytes(n) is the one page of zeros, over and over
        for pid in (*workers_of(self.greeter), *workers_of(self.payload)):
            if core >= 0:
                pin(pid, core)

    def seconds(self, row: Row) -> float:
        """The seconds of a call."""
        call: Any = self.payload.echo if row.size else self.greeter.greet
        argument: object = self.data[row] if row.size else "World"
        wanted = argument if row.size else "Hello, World! Nice to meet you."
        assert call(argument) == wanted
        time = _rested if row.rest else _repeated
        return time(call, argument, row) / row.calls

    def can(self, row: Row) -> bool:  # noqa: ARG002 - as a program that lacks some
        """True: it has all calls."""
        return True

    def processes(self) -> list[int]:
        """The own process, and greet's worker."""
        return [os.getpid(), *workers_of(self.greeter)]


def _repeated(call: Callable[[Any], object], argument: object, row: Row) -> float:
    start = perf_counter()
    for _ in repeat(None, row.calls):
        call(argument)
    return perf_counter() - start


def _rested(call: Callable[[Any], object], argument: object, row: Row) -> float:
    taken = 0.0
    for _ in range(row.calls):
        sleep(row.rest / 1e6)
        start = perf_counter()
        call(argument)
        taken += perf_counter() - start
    return taken


def part_calls(plugin: Path, folder: Path, arguments: argparse.Namespace) -> Figures:
    """Measure all rows in one placement, each by turns with the programs': the fastest sample of each."""
    cores = PLACEMENTS[arguments.placement]
    taken: dict[str, dict[str, float]] = {row: {} for row in ROWS}
    with ExitStack() as stack:
        names = [*PROGRAMS, *(["go"] if (folder / "go-hashicorp").exists() else [])]
        callers: dict[str, Caller] = {name: stack.enter_context(Program(name, folder, cores)) for name in names}
        ours = Ours(plugin, folder, cores[1])
        stack.push(ours.stack)
        if cores[0] >= 0:  # after the load: who has but one core from the start never polls
            os.sched_setaffinity(0, {cores[0]})
        callers["hardpoint"] = ours
        for turn in range(arguments.rounds):
            for name, row in ROWS.items():
                for who, caller in callers.items():
                    if caller.can(row) and (row.rest == 0 or turn % 5 == 0):
                        taken[name][who] = min(taken[name].get(who, 1e9), caller.seconds(row))
    return taken


def part_hogs(plugin: Path, folder: Path, arguments: argparse.Namespace) -> Figures:
    """Measure greets beside a process on each core that computes, and those processes' part of a fair share.

    Host and worker are two more, and a fair share is a quarter for each of the four, of the time that all of them had.
    """
    ours, rates, shares = Ours(plugin, folder, -1), dict[str, list[float]](), dict[str, list[float]]()
    with ours.stack, Program("ring", folder, [-1, -1]) as ring:
        hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) for _ in CORES[:2]]
        for hog, core in zip(hogs, CORES, strict=False):
            pin(hog.pid, core)
        for _ in range(arguments.rounds // 10 + 1):
            callers: dict[str, Caller] = {"hardpoint": ours, "ring": ring}
            for name, caller in callers.items():
                pids = [hog.pid for hog in hogs], caller.processes()
                before, start, calls = [cpu_of(*each) for each in pids], perf_counter(), 0
                while perf_counter() - start < HOGGED:
                    caller.seconds(BESIDE)
                    calls += BESIDE.calls
                rates.setdefault(name, []).append(calls / (perf_counter() - start))
                used, own = (cpu_of(*each) - had for each, had in zip(pids, before, strict=True))
                shares.setdefault(name, []).append(used / (used + own) * 2)
        for hog in hogs:
            hog.kill()
            hog.wait()
    return {who: {"rate": median(rates[who]), "share": median(shares[who])} for who in rates}


def part_start(plugin: Path, _: Path, __: argparse.Namespace) -> Figures:
    """Measure from load to the first answer, in this new process."""
    loaded: list[Greeter] = []

    def answer() -> None:
        loaded.append(hardpoint.load(plugin, Greeter, isolated=True))
        loaded[-1].greet("World")

    first = seconds_of(answer)
    further = [seconds_of(answer) for _ in range(FURTHER)]
    bare = seconds_of(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True))
    return {"first": first, "further": median(further), "bare": bare}


def part_threads(_: Path, folder: Path, arguments: argparse.Namespace) -> Figures:
    """Measure the rate of two threads relative to one: for calls on two workers, and for hashing in this process."""
    block = bytes(1 << 20)
    with hardpoint.loaded(folder / "payload.so", Payload, isolated=hardpoint.Isolation(workers=2)) as payload:
        many = round(1e6 * 1e-3 / seconds_of(lambda: payload.work(1_000_000)))
        ratios: dict[str, list[float]] = {"workers": [], "hashing": []}
        works: dict[str, Callable[[], object]] = {
            "workers": lambda: payload.work(many),
            "hashing": lambda: hashlib.sha256(block),
        }
        for _turn in range(arguments.rounds // 10 + 1):
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


def part_memory(plugin: Path, _: Path, __: argparse.Namespace) -> Figures:
    """Measure the memory of a worker and of the process that forks them in MiB, and the µs a second of an idle one."""
    with ExitStack() as stack:
        greeters = [stack.enter_context(hardpoint.loaded(plugin, Greeter, isolated=True)) for _ in range(RUNNING)]
        for each in greeters:
            each.greet("World")
        sleep(0.2)
        pids = [pid for each in greeters for pid in workers_of(each)]
        before = cpu_of(*pids)
        sleep(IDLE)
        idle = (cpu_of(*pids) - before) / len(pids) / IDLE * 1e6
        parent = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
        sizes = [memory(pid) for pid in pids]
        middle = {name: median(size[name] for size in sizes) for name in ("Pss", "Rss")}
        return {"pss": middle["Pss"], "rss": middle["Rss"], "zygote": memory(parent)["Pss"], "idle": idle}


def cpu_of(*pids: int) -> float:
    """Seconds of processor time that the threads of these processes have had."""
    tasks = (task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir())
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def memory(pid: int) -> dict[str, float]:
    """The figures of a process in smaps_rollup, in MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)}


PARTS = {"calls": part_calls, "hogs": part_hogs, "start": part_start, "threads": part_threads, "memory": part_memory}
