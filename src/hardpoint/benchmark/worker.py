"""The measured process: it loads the library through one binding, and times what it is asked to.

It is started by `process.py`, and imports nothing before the first load that this would have had to import itself.
"""

from __future__ import annotations

import marshal
import os
import sys
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from ..errors import HardpointError
from ..loading import close, load_contract
from .subject import Case, Subject, own_values, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    Run = Callable[[int], int]

_UNROLLED = 10
"""Calls in one turn of the timed loop, so that the loop itself is a tenth of what it would be."""
_CONTROL = 64
_NAMES = tuple(f"name{number}" for number in range(_CONTROL))


def main(descriptor: str, import_ns: int) -> None:
    """Load, and then answer one request after the other, until there are no more."""
    requests, replies = sys.stdin.buffer, os.fdopen(int(descriptor), "wb")
    os.set_inheritable(replies.fileno(), False)  # a child of the plugin's would keep it open
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
    """Its public methods are the requests that it answers; those about a case take its number first."""

    def __init__(self, row: str, subject: Subject) -> None:
        self._row = row
        self._subject = subject
        self._objects: list[Any] = []
        self._runs: dict[int, Run] = {}
        self._counts: dict[int, int] = {}

    def answer(self, what: Callable[..., Any], *arguments: Any) -> tuple[Any, ...]:
        """("ok", result), or an error's class and words."""
        try:
            return ("ok", what(*arguments))
        except HardpointError as error:
            return (type(error).__name__, str(error))
        except (TypeError, ValueError, OverflowError) as error:
            return ("ValueError", str(error))

    def load(self, binding: str | None, import_ns: int) -> tuple[int, int]:
        """Nanoseconds that `import hardpoint` and the first load took."""
        start = perf_counter_ns()
        if binding is not None:
            subject = self._subject
            how: dict[str, Any] = {"isolated": True} if binding == "isolated" else {"binding": binding}
            for contract in subject.contracts:
                self._objects.append(load_contract(subject.path, contract, config=subject.config, **how))
        return import_ns, (perf_counter_ns() - start) // max(1, len(self._objects))

    def call(self, index: int) -> Any:
        """The result of one call."""
        case = self._subject.cases[index]
        return getattr(self._objects[case.contract], case.method.name)(*own_values(case.method, case.values))

    def imitate(self, index: int, result: Any) -> None:
        """Have the case be a Python method that gives such a result."""
        case = self._subject.cases[index]
        self._runs[index] = _timer(case, _imitation(case, result))

    def measure(self, index: int, seconds: float) -> float:
        """Nanoseconds a call, over as many calls as take about that long; the first time these are counted out."""
        run = self._run(index)
        if index not in self._counts:
            self._counts[index] = _calibrate(run, seconds)
        return run(self._counts[index]) / self._counts[index]

    def together(self, index: int, threads: int, seconds: float) -> float:
        """Calls a second of so many threads at once, on one plugin object."""
        from threading import Barrier, Thread

        case = self._subject.cases[index]
        if self._row == "python":
            runs = [self._run(index)] * threads
        else:
            runs = [_timer(case, self._objects[case.contract]) for _ in range(threads)]  # with arguments of their own
        count = _calibrate(runs[0], seconds)
        barrier, starts, ends = Barrier(threads), list[int](), list[int]()

        def work(run: Run) -> None:
            barrier.wait()
            starts.append(
                perf_counter_ns()
            )  # each looks at the clock: one that watched would wait for the GIL to do so
            run(count)
            ends.append(perf_counter_ns())

        team = [Thread(target=work, args=(run,)) for run in runs]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()
        return threads * count / (max(ends) - min(starts)) * 1e9

    def control(self, seconds: float) -> float:
        """Nanoseconds of work that is the same in every run: what it takes tells how fast the machine is at the time."""
        if -1 not in self._counts:
            self._counts[-1] = _calibrate(_control, seconds)
        return _control(self._counts[-1]) / self._counts[-1]

    def close(self) -> None:
        """End the plugins' instances."""
        for each in self._objects:
            close(each)

    def _run(self, index: int) -> Run:
        if index not in self._runs:
            case = self._subject.cases[index]
            plugin = self._objects[case.contract]
            self._runs[index] = _floor(case, plugin) if self._row == "floor" else _timer(case, plugin)
        return self._runs[index]


def _calibrate(run: Run, seconds: float) -> int:
    """How many calls take about that long; it warms up what is measured, too."""
    count, wanted = 1, seconds * 1e9
    while (taken := run(count)) < wanted / 4:
        count *= 2 if taken * 8 > wanted else 4
    return max(1, round(count * wanted / taken))


def _timer(case: Case, plugin: Any) -> Run:
    """A loop over the call as a user writes it: Python's fast path for methods is not taken by f(*arguments)."""
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
    from itertools import repeat

    values = dict(zip(names, own_values(case.method, case.values), strict=True))
    scope: dict[str, Any] = {"plugin": plugin, "clock": perf_counter_ns, "repeat": repeat, **values}
    exec(source, scope)  # noqa: S102 - every name in it is an identifier of the contract's
    run: Run = scope["run"]
    return run


def _floor(case: Case, plugin: Any) -> Run:
    from ..binding.native import floor

    method, values = getattr(plugin, case.method.name), own_values(case.method, case.values)
    return lambda count: floor(method, values, count)


def _imitation(case: Case, result: Any) -> Any:
    """An object whose method takes the same arguments and gives the same result; text is put together in every call."""
    parameters = case.method.parameters
    names = [parameter.name for parameter in parameters]
    slash = sum(parameter.positional_only for parameter in parameters)
    words = ["self", *names[:slash], *(["/"] if slash else []), *names[slash:]]
    scope: dict[str, Any] = {"_result": result}
    expression = _composed(case, result, scope) if isinstance(result, (str, bytes)) else "_result"
    exec(f"class Imitation:\n def {case.method.name}({', '.join(words)}): return {expression}", scope)  # noqa: S102
    return scope["Imitation"]()


def _composed(case: Case, result: str | bytes, scope: dict[str, Any]) -> str:
    """The expression for it: an f-string around the argument that is part of it, or else the sum of its halves."""
    for parameter, value in zip(case.method.parameters, case.values, strict=True):
        if isinstance(result, str) and isinstance(value, str) and value and value != result and value in result:
            before, _, after = result.partition(value)
            scope["_before"], scope["_after"] = before, after  # no parameter's name starts so
            return f"f'{{_before}}{{{parameter.name}}}{{_after}}'"
    middle = len(result) // 2
    scope["_left"], scope["_right"] = result[:middle], result[middle:]
    return "_left + _right"


def _control(count: int) -> int:
    """Python's bread and butter: calls, attributes, numbers and strings, the same ones every time."""
    total, start = 0, perf_counter_ns()
    for _ in range(count):
        table = {}
        for number, name in enumerate(_NAMES):
            table[name] = f"{name}={number}"
            total += len(table[name])
    return perf_counter_ns() - start
