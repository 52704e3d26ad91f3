"""Measure the gain of more processes: a transformer over a Dask bag of strings, in a LocalCluster and in one process.

    python -m benchmarks.scaling [PLUGIN] [--strings 1000000] [--workers 2] [--repeat 3] [--json FILE]

The plugin object is pickled for the workers: each opens the same file again, after the same checks. Strings are
generated in the process that transforms them, so that calls are measured and not the network. PLUGIN is a transformer,
build/plugins/uppercase.so by default. Needs Dask: pip install 'dask[bag]' distributed
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import hardpoint
from hardpoint.contracts import Transformer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

PLUGIN = Path(__file__).resolve().parent.parent / "build/plugins/uppercase.so"


def line(number: int) -> str:
    """One of the strings, of some 200 characters."""
    return f"{number} jackdaws love my big sphinx of quartz; " * 5


def transform_all(lines: Iterable[str], transformer: Transformer) -> Iterator[str]:
    """Transform a partition."""
    return map(transformer.transform, lines)


def letters(lines: Iterable[str]) -> int:
    """Sum up the lengths of the lines that are in upper case, so that the result of a partition is small."""
    return sum(len(each) if each.isupper() else 0 for each in lines)


def in_this_process(numbers: range, transformer: Transformer) -> int:
    """Do it in one process and one thread."""
    return letters(transform_all(map(line, numbers), transformer))


def in_a_cluster(numbers: range, transformer: Transformer, partitions: int) -> int:
    """Do it with a bag, in the cluster of the current Client."""
    from dask import bag

    numbered = bag.from_sequence([numbers[start::partitions] for start in range(partitions)], npartitions=partitions)
    lines = numbered.map_partitions(lambda parts: (line(number) for part in parts for number in part))
    total: int = lines.map_partitions(transform_all, transformer).reduction(letters, sum).compute()
    return total


def timed(call: Callable[[], int]) -> tuple[float, int]:
    """Return the seconds of a call, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def measure(plugin: Path, strings: int, workers: int, repeat: int) -> dict[str, float]:
    """Measure both ways in turns; return medians of seconds."""
    from dask.distributed import Client, LocalCluster

    transformer = hardpoint.load(plugin, Transformer)
    numbers = range(strings)
    options: dict[str, Any] = {"threads_per_worker": 1, "dashboard_address": None}  # its type does not allow None
    with LocalCluster(n_workers=workers, **options) as cluster, Client(cluster):
        in_a_cluster(range(workers), transformer, workers)  # imports, before the measurement
        one, many, alone = [], [], 0
        for _ in range(repeat):
            seconds, alone = timed(lambda: in_this_process(numbers, transformer))
            one.append(seconds)
            seconds, together = timed(lambda: in_a_cluster(numbers, transformer, 8 * workers))
            many.append(seconds)
            if alone != together:
                raise SystemExit(f"the cluster's result is {together}, and that of one process {alone}")
    return {"strings": strings, "workers": workers, "letters": alone, "one": median(one), "cluster": median(many)}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN)
    parser.add_argument("--strings", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    figures = measure(arguments.plugin, arguments.strings, arguments.workers, arguments.repeat)
    print("{strings:,} strings: one process {one:.2f} s, {workers} workers {cluster:.2f} s".format_map(figures), end="")
    print(f"; {figures['one'] / figures['cluster']:.2f} times as fast")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
