"""The programs that isolation.py compares with: built here, and asked for the time of so many calls."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from benchmarks.peers import go
from benchmarks.workshop import CONTRACT, PEERS, MissingError, Workshop, compiler
from hardpoint.authoring.c_header import render
from hardpoint.definition.decorators import contract_of

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
PLUGIN = HERE.parent / "build/plugins/english.so"
CHANNEL = HERE.parent / "src/hardpoint/isolation/channel"
PROGRAMS = {"ring": [CHANNEL / "_host.c"], "futex": [], "socket": []}
"""The programs in C, and the sources beside their own."""
SETTLE = 0.02
"""Seconds for which Go's threads go on after a call, which made a neighbour's next calls slower by 2 µs."""
_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")


class Row(NamedTuple):
    """Calls that are timed together."""

    size: int
    """Bytes that are echoed, or 0 for greet("World")."""
    calls: int
    """In a sample."""
    rest: int = 0
    """Microseconds of sleep before each call, which are not counted."""


ROWS = {
    "greet": Row(0, 200),
    "64 B": Row(64, 200),
    "4 KiB": Row(4 << 10, 100),
    "64 KiB": Row(64 << 10, 20),
    "1 MiB": Row(1 << 20, 5),
    "after a rest": Row(0, 5, 10_000),
}


def compile_plugin(source: Path, contract: Any, folder: Path) -> Path:
    """Compile a plugin with its contract's header. MissingError if there is no compiler."""
    described = contract_of(contract)
    (folder / f"{described.name}.h").write_text(render(described))
    target = folder / f"{source.stem}.so"
    _compile(target, [source], "-shared", "-fPIC", f"-I{folder}", f"-I{CONTRACT}")
    return target


def build(folder: Path) -> dict[str, str]:
    """Build the programs, and go-plugin's if Go is here; why it was left out otherwise."""
    for name, more in PROGRAMS.items():
        _compile(folder / name, [PEERS / f"processes/{name}.c", *more], f"-I{CHANNEL}")
    try:
        go.build_hashicorp(Workshop(folder, PLUGIN, PLUGIN))
    except MissingError as error:
        return {"go": str(error)}
    return {}


def _compile(target: Path, sources: Sequence[Path], *flags: str) -> None:
    words = [*compiler(sources[0]), *_FLAGS, *flags, "-o", str(target), *map(str, sources)]
    subprocess.run(words, check=True)


class Caller(Protocol):
    """A host and its worker."""

    def seconds(self, row: Row) -> float:
        """The seconds of a call."""
        ...

    def can(self, row: Row) -> bool:
        """True if it has such calls."""
        ...

    def processes(self) -> list[int]:
        """Host and worker."""
        ...


class Program:
    """A host and its worker, two processes without Python; placed on these cores, or anywhere for -1."""

    def __init__(self, name: str, folder: Path, cores: Sequence[int]) -> None:
        self.name = name
        is_go = name == "go"
        words = [str(folder / "go-hashicorp"), "netrpc"] if is_go else [str(folder / name), *map(str, cores)]
        errors = subprocess.DEVNULL if is_go else None  # go-plugin says there that its plugin was ended
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True)
        self.seconds(ROWS["greet"])
        if is_go and cores[0] >= 0:
            pin(self.process.pid, cores[0])
            for child in children(self.process.pid):
                pin(child, cores[1])

    def seconds(self, row: Row) -> float:
        """The seconds of a call."""
        if self.name != "go":
            return self._ask(f"{row.calls} {row.size} {row.rest}") / 1e9 / row.calls
        self._ask("greet 10")  # the others' samples start with a call that isn't counted, too
        taken = self._ask(f"greet {row.calls}") / 1e9 / row.calls
        sleep(SETTLE)
        return taken

    def _ask(self, request: str) -> int:
        assert self.process.stdin and self.process.stdout  # noqa: PT018 - both are pipes
        self.process.stdin.write(f"{request}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline().split()[0])

    def can(self, row: Row) -> bool:
        """True if the program has such calls: Go's only greets, without a rest."""
        return self.name != "go" or row == ROWS["greet"]

    def processes(self) -> list[int]:
        """Host and worker."""
        return [self.process.pid, *children(self.process.pid)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def pin(pid: int, core: int) -> None:
    """Pin every thread of a process to one core, and so those that it will start."""
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), {core})


def children(pid: int) -> list[int]:
    """The processes that a process started."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]
