"""The zygote of this process, which starts with the first isolated plugin, and the processes that it forks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...forks import in_child
from . import lacking
from .unpatched import RLock
from .zygote import Zygote

if TYPE_CHECKING:
    from .zygote import Forked, Worker

_CREDENTIALS = (b"Uid:", b"Gid:", b"Groups:", b"Cap", b"NoNewPrivs:", b"Seccomp")
"""Starts of the lines of proc(5)'s status that say what a process may do."""

_current: Zygote | None = None
_lock = RLock()


def zygote() -> Zygote:
    """Return a zygote with the credentials of this thread, started if there is none.

    A worker has the zygote's: after setuid(2), a restart would have rights that the host gave up.
    """
    global _current  # noqa: PLW0603 - one a process
    credentials = _credentials()
    with _lock:
        if _current is None or not _current.alive or _current.credentials != credentials:
            if _current is not None:
                _current.retire()
            _current = Zygote(credentials)
        return _current


def fork(worker: Worker, control: int, deadline: int) -> Forked:
    """Get a process for a worker. Raises LateError, OSError or LackingError if there can be none."""
    tries = 3  # the zygote may have died unnoticed, or be stopped; then another is started
    while True:
        one = zygote()
        if forked := one.fork(worker, control, deadline):
            return forked
        tries -= 1
        if not tries:
            raise lacking.no_zygote(one.ended(1.0))


def _credentials() -> bytes:
    """The lines of this thread's credentials, in 20 us."""
    try:
        with open("/proc/thread-self/status", "rb", buffering=0) as file:
            return b"\n".join(line for line in file.readall().splitlines() if line.startswith(_CREDENTIALS))
    except OSError:
        return repr((os.getresuid(), os.getresgid(), os.getgroups())).encode()


inherited: list[object] = []
"""Objects of a parent process whose descriptors a forked child never closes: their numbers may be other files there."""


def _forget() -> None:
    global _current, _lock
    inherited.append(_current)
    _current, _lock = None, RLock()


in_child(_forget)
