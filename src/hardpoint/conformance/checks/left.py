"""What instances leave behind in the process: descriptors and threads.

What stays once is the library's own (the runtime of Go has threads for good); what stays of every instance is a leak.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

from ..check import FailedError, check

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..subject import Subject

_LIVES = 20
_PATIENCE = 1.0
"""Seconds that threads have to end after destroy."""


@check("left.descriptors")
def descriptors(subject: Subject) -> str | None:
    """No instance leaves a descriptor open behind it."""
    return _watch(subject, _descriptors, "descriptors open", "close them in destroy")


@check("left.threads")
def threads(subject: Subject) -> str | None:
    """No instance leaves a thread running behind it."""
    return _watch(subject, _threads, "threads running", "have destroy end them, and wait for that")


def _watch(subject: Subject, look: Callable[[], list[str]], what: str, advice: str) -> str | None:
    """Live a few lives, and compare what there is with what there was after the first one."""
    holders = [subject.create()]  # what the host itself has for plugins is there from now on
    subject.destroy(holders)
    at_first = look()
    _live(subject)
    before = _settled(look, len(at_first))
    for _ in range(_LIVES):
        _live(subject)
    left = _settled(look, len(before))
    more = Counter(left) - Counter(before)
    if more.total() >= _LIVES // 2:
        names = ", ".join(f"{name} ({count})" for name, count in more.most_common(3))
        raise FailedError(f"{_LIVES} instances left {more.total()} {what}: {names}; {advice}")
    stayed = (Counter(left) - Counter(at_first)).total()
    return f"{stayed} stay{'s' * (stayed == 1)}, of the library and not of any instance" if stayed else None


def _live(subject: Subject) -> None:
    holders = [subject.create()]
    subject.call_each(subject.caller(holders[0]), subject.inputs("tiny"))
    subject.destroy(holders)


def _settled(look: Callable[[], list[str]], wanted: int) -> list[str]:
    """What there is, once it is no more than wanted or time is up."""
    end = time.monotonic() + _PATIENCE
    while len(found := look()) > wanted and time.monotonic() < end:
        time.sleep(0.01)
    return found


def _descriptors() -> list[str]:
    """What each open descriptor is of."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the one of the listing itself
            continue
    return [name.partition(":[")[0] for name in found]


def _threads() -> list[str]:
    """The name of each thread."""
    found: list[str] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as comm:
                found.append(comm.read().strip())
        except OSError:  # it has just ended
            continue
    return found
