"""The measured process: loads the library through one binding, and times calls on request.

`process.py` starts it. Before the first load it imports only modules that loading itself needs, to time the load alone.
"""

from __future__ import annotations

import marshal
import os
import sys
from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from ..errors import HardpointError
from ..loading import close, load_contract
from .workload import Case, Workload, own_values, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[int], int]

_UNROLLED = 10
"""Calls in one turn of the timed loop, which cuts the loop's own cost to a tenth."""
_CONTROL = 64
_NAMES = tuple(f"name{number}" for number in range(_CONTROL))


def main(descriptor: str, import_ns: int) -> None:
    """Load, and then answer requests until the pipe is closed."""
    requests, replies = sys.stdin.buffer, os.fdopen(int(descriptor), "wb")
    os.set_inheritable(replies.fileno(), False)  # a child process of the plugin would keep the pipe open
    row, binding, packed = marshal.load(requests)  # noqa: S302 - from the process that started this one
    worker = _Worker(row, unpack(packed))
    reply: tuple[Any, ...] = worker.answer(worker.load, binding, import_ns)
    while True:
        replies.write(marshal.dumps(reply))
        replies.flush()
        try:
            name, *arguments = marshal.load(requests)  # noqa: S302
        except EOFError:
            return
        reply = worker.answer(getattr(worker, name), *arguments)


