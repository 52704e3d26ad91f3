"""A subject -> what every row of it costs: several processes for each, and every value next to the other rows' own.

The method is that of pyperf: calls are counted out until they take long enough to be timed, several processes are
measured, since one differs from the next in where its memory lies, and the median stands for all. Here the processes of a
round run side by side and take turns, value by value, so that whatever the machine does meanwhile happens to all of them.
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..binding import default, why_not_native
from ..errors import CallError, ContractBrokenError
from ..file import digest, open_library
from ..preflight.platform import host_glibc
from ..version import __version__
from .process import DiedError, Process
from .subject import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .subject import Case, Row, Subject


class Progress(Protocol):
    """Told what is being done now: a stage, and what in it."""

    def __call__(self, stage: str, detail: str = "") -> None:
        """`detail` is "" at the beginning of a stage."""


FORMAT = 1
"""The version of the result's form; a file of another one is not compared."""


class Settings(NamedTuple):
    """How long and how often to measure."""

    rounds: int = 5
    """Processes for each row."""
    values: int = 5
    """Values that each process gives for each case."""
    seconds: float = 0.02
    """About how long one value is measured."""
    threads: tuple[int, ...] = ()


def missing_rows() -> dict[str, str]:
    """The rows that cannot be measured here, each with the reason."""
    why = why_not_native()
    return {row.name: why for row in ROWS if row.binding == "native"} if why else {}


def measure(subject: Subject, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Everything that was measured and how, ready for JSON. Times are nanoseconds.

    A case whose first call fails or crashes is not measured; its error is in `failed`. What happens later is raised:
    DiedError when a process is gone, and what the plugin's methods raise.
    """
    machine, missing = _machine(), missing_rows()
    rows = [row for row in ROWS if row.name not in missing]
    results, failed = _try_all(subject, progress)
    working = [case for index, case in enumerate(subject.cases) if index not in failed]
    subject = subject._replace(cases=tuple(working))
    cases = [_describe(case, result) for case, result in zip(working, results, strict=True)]
    start: dict[str, dict[str, list[float]]] = {}
    for number in range(settings.rounds if working else 0):
        with ExitStack() as stack:
            stage = f"round {number + 1} of {settings.rounds}"
            progress(stage)
            team = [_start(stack, row, subject, start) for row in rows]
            for index, case in enumerate(working):
                progress(stage, case.label)
                _round(team, index, results[index], settings, cases[index])
    return {
        "format": FORMAT,
        "hardpoint": __version__,
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine,
        "settings": settings._asdict(),
        "file": subject.path,
        "sha256": _digest(subject.path),
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
        "libc": f"glibc {libc[0]}.{libc[1]}" if libc else "another than glibc",
    }


def _processor() -> str:
    """Its name by proc(5), which AArch64 does not give; "" then."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
        names = (line.partition(":")[2].strip() for line in file if line.startswith("model name"))
        return next(names, "")


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


# -- the first calls -----------------------------------------------------------------------------------------------------


def _try_all(subject: Subject, progress: Progress) -> tuple[list[Any], dict[int, dict[str, str]]]:
    """What each case gives, and the errors of those that fail; a new process goes on after one that died."""
    row = next(row for row in ROWS if row.name == default())
    results: list[Any] = []
    failed: dict[int, dict[str, str]] = {}
    left = list(range(len(subject.cases)))
    while left:
        progress("trying every call once")
        with Process(row, subject) as process:
            process.load()
            while left:
                index = left.pop(0)
                try:
                    results.append(process.ask("call", index))
                except (CallError, ContractBrokenError, DiedError) as error:
                    failed[index] = {"call": subject.cases[index].label, "error": str(error)}
                    if isinstance(error, DiedError):
                        break
    return results, failed


# -- one round -----------------------------------------------------------------------------------------------------------


def _start(stack: ExitStack, row: Row, subject: Subject, start: dict[str, dict[str, list[float]]]) -> Process:
    """A process for the row; one after the other, so that none slows the start of the next."""
    process = stack.enter_context(Process(row, subject))
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
        process.ask("measure", index, settings.seconds)  # the first one counts the calls out, and warms up
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
    """The team, each time beginning with the next one: nobody always follows the same neighbour."""
    for offset in range(len(team)):
        yield team[(turn + offset) % len(team)]
