"""Measure a workload: several processes for each row, which take turns.

The method is pyperf's: the number of calls is calibrated until they take long enough to be timed, several processes are
measured, since processes differ in the addresses of their memory, and the median is reported. Unlike pyperf's, the
processes of a round take turns value by value, so that anything which slows the machine slows all rows alike, and their
ratios stay right. pyperf runs one benchmark after the other and has no such ratios, so it is not used here.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..binding import default, why_not_native
from ..errors import CallError, ContractBrokenError
from ..file import digest, open_library
from ..preflight.platform import host_glibc
from ..version import __version__
from .process import DiedError, Process
from .workload import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .workload import Case, Row, Workload


class Progress(Protocol):
    """A callback that shows the current stage, and the part of it."""

    def __call__(self, stage: str, detail: str = "") -> None:
        """Show a stage; `detail` is "" at its beginning."""


FORMAT = 1
"""The version of the result's format; only results of the same version are compared."""


class Settings(NamedTuple):
    """How long and how many times to measure."""

    rounds: int = 5
    """Processes for each row."""
    values: int = 5
    """Values that each process measures for each case."""
    seconds: float = 0.02
    """Approximate time to measure one value."""
    threads: tuple[int, ...] = ()


def missing_rows() -> dict[str, str]:
    """The rows that cannot be measured here, each with the reason."""
    if why := why_not_native():
        return {row.name: why for row in ROWS if row.binding == "native"}
    if find_spec("hardpoint.benchmark._floor") is None:
        what = "hardpoint.benchmark._floor was not built when hardpoint was installed"
        return {"floor": f"{what}; install gcc and python3-dev, and then reinstall hardpoint"}
    return {}


def measure(workload: Workload, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Measure, and return all values and settings, ready for JSON. Times are nanoseconds.

    A case whose first call fails or crashes is not measured; its error is in `failed`. Later failures are raised:
    DiedError for a process that died, and errors of the plugin's methods.
    """
    machine, missing = _machine(), missing_rows()
    rows = [row for row in ROWS if row.name not in missing]
    results, failed = _try_all(workload, progress)
    working = [case for index, case in enumerate(workload.cases) if index not in failed]
    workload = workload._replace(cases=tuple(working))
    cases = [_describe(case, result) for case, result in zip(working, results, strict=True)]
    start: dict[str, dict[str, list[float]]] = {}
    for number in range(settings.rounds if working else 0):
        with ExitStack() as stack:
            stage = f"round {number + 1} of {settings.rounds}"
            progress(stage)
            team = [_start(stack, row, workload, start) for row in rows]
            for index, case in enumerate(working):
                progress(stage, case.label)
                _round(team, index, results[index], settings, cases[index])
    return {
        "format": FORMAT,
        "hardpoint": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings._asdict(),
        "file": workload.path,
        "sha256": _digest(workload.path),
        "missing": missing,
        "failed": list(failed.values()),
        "start": start,
        "cases": cases,
    }


def _digest(path: str) -> str:
    with open_library(path) as file:
        return digest(file)


def _machine() -> dict[str, Any]:
    libc = host_glibc()
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "bytecode": not sys.dont_write_bytecode,
        "libc": f"glibc {libc[0]}.{libc[1]}" if libc else "not glibc",
    }


def _processor() -> str:
    """The processor's name in /proc/cpuinfo; "" on AArch64, whose kernel does not write one, and without /proc."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
            return next(names, "")
    except OSError:
        return ""


def _describe(case: Case, result: Any) -> dict[str, Any]:
    size = len(result) if isinstance(result, (str, bytes)) else None
    return {
        "method": case.method.name,
        "text": case.method.text,
        "call": case.label,
        "payload": case.payload,
        "result": {"kind": case.method.result.text, "length": size},
        "rows": {},
        "control": [],
        "threads": {},
    }


# -- the first calls ---------------------------------------------------------------------------------------------------


def _try_all(workload: Workload, progress: Progress) -> tuple[list[Any], dict[int, dict[str, str]]]:
    """The result of each case, and the errors of those that fail. After a process that died, a new one continues."""
    row = next(row for row in ROWS if row.name == default())
    results: list[Any] = []
    failed: dict[int, dict[str, str]] = {}
    left = list(range(len(workload.cases)))
    while left:
        progress("trying every call once")
        with Process(row, workload) as process:
            process.load()
            while left:
                index = left.pop(0)
                try:
                    results.append(process.ask("call", index))
                except (CallError, ContractBrokenError, DiedError) as error:
                    failed[index] = {"call": workload.cases[index].label, "error": str(error)}
                    if isinstance(error, DiedError):
                        break
    return results, failed


# -- one round ---------------------------------------------------------------------------------------------------------


def _start(stack: ExitStack, row: Row, workload: Workload, start: dict[str, dict[str, list[float]]]) -> Process:
    """Start the process of a row. They start one after the other, so that none slows the start of the next."""
    process = stack.enter_context(Process(row, workload))
    process.load()
    if row.binding == row.name:
        times = start.setdefault(row.name, {"import": [], "load": []})
        times["import"].append(process.import_ns)
        times["load"].append(process.load_ns)
    return process


def _round(team: list[Process], index: int, result: Any, settings: Settings, case: dict[str, Any]) -> None:
    """Add one process's values to every row of a case."""
    [python] = [process for process in team if process.row.binding is None]
    python.ask("imitate", index, result)
    for process in team:
        process.ask("measure", index, settings.seconds)  # the first one calibrates the number of calls, and warms up
        case["rows"].setdefault(process.row.name, []).append([])
    python.control(settings.seconds)
    case["control"].append([])
    for turn in range(settings.values):
        for process in _from(team, turn):
            case["rows"][process.row.name][-1].append(round(process.ask("measure", index, settings.seconds), 3))
        case["control"][-1].append(round(python.control(settings.seconds), 1))
    for turn, threads in enumerate(settings.threads):
        for process in _from([process for process in team if process.row.threads], turn):
            rates = case["threads"].setdefault(str(threads), {}).setdefault(process.row.name, [])
            rates.append(round(process.ask("together", index, threads, 5 * settings.seconds), 1))


def _from(team: list[Process], turn: int) -> Iterator[Process]:
    """The team, beginning with another process each turn, so that none always follows the same neighbour."""
    for offset in range(len(team)):
        yield team[(turn + offset) % len(team)]
