"""Leaks of instances: file descriptors and threads that are left after destroy.

What stays once belongs to the library (the Go runtime never ends its threads); what stays of every instance is a leak.
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
"""Seconds to wait for threads to end after destroy."""


@check("left.descriptors")
def descriptors(subject: Subject) -> str | None:
    """No instance leaves a file descriptor open."""
    return _watch(subject, _descriptors, "descriptors open", "close them in destroy")


@check("left.threads")
def threads(subject: Subject) -> str | None:
    """No instance leaves a thread running."""
    return _watch(subject, _threads, "threads running", "have destroy end them, and wait for that")


def _watch(subject: Subject, look: Callable[[], list[str]], what: str, advice: str) -> str | None:
    """Create and destroy several instances, and compare what is left with what was left after the first one."""
    holders = [subject.create()]  # from now on the host's own threads and descriptors for plugins exist
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
    """Look until there are no more than wanted, or time is up."""
    end = time.monotonic() + _PATIENCE
    while len(found := look()) > wanted and time.monotonic() < end:
        time.sleep(0.01)
    return found


def _descriptors() -> list[str]:
    """The target of each open descriptor."""
    found: list[str] = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except OSError:  # the descriptor of the listing itself
            continue
    return [name.partition(":[")[0] for name in found]


def _threads() -> list[str]:
    """The name of each thread."""
    found: list[str] = []
    for thread in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{thread}/comm", encoding="utf-8", errors="replace") as comm:
                found.append(comm.read().strip())
        except OSError:  # the thread has just ended
            continue
    return found
