"""The workers of one isolated plugin: started, given calls in turn, restarted after a crash, ended."""

from __future__ import annotations

import logging
import time
from _thread import RLock
from typing import TYPE_CHECKING

from ...errors import CrashedError, HardpointError
from ..wire import FrameError
from . import failures
from .frames import check_loaded
from .process import Worker

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...errors import TimedOutError
    from ..options import Isolation
    from .frames import Loaded

_GRACE = 0.5
"""Seconds that workers have to exit by themselves."""
_TRIES, _PAUSE = 4, 0.1
"""Failed starts in a row after which no more are tried; seconds before a restart, doubled after each failed one."""


class Workers:
    """The workers of one isolated plugin, numbered from 0 to `Isolation.workers` - 1."""

    def __init__(self, plugin: Plugin, isolation: Isolation, library: int, request: bytes) -> None:
        self._plugin = plugin
        self._isolation = isolation
        self._library = library
        """A descriptor of the file; each worker loads this one."""
        self._request = request
        self._lock = RLock()
        self._claiming = RLock()
        self._calls = [0] * isolation.workers
        """How many calls each worker has under way; only counted if there are several workers."""
        self._failures: list[float] = []
        """When a start failed, of the starts since the last that went well."""
        self._last_error: tuple[type[HardpointError], str] | None = None
        """How a worker ended last; not the error itself, whose traceback would keep the caller's variables alive."""
        self.is_pool = isolation.workers > 1
        self.running: list[Worker | None] = [None] * isolation.workers
        self.running[0], self.loaded = self._start()

    def claim(self) -> int:
        """Choose the worker with the fewest calls under way for one more; among several, one that is running."""
        with self._claiming:
            calls, running = self._calls, self.running
            number = min(range(len(calls)), key=lambda each: (calls[each], running[each] is None))
            calls[number] += 1
        return number

    def release(self, number: int) -> None:
        """Count a call that has returned."""
        with self._claiming:
            self._calls[number] -= 1

    def run(self, number: int, doing: str) -> Worker:
        """Return a worker, started if it is not running. Raises the last error again if it is not to be restarted."""
        while True:
            with self._lock:
                worker, pause = self.running[number], 0.0
                if worker is None and not (pause := self._pause(doing)):
                    worker = self.running[number] = self._restart(doing)
            if worker is not None:
                return worker
            time.sleep(pause)  # without the lock, which calls of the other workers want

    def _pause(self, doing: str) -> float:
        """Seconds until a worker may be started."""
        path = self._plugin.path
        if self._last_error is not None and self._isolation.restart == "never":
            error, message = self._last_error
            raise error(
                f"{path}: {doing} cannot be called: the worker died before, and restart is 'never' ({message}); "
                "load it again",
                **self._plugin.about(doing),
            )
        if len(self._failures) >= _TRIES and self._last_error is not None:
            raise CrashedError(
                f"{path}: {doing} cannot be called: the plugin failed to start {_TRIES} times in a row, the last time "
                f"with: {self._last_error[1]}; fix it, and load it again",
                **self._plugin.about(doing),
            )
        if not self._failures:
            return 0.0
        return max(0.0, self._failures[-1] + _PAUSE * 2.0 ** len(self._failures) - time.monotonic())

    def _restart(self, doing: str) -> Worker:
        try:
            worker, self.loaded = self._start()
        except HardpointError as error:
            error.method = error.method or doing  # the call that needed it
            raise
        return worker

    def _start(self, *, again: bool = True) -> tuple[Worker, Loaded]:
        try:
            worker = Worker(self._plugin.manifest.plugin, self._isolation.timeout)
        except OSError as error:
            raise failures.shortage(self._plugin, "loading", error) from error
        try:
            reply = worker.load(self._library, self._request)
            loaded = check_loaded(reply, self._plugin)
            if isinstance(loaded, HardpointError):
                raise loaded
        except failures.LOST as error:
            # A process that was forked ahead may have died with the zygote: that says nothing about the plugin.
            if again and _is_orphan(worker, error):
                worker.kill()
                return self._start(again=False)
            self._failures.append(time.monotonic())
            raise self.lost(None, worker, "loading", error) from error.__cause__
        except BaseException as error:
            worker.kill()
            if isinstance(error, OSError) and failures.is_shortage(error):
                raise failures.shortage(self._plugin, "loading", error) from error
            raise
        self._failures.clear()
        return worker, loaded

    def lost(self, number: int | None, worker: Worker, doing: str, why: BaseException) -> CrashedError | TimedOutError:
        """Kill a worker after one of the errors in LOST, and return the error to raise."""
        _is_orphan(worker, why)
        self.drop(number, worker, failures.why_killed(why))
        error = failures.lost(self._plugin, self._isolation, doing, worker, why)
        self._last_error = type(error), str(error)
        return error

    def drop(self, number: int | None, worker: Worker, why: str) -> None:
        """Kill a worker; the next call starts another one."""
        worker.kill(why)
        with self._lock:
            if number is not None and self.running[number] is worker:
                self.running[number] = None

    def end(self) -> None:
        """End every worker. Problems are logged, since no caller is left to get an error."""
        with self._lock:
            running = [worker for worker in self.running if worker is not None]
            self.running = [None for _ in self.running]
        logger = logging.getLogger(f"hardpoint.plugin.{self._plugin.manifest.plugin}")
        try:
            for worker in running:
                worker.ask_to_end()
            until = time.monotonic() + _GRACE
            for worker in running:
                if not worker.end(max(0.0, until - time.monotonic())):
                    logger.warning("%s: destroy took too long, and the worker was killed", self._plugin.path)
                elif worker.wait():
                    error = failures.crashed(self._plugin, self._isolation, "destroy", worker)
                    logger.warning("%s", error)
        finally:  # after a signal handler's exception, too
            for worker in running:
                worker.kill()


def _is_orphan(worker: Worker, why: BaseException) -> bool:
    """True if the worker died because the zygote did; wait a moment for the spawner to notice that."""
    if not isinstance(why, (BlockingIOError, FrameError)):
        worker.wait(0.3)
    return worker.is_orphan
