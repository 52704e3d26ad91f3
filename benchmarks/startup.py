"""Measure the cost of hardpoint before the first call: the import, the first load, and each further plugin.

    python benchmarks/startup.py [PLUGIN] [--pairs 20] [--plugins 500] [--json FILE]

Every figure is compared with one of the same run, since a machine's speed changes from minute to minute:

- Whole processes, timed from fork to exit, in rounds: `import typing` (which every contract needs), `import hardpoint`,
  and the first load of PLUGIN for the contract Greeter. Medians of `--pairs` rounds, after one that writes the .pyc.
- Further plugins, in one process that has already loaded one: a copy of PLUGIN through hardpoint.load, then another
  copy through ctypes.CDLL, and so on in turn, each timed separately. Medians of 200 each, garbage collection included.
- The ELF part, for the same copies: ElfFile, manifests, integrity and vtable, from the open file to the slots.
- `--plugins` copies in a process that loads nothing else, all together.

PLUGIN is a greeter, build/plugins/english.so by default; it is copied into a temporary folder, since a process opens
the same file only once. Nothing is compiled.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.definition.decorators import contract_of
from hardpoint.elf.integrity import examine
from hardpoint.elf.reader import ElfFile
from hardpoint.preflight.manifest import Manifest, read_manifests
from hardpoint.preflight.vtable import find_vtable

if TYPE_CHECKING:
    from collections.abc import Callable

PLUGIN = Path(__file__).parent.parent / "build/plugins/english.so"
COPIES = 200
PROCESSES = {
    "typing": "import typing",
    "import": "import hardpoint",
    "load": "import hardpoint; from hardpoint.contracts import Greeter; hardpoint.load({plugin!r}, Greeter)",
}


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock time of a call in seconds."""
    start = perf_counter()
    work()
    return perf_counter() - start


def copies_of(plugin: Path, folder: Path, name: str, count: int) -> list[str]:
    """Make that many copies of a library."""
    return [shutil.copy(str(plugin), f"{folder}/{name}{number}.so") for number in range(count)]


def time_processes(plugin: Path, pairs: int) -> dict[str, float]:
    """The median time of each of the PROCESSES."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    times: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for number in range(pairs + 1):
        for name, code in PROCESSES.items():
            command = [sys.executable, "-c", code.format(plugin=str(plugin))]
            taken = seconds_of(partial(subprocess.run, command, env=env, check=True))
            if number:
                times[name].append(taken)
    return {name: median(taken) for name, taken in times.items()}


def time_elf(path: str) -> float:
    """The time to read and check one library's file, after it was opened."""
    contract = contract_of(Greeter)
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        start = perf_counter()
        elf = ElfFile(fd)
        [manifest] = read_manifests(elf)
        filled = examine(elf)
        assert isinstance(manifest, Manifest), manifest
        _, problems = find_vtable(elf, manifest, contract, filled, None)
        taken = perf_counter() - start
    finally:
        os.close(fd)
    assert not problems, problems
    return taken


def time_further(plugin: Path, folder: Path) -> dict[str, float]:
    """The median time for one more plugin, for ctypes.CDLL and for the ELF part."""
    ours, theirs = copies_of(plugin, folder, "ours", COPIES + 1), copies_of(plugin, folder, "theirs", COPIES + 1)
    loads, opens = list[float](), list[float]()
    for our, their in zip(ours, theirs, strict=True):
        loads.append(seconds_of(lambda our=our: hardpoint.load(our, Greeter)))  # type: ignore[misc]
        opens.append(seconds_of(lambda their=their: ctypes.CDLL(their)))  # type: ignore[misc]
    elf = [time_elf(path) for path in theirs]
    return {"further": median(loads[1:]), "cdll": median(opens[1:]), "elf": median(elf[1:])}


def time_many(plugin: Path, folder: Path, count: int) -> dict[str, float]:
    """The time to load a number of plugins, all together."""
    paths = copies_of(plugin, folder, "many", count)
    return {"many": seconds_of(lambda: [hardpoint.load(path, Greeter) for path in paths])}


def in_a_process(part: str, plugin: Path, plugins: int) -> dict[str, float]:
    """Run this script with `--part` in a new process: libraries are never unloaded, so each part needs its own."""
    command = [sys.executable, __file__, str(plugin), "--part", part, "--plugins", str(plugins)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def show(figures: dict[str, float], plugins: int) -> None:
    """Print a table: each figure, its time, and the ratio or difference to the one that it is compared with."""
    typing, cdll = figures["typing"], figures["cdll"]
    rows = [
        ("python -c 'import typing'", f"{typing * 1e3:.1f} ms", ""),
        ("import hardpoint", f"{figures['import'] * 1e3:.1f} ms", f"+{(figures['import'] - typing) * 1e3:.1f} ms"),
        ("  and the first load", f"{figures['load'] * 1e3:.1f} ms", f"+{(figures['load'] - typing) * 1e3:.1f} ms"),
        ("ctypes.CDLL of one more copy", f"{cdll * 1e6:.0f} us", ""),
        ("hardpoint.load of one more copy", f"{figures['further'] * 1e6:.0f} us", f"{figures['further'] / cdll:.1f} x"),
        ("  its ELF part", f"{figures['elf'] * 1e6:.0f} us", f"{figures['elf'] / cdll:.1f} x"),
        (f"{plugins} plugins", f"{figures['many']:.2f} s", f"{figures['many'] / plugins / cdll:.1f} x each"),
    ]
    for what, taken, ratio in rows:
        print(f"{what:<32} {taken:>9}  {ratio:>10}".rstrip())


def main() -> None:
    """Measure, and print a table or one part's figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("plugin", nargs="?", type=Path, default=PLUGIN, help="a greeter (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=20, help="rounds of whole processes (default: %(default)s)")
    parser.add_argument("--plugins", type=int, default=500, help="how many to load together (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures there, in seconds")
    parser.add_argument("--part", choices=["further", "many"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    plugin: Path = arguments.plugin.resolve()
    if not plugin.is_file():
        parser.error(f"{plugin}: file not found; ./build.sh builds the plugins")
    if arguments.part:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            part = arguments.part == "further"
            figures = time_further(plugin, folder) if part else time_many(plugin, folder, arguments.plugins)
        print(json.dumps(figures))
        return
    figures = time_processes(plugin, arguments.pairs)
    for each in ("further", "many"):
        figures |= in_a_process(each, plugin, arguments.plugins)
    show(figures, arguments.plugins)
    if arguments.json:
        arguments.json.write_text(json.dumps({"plugins": arguments.plugins, "seconds": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
