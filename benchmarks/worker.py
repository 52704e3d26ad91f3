"""One process of a run: all peers, measured in turns, so that a slow moment of the machine slows all alike."""

from __future__ import annotations

import gc
import hashlib
import json
import random
import sys
import threading
from functools import partial
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from benchmarks.peer import METHODS, TEN, Sampler, samplers
from benchmarks.peers import PEERS
from benchmarks.peers.hardpoint import load
from benchmarks.workshop import MissingError, Workshop
from hardpoint.contracts import Transformer
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from collections.abc import Callable

THREADED = 64 << 10
LARGE = 64 << 20
LEAST = 100
"""Calls in a sample at least: in fewer, the processor's caches would still be filled by another peer."""


def interleave(wanted: dict[str, Sampler], rounds: int, sample_ns: float, least: int = LEAST) -> dict[str, list[float]]:
    """Nanoseconds a call: a list for each sampler. The n-th values of all lists are from the same round."""
    counts = {name: _calibrate(sample, sample_ns, least) for name, sample in wanted.items()}
    times: dict[str, list[float]] = {name: [] for name in wanted}
    order = list(wanted)
    gc.collect()
    for _ in range(rounds):
        random.shuffle(order)
        for name in order:
            times[name].append(wanted[name](counts[name]) / counts[name])
    return times


def _calibrate(sample: Sampler, wanted_ns: float, least: int) -> int:
    """The number of calls that take about so long, but at least `least`. Finding it also warms up the code."""
    count = least
    while (took := sample(count)) < wanted_ns / 2:
        count *= 2
    return max(least, int(count * wanted_ns / took) // TEN * TEN)


def open_peers(names: list[str], workshop: Workshop) -> dict[str, dict[str, Sampler]]:
    """The samplers of each peer, after it gave the right answers."""
    opened = {}
    for name in names:
        peer = PEERS[name].open(workshop)
        if not isinstance(peer, dict):
            for person in ("World", "Wörld", "x" * 5000):  # the last one is larger than every peer's first buffer
                answer = peer.greet(person)
                assert answer == f"Hello, {person}! Nice to meet you.", f"{name} says {answer!r}"
            assert peer.lang() == "English", name
            peer = samplers(peer)
        opened[name] = peer
    return opened


def measure_threads(call: Callable[[], object], rounds: int, sample_ns: float) -> dict[str, list[float]]:
    """The time of a call in one thread and in two, and of a hash of the same size, which needs a core a thread."""
    data = bytes(THREADED)
    return interleave(
        {
            "one": partial(_in_threads, 1, call),
            "two": partial(_in_threads, 2, call),
            "hash_one": partial(_in_threads, 1, partial(hashlib.sha256, data)),
            "hash_two": partial(_in_threads, 2, partial(hashlib.sha256, data)),
        },
        rounds,
        sample_ns,
    )


def _in_threads(threads: int, call: Callable[[], object], count: int) -> float:
    """Nanoseconds for `count` calls, divided evenly among the threads."""
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        ready.wait()
        for _ in range(count // threads):
            call()

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    ready.wait()
    start = perf_counter_ns()
    for worker in workers:
        worker.join()
    return perf_counter_ns() - start


def measure_large(transformer: Any, rounds: int) -> dict[str, list[float]]:
    """The time of a transform of 64 MiB, and of its parts: the call in C, with memory for its result, and a decode."""
    from hardpoint.benchmark.floor import Floor

    text, data = "x" * LARGE, b"x" * LARGE
    in_c = Floor(transformer, contract_of(Transformer).methods[0], (text,))
    return interleave(
        {
            "transform": partial(_times, partial(transformer.transform, text)),
            "c": lambda count: sum(in_c(1) for _ in range(count)),  # each time with fresh memory for the result
            "decode": partial(_times, partial(str, data, "utf-8")),
        },
        rounds,
        sample_ns=0,
        least=1,
    )


def _times(call: Callable[[], object], count: int) -> float:
    start = perf_counter_ns()
    for _ in range(count):
        call()
    return perf_counter_ns() - start


def main(task: dict[str, Any]) -> dict[str, Any]:
    """Measure the peers of a task; return the times of a call in nanoseconds, round by round."""
    workshop = Workshop(*(Path(task[field]) for field in Workshop._fields))
    sys.path.insert(0, str(workshop.folder))
    opened = open_peers(task["peers"], workshop)
    rounds, sample_ns = task["rounds"], task["sample_ns"]
    wanted = {f"{name}.{method}": opened[name][method] for name in opened for method in METHODS}
    done: dict[str, Any] = {"calls": interleave(wanted, rounds, sample_ns)}
    if "hardpoint_native" in opened:
        transformer = load(workshop.transformer, Transformer, "native", workshop.folder)
        small = partial(transformer.transform, "x" * THREADED)
        done["threads"] = measure_threads(small, max(2, rounds // 3), 10 * sample_ns)
        done["large"] = measure_large(transformer, max(2, rounds // 10))
    return done


if __name__ == "__main__":
    try:
        json.dump(main(json.loads(sys.argv[1])), sys.stdout)
    except MissingError as error:
        sys.exit(str(error))