class _Worker:
    """One public method for each request; those about a case take its index first."""

    def __init__(self, row: str, workload: Workload) -> None:
        self._row = row
        self._workload = workload
        self._objects: list[Any] = []
        self._runs: dict[int, Run] = {}
        self._counts: dict[int, int] = {}

    def answer(self, what: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
        """("ok", result), or an error's class name and message."""
        try:
            return ("ok", what(*arguments))
        except HardpointError as error:
            return (type(error).__name__, str(error))
        except (TypeError, ValueError, OverflowError) as error:
            return ("ValueError", str(error))

    def load(self, binding: str | None, import_ns: int) -> tuple[int, int]:
        """Load the library; return the nanoseconds of `import hardpoint` and of the load."""
        start = perf_counter_ns()
        if binding is not None:
            workload = self._workload
            how: dict[str, Any] = {"isolated": True} if binding == "isolated" else {"binding": binding}
            for contract in workload.contracts:
                self._objects.append(load_contract(workload.path, contract, config=workload.config, **how))
        return import_ns, (perf_counter_ns() - start) // max(1, len(self._objects))

    def call(self, index: int) -> Any:
        """The result of one call."""
        case = self._workload.cases[index]
        return getattr(self._objects[case.contract], case.method.name)(*own_values(case.method, case.values))

    def imitate(self, index: int, result: Any) -> None:
        """Measure a Python method with this result in place of the plugin's."""
        case = self._workload.cases[index]
        self._runs[index] = _timer(case, _imitation(case, result))

    def measure(self, index: int, seconds: float) -> float:
        """Nanoseconds a call, over as many calls as take about that long; the first request calibrates the number."""
        run = self._run(index)
        if index not in self._counts:
            self._counts[index] = _calibrate(run, seconds)
        return run(self._counts[index]) / self._counts[index]

    def together(self, index: int, threads: int, seconds: float) -> float:
        """Calls a second by so many threads together, on one plugin object."""
        from threading import Barrier, Thread  # 1 ms, which would be missing from the start-up that is measured

        case = self._workload.cases[index]
        if self._row == "python":
            runs = [self._run(index)] * threads
        else:
            runs = [_timer(case, self._objects[case.contract]) for _ in range(threads)]  # each with its own arguments
        count = _calibrate(runs[0], seconds)
        barrier, starts, ends = Barrier(threads), list[int](), list[int]()

        def work(run: Run) -> None:
            barrier.wait()
            starts.append(perf_counter_ns())  # in each thread: a watching thread would have to wait for the GIL
            run(count)
            ends.append(perf_counter_ns())

        team = [Thread(target=work, args=(run,)) for run in runs]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        return threads * count / (max(ends) - min(starts)) * 1e9

    def control(self, seconds: float) -> float:
        """Nanoseconds of work that is the same in every run: a measure of the machine's speed at the time."""
        if -1 not in self._counts:
            self._counts[-1] = _calibrate(_control, seconds)
        return _control(self._counts[-1]) / self._counts[-1]

    def close(self) -> None:
        """End the plugins' instances."""
        for each in self._objects:
            close(each)

    def _run(self, index: int) -> Run:
        if index not in self._runs:
            case = self._workload.cases[index]
            plugin = self._objects[case.contract]
            if self._row == "floor":
                from .floor import Floor

                self._runs[index] = Floor(plugin, case.method, own_values(case.method, case.values))
            else:
                self._runs[index] = _timer(case, plugin)
        return self._runs[index]


def _calibrate(run: Run, seconds: float) -> int:
    """The number of calls that take about that long. Finding it also warms up the measured code."""
    count, wanted = 1, seconds * 1e9
    while (taken := run(count)) < wanted / 4:
        count *= 2 if taken * 8 > wanted else 4
    return max(1, round(count * wanted / taken))


def _timer(case: Case, plugin: Any) -> Run:
    """A loop over the call as a user writes it: CPython's fast path for methods does not apply to f(*arguments)."""
    names = [f"_{index}" for index in range(len(case.values))]
    call = f"plugin.{case.method.name}({', '.join(names)})"
    source = (
        f"def run(count, plugin=plugin, {''.join(f'{name}={name}, ' for name in names)}clock=clock, repeat=repeat):\n"
        f"    many, few = repeat(None, count // {_UNROLLED}), repeat(None, count % {_UNROLLED})\n"
        f"    start = clock()\n"
        f"    for _ in many: {'; '.join([call] * _UNROLLED)}\n"
        f"    for _ in few: {call}\n"
        f"    return clock() - start\n"
    )
    values = dict(zip(names, own_values(case.method, case.values), strict=True))
    scope: dict[str, Any] = {"plugin": plugin, "clock": perf_counter_ns, "repeat": repeat, **values}
    exec(source, scope)  # noqa: S102 - every name in it is an identifier of the contract's
    run: Run = scope["run"]
    return run


def _imitation(case: Case, result: Any) -> Any:
    """An object whose method has the same parameters and the same result; text is concatenated in every call."""
    parameters = case.method.parameters
    names = [parameter.name for parameter in parameters]
    slash = sum(parameter.positional_only for parameter in parameters)
    words = ["self", *names[:slash], *(["/"] if slash else []), *names[slash:]]
    scope: dict[str, Any] = {"_result": result}
    expression = _composed(case, result, scope) if isinstance(result, (str, bytes)) else "_result"
    exec(f"class Imitation:\n def {case.method.name}({', '.join(words)}): return {expression}", scope)  # noqa: S102
    return scope["Imitation"]()


def _composed(case: Case, result: str | bytes, scope: dict[str, Any]) -> str:
    """An expression for the result: an f-string around an argument that is in it, or else the sum of two halves."""
    for parameter, value in zip(case.method.parameters, case.values, strict=True):
        if isinstance(result, str) and isinstance(value, str) and value and value != result and value in result:
            before, _, after = result.partition(value)
            scope["_before"], scope["_after"] = before, after  # parameters' names do not begin with _
            return f"f'{{_before}}{{{parameter.name}}}{{_after}}'"
    middle = len(result) // 2
    scope["_left"], scope["_right"] = result[:middle], result[middle:]
    return "_left + _right"


def _control(count: int) -> int:
    """Ordinary Python work: dicts, strings and numbers, the same every time."""
    total, start = 0, perf_counter_ns()
    for _ in range(count):
        table = {}
        for number, name in enumerate(_NAMES):
            table[name] = f"{name}={number}"
            total += len(table[name])
    return perf_counter_ns() - start
