"""Memory leaks: growth that does not end.

The resident memory of the process (proc(5), statm) is read after each of several rounds. Caches and garbage collectors
let it grow for a while and then no more; a leak grows in every round, however many there are.
"""

from __future__ import annotations

import time
from itertools import cycle, islice
from typing import TYPE_CHECKING

from ...preflight.sanitizers import has_sanitizer
from ..check import FailedError, SkippedError, check
from ..pages import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..raw import Prepared
    from ..subject import Subject

_CALLS, _LIVES = 100_000, 10_000
_ROUNDS, _MOST_ROUNDS = 4, 16
_LEAST_GROWTH = 64 << 10
"""Bytes a round that count as growth: allocators take up to twenty pages now and then."""


@check("memory.calls", after=("calls.empty", "calls.nul", "calls.extreme", "calls.huge"))
def calls(subject: Subject) -> str:
    """Memory does not grow over 100,000 calls of each method."""
    holders = [subject.create()]
    caller = subject.caller(holders[0])
    prepared: dict[str, list[Prepared]] = {}
    for method, values in subject.inputs("tiny", "empty", "nul", "extreme"):
        prepared.setdefault(method.name, []).append(caller.prepare(method, values))
    subject.announce("many calls")

    def work(count: int) -> None:
        for each in prepared.values():
            for turn in islice(cycle(each), count):
                turn.call()

    return _watch(subject, work, _CALLS, "calls of each method", "call")


@check("memory.instances", needs=("lifecycle.cycles", "calls.tiny"), after=("memory.calls",))
def instances(subject: Subject) -> str:
    """Memory does not grow over 10,000 instances that are created, called and destroyed."""
    if not subject.plugin.slots.create:
        raise SkippedError("it has no create")
    caller = subject.caller(subject.create())
    called = [] if subject.failed("memory.calls") else [caller.prepare(*call) for call in subject.inputs("tiny")]
    subject.announce("many instances")
    subject.announce = lambda _: None

    def work(count: int) -> None:
        for _ in range(count):
            holders = [subject.create()]
            caller.pointer = holders[0].pointer
            for each in called:
                each.call()
            subject.destroy(holders)

    return _watch(subject, work, _LIVES, "instances", "instance")


def _watch(subject: Subject, work: Callable[[int], None], wanted: int, what: str, one: str) -> str:
    """Do the work in rounds until memory no longer grows. FailedError if it never stops growing."""
    if has_sanitizer():
        raise SkippedError("a sanitizer keeps much of what is freed; run this check without it")
    start = time.monotonic()
    count = max(wanted // 100, 1)
    work(count)
    each = (time.monotonic() - start) / count
    size = max(min(wanted // _ROUNDS, int(subject.job.timeout / 2 / _MOST_ROUNDS / max(each, 1e-9))), 1)
    work(size)  # caches fill
    first = before = _resident()
    for number in range(1, _MOST_ROUNDS + 1):
        work(size)
        now = _resident()
        grown, before = now - before, now
        if number >= _ROUNDS and grown < max(_LEAST_GROWTH, 4 * size):
            done, took = number * size, time.monotonic() - start
            # A slow method has fewer calls, so that _MOST_ROUNDS rounds of them fit into half of the time limit.
            less = (
                f" in {took:.1f} s: up to {_MOST_ROUNDS * size:,} would fit into half of the --timeout, if memory grew"
            )
            less = "" if done >= wanted else less
            return f"{done:,} {what}{less}"
    done = _MOST_ROUNDS * size
    raise FailedError(
        f"memory grew by {(before - first) // 1024:,} KiB over {done:,} {what}, some {(before - first) // done:,} "
        f"bytes each, and did not stop growing; free the memory of each {one}"
    )


def _resident() -> int:
    """Resident memory of this process in bytes."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[1]) * PAGE
