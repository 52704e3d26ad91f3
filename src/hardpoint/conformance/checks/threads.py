"""Calls from several threads at once. A race is found only if it happens, which many calls make likely."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..check import FailedError, SkippedError, check
from ..raw import spell

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...binding.instance import Holder
    from ...definition.model import Method
    from ..raw import Answer, Prepared
    from ..subject import Subject
    from ..values import Values

_AFTER = ("calls.empty", "calls.nul", "calls.extreme", "calls.huge")
_THREADS = 4
_SHARE = 1 / 60
"""Share of the check's time limit: half a second."""
_MOST = 64
"""Different calls that each thread makes."""


def _together(work: Callable[[int], Any]) -> None:
    """Run `work` on several threads, which start at once. Raises what one of them raises."""
    start = threading.Barrier(_THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        try:
            start.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _calls(subject: Subject) -> list[tuple[Method, Values]]:
    calls = subject.inputs()
    subject.random.shuffle(calls)
    return calls[:_MOST]


@check("threads.one", after=_AFTER)
def one(subject: Subject) -> None:
    """Four threads can call one instance at once."""
    if subject.plugin.serial:
        raise SkippedError("it is HP_SERIAL: hosts call an instance from one thread at a time")
    holders, calls = [subject.create()], _calls(subject)
    subject.announce(f"calls of one instance from {_THREADS} threads at once")

    def work(number: int) -> None:
        caller = subject.caller(holders[0])
        prepared = [caller.prepare(*call) for call in (*calls[number:], *calls[:number])]
        for _ in subject.for_a_while(_SHARE):
            for each in prepared:
                each.call()

    _together(work)


@check("threads.many", needs=("calls.tiny", "lifecycle.cycles", "lifecycle.many"), after=_AFTER)
def many(subject: Subject) -> None:
    """Four threads can create, call and destroy their own instances at once."""
    calls, spare = _calls(subject), [subject.create()]
    subject.announce(f"instances created, called and destroyed on {_THREADS} threads at once")
    subject.announce = lambda _: None

    def work(_: int) -> None:
        caller = subject.caller(spare[0])
        prepared = [caller.prepare(*call) for call in calls]
        for _ in subject.for_a_while(_SHARE):
            holders = [subject.create()]
            caller.pointer = holders[0].pointer
            for each in prepared:
                each.call()
            subject.destroy(holders)

    _together(work)


@check("threads.stable", needs=("calls.tiny", "lifecycle.many"), after=(*_AFTER, "threads.one"))
def stable(subject: Subject) -> str:
    """Methods whose answers are repeatable give the same ones while other threads call."""
    shared = not subject.plugin.serial and not subject.failed("threads.one")
    holders = [subject.create()] * _THREADS if shared else [subject.create() for _ in range(_THREADS)]
    calls = _calls(subject)
    plans = [_plan(subject, holder, calls) for holder in holders]
    if not any(plans):
        raise SkippedError("no method gives the same answer twice, so there is nothing to compare")
    subject.announce(f"calls from {_THREADS} threads at once")
    wrong: dict[int, Answer] = {}

    def work(number: int) -> None:
        plan = [*plans[number].items()]
        first = number * len(plan) // _THREADS  # each thread begins elsewhere, so that different calls run at once
        for _ in subject.for_a_while(_SHARE):
            for index, (prepared, expected) in plan[first:] + plan[:first]:
                answer = prepared.answer()
                if not answer.is_same(expected):
                    wrong[index] = answer

    _together(work)
    for index, answer in wrong.items():
        if all(plan[index][0].answer().is_same(plan[index][1]) for plan in plans if index in plan):
            expected = next(plan[index][1] for plan in plans if index in plan)
            raise FailedError(
                f"{spell(*calls[index])} gives {_shown(expected)} on one thread, and gave {_shown(answer)} while "
                "others were calling; protect what calls share with a lock, or do not share it"
            )
    return f"{len(plans[0])} of {len(calls)} calls compared"


def _plan(subject: Subject, holder: Holder, calls: list[tuple[Method, Values]]) -> dict[int, tuple[Prepared, Answer]]:
    """The calls that give the same answer twice on one thread, with the answer, by their index in the list."""
    caller, plan = subject.caller(holder), dict[int, tuple[Any, Any]]()
    for index, call in enumerate(calls):
        prepared = caller.prepare(*call)
        expected = prepared.answer()
        if prepared.answer().is_same(expected):
            plan[index] = prepared, expected
    return plan


def _shown(answer: Answer) -> str:
    shown: Any = answer.text or answer.scalar or b"".join(answer.changed)
    return f"{shown[:40]!r}{'...' if len(shown) > 40 else ''}{f' with status {answer.status}' if answer.status else ''}"
