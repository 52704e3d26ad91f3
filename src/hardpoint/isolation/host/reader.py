"""The thread that reads the output and the log records of all workers, and of none more than its share (pace.py)."""

from __future__ import annotations

import atexit
import os
import sys
import threading  # here, since it takes the thread that imports it first for the main one: logging would, on the reader's
from contextlib import suppress
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any

from ...forks import in_child
from . import green
from .unpatched import EPOLLIN, RLock, allocate_lock, epoll, start_thread, write

if TYPE_CHECKING:
    import logging

    from .flow import Flow
    from .output import Output


class Reader:
    """The thread that reads the output of all workers."""

    def __init__(self) -> None:
        self._outputs: dict[int, Any] = {}
        self._dropping: set[Flow] = set()
        """Plugins whose workers have dropped records of which there was no warning yet."""
        self._resting: dict[Output, float] = {}
        """Those that took more than their share, and until when they are not read."""
        self._poll = epoll()
        self._drained = allocate_lock()
        self._drained.acquire()
        self._woken, self._wakes = os.pipe2(os.O_CLOEXEC)
        self._poll.register(self._woken, EPOLLIN)
        self._pid = os.getpid()
        self._knows_logging = False
        self.green = green.records(_report)
        try:
            start_thread(self._read)
        except OSError:
            os.close(self._woken)
            os.close(self._wakes)
            raise
        atexit.register(self._drain)

    def drain_before_logging(self) -> None:
        """Have what was sent read before logging's hook at exit closes handlers; hooks run in reverse order."""
        if not self._knows_logging:
            self._knows_logging = True
            atexit.unregister(self._drain)
            atexit.register(self._drain)

    def logger(self, name: str) -> logging.Logger | green.Logger:
        """The logger of that name. The first time, `logging` is imported (5 ms), and the drain put before its end."""
        import logging

        self.drain_before_logging()
        logger = logging.getLogger(name)
        return self.green.logger(logger) if self.green else logger

    def add(self, output: Output) -> None:
        """Read a worker's output from now on."""
        if "logging" in sys.modules:
            self.drain_before_logging()
        # The pipe comes last: at its end, which may have come already, both are removed.
        reads = {output.records.fileno(): self._records, output.pipe.fileno(): self._lines}
        try:
            for fd, read in reads.items():
                self._outputs[fd] = (read, output)
                self._poll.register(fd, EPOLLIN)
        except BaseException:  # of a signal handler
            for fd in reads:
                self._outputs.pop(fd, None)
            raise

    def _read(self) -> None:
        while True:
            waits = [wait for wait in (self._check_drops(), self._resume()) if wait is not None]
            for fd, _ in self._poll.poll(min(waits, default=None)):
                if fd == self._woken:
                    self._ready(0.0)
                    self._check_drops(end=True)
                    self._drained.release()
                    return
                self._one(fd)

    def _resume(self) -> float | None:
        """Read those again that have rested; return the seconds until the next has, or None."""
        now = monotonic()
        for output in [output for output, until in self._resting.items() if until <= now]:
            del self._resting[output]
            self._watch(output, EPOLLIN)
        return min((until - now for until in self._resting.values()), default=None)

    def _watch(self, output: Output, events: int) -> None:
        for fd, (_, each) in [*self._outputs.items()]:  # another thread may add some
            if each is output:
                self._poll.modify(fd, events)

    def _check_drops(self, *, end: bool = False) -> float | None:
        """Warn of dropped records after a burst; return the seconds until the next burst may be over, or None."""
        waits: list[float] = []
        for flow in list(self._dropping):
            try:
                wait = flow.check(end=end)
            except BaseException:  # noqa: BLE001 - as below
                _report()
                wait = None
            if wait is None:
                self._dropping.remove(flow)
            else:
                waits.append(wait)
        return min(waits, default=None)

    def _ready(self, seconds: float) -> None:
        while ready := [fd for fd, _ in self._poll.poll(seconds) if fd != self._woken]:
            for fd in ready:
                self._one(fd)

    def _one(self, fd: int) -> None:
        read, output = self._outputs.get(fd, (None, None))
        if read is None:  # it ended earlier in this round
            return
        start = thread_time()
        try:
            read(output)
        except BaseException:  # noqa: BLE001 - of a logging handler: report it as a thread's, and go on
            _report()
        if rest := output.flow.pace.spend(thread_time() - start):
            # The end of the pipe is heard of all the same, and what a worker left behind is read without a rest.
            self._resting[output] = monotonic() + rest
            self._watch(output, 0)

    def _lines(self, output: Output) -> None:
        if not output.read_lines():
            self._forget(output.pipe.fileno())
            self._forget(output.records.fileno())
            self._resting.pop(output, None)
            output.close()

    def _records(self, output: Output) -> None:
        if not output.read_records():
            self._forget(output.records.fileno())
        if output.flow.check() is not None:
            self._dropping.add(output.flow)

    def _forget(self, fd: int) -> None:
        if self._outputs.pop(fd, None):  # records can end before the lines
            self._poll.unregister(fd)

    def _drain(self) -> None:
        """At exit: have all that was sent read, but don't wait long for a logging handler that hangs."""
        if os.getpid() == self._pid:
            write(self._wakes, b"\0")
            self._drained.acquire(timeout=1.0)
            if self.green:
                self.green.log()


def _report() -> None:
    """Report the exception of a logging handler as a thread's."""
    with suppress(BaseException):  # a hook that raises, too, must not end the thread that all plugins need
        threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


_reader: Reader | None = None
_lock = RLock()


def reader() -> Reader:
    """Return the reader of this process."""
    global _reader  # noqa: PLW0603 - one a process
    with _lock:
        if _reader is None:
            _reader = Reader()
        return _reader


def _forget() -> None:
    global _reader, _lock
    _reader, _lock = None, RLock()


in_child(_forget)
