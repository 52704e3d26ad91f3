"""Log records of the reader's thread in a host of gevent or eventlet: a green thread of the host logs them.

Handlers have green locks there, which are no locks between OS threads: gevent raises LoopExit in the thread that waits
for one, and in eventlet it never gets on.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from .unpatched import write

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

_MOST = 50_000
"""Records that may wait while no green thread of the host runs, as during a long call: 15 MB of short ones."""


class Logger:
    """A logger whose records the host's green thread logs."""

    def __init__(self, logger: logging.Logger, records: Records) -> None:
        self._logger = logger
        self._records = records

    def info(self, message: str, text: str) -> None:
        """As logging.Logger.info."""
        self._records.add(self._logger.info, message, text)

    def log(self, level: int, message: str, text: str) -> None:
        """As logging.Logger.log."""
        self._records.add(self._logger.log, level, message, text)

    def warning(self, message: str, *arguments: object) -> None:
        """As logging.Logger.warning."""
        self._records.add(self._logger.warning, message, *arguments)


class Records:
    """Records that wait for a green thread. `wake` has one call `log` soon; it is called from another OS thread."""

    def __init__(self, start: Callable[[Records], Callable[[], object]], report: Callable[[], None]) -> None:
        self._waiting: deque[tuple[Any, ...]] = deque()
        self._is_woken = False
        self._lost = 0
        self._report = report
        self._wake = start(self)

    def add(self, *call: Any) -> None:
        """Have a function called, in the order of these calls."""
        if len(self._waiting) >= _MOST:
            self._lost += 1
            return
        self._waiting.append(call)
        if not self._is_woken:
            self._is_woken = True
            self._wake()

    def logger(self, logger: logging.Logger) -> Logger:
        """A logger whose records wait here."""
        return Logger(logger, self)

    def log(self) -> None:
        """Log what waits."""
        self._is_woken = False
        while self._waiting:
            function, *arguments = self._waiting.popleft()
            try:
                function(*arguments)
            except BaseException:  # noqa: BLE001 - of a logging handler: reported as in the reader's thread
                self._report()
        if lost := self._lost:
            import logging  # imported by whoever added one

            self._lost -= lost
            logging.getLogger("hardpoint.plugin").warning(
                "%d lines and log records of plugins were dropped, since no green thread could log them meanwhile", lost
            )


def records(report: Callable[[], None]) -> Records | None:
    """The records of a host with green threads, to be logged by one of the calling thread's; None in other hosts."""
    if (monkey := sys.modules.get("gevent.monkey")) and monkey.is_module_patched("threading"):
        return Records(_start_gevent, report)
    if (patcher := sys.modules.get("eventlet.patcher")) and patcher.is_monkey_patched("thread"):
        return Records(_start_eventlet, report)
    return None


def _start_gevent(records: Records) -> Callable[[], object]:
    import gevent

    loop = gevent.get_hub().loop
    return lambda: loop.run_callback_threadsafe(gevent.spawn, records.log)


def _start_eventlet(records: Records) -> Callable[[], object]:
    import eventlet
    from eventlet.hubs import trampoline

    host = os.getpid()
    woken, wakes = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def serve() -> None:
        while True:
            trampoline(woken, read=True)
            if os.getpid() != host:  # a forked child has this green thread too
                return
            os.read(woken, 1)
            records.log()

    eventlet.spawn_n(serve)
    return lambda: write(wakes, b"\0")
