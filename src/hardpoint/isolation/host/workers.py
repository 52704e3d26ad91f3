"""The workers of one isolated plugin: started, chosen for calls, restarted after a crash, ended."""

from __future__ import annotations

import time
from time import monotonic_ns
from typing import TYPE_CHECKING

from ...errors import CrashedError, HardpointError
from ...ffi.abi import SERIAL
from . import failures
from .lacking import LackingError
from .loaded import check_loaded
from .lost import LOST, GoneError, seconds_until
from .process import NoThreadError, QueuedError, Worker
from .restarts import Restarts
from .same_file import require_same, rewritten
from .unpatched import RLock, allocate_lock

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from ...backend import Plugin
    from ...errors import TimedOutError
    from ...file import LibraryFile
    from ...preflight.checks import Fit
    from ..options import Isolation
    from .connection import Connection, Room
    from .recipe import Recipe

_GRACE = 0.5
"""Seconds that workers have to exit by themselves."""


class Workers:
    """The workers of one isolated plugin, numbered from 0 to `Isolation.workers` - 1."""

    def __init__(
        self, plugin: Plugin, isolation: Isolation, file: LibraryFile, fit: Fit, recipe: Recipe, room: Room, deadline: int
    ) -> None:  # fmt: skip
        self._plugin = plugin
        self._isolation = isolation
        self._file = file
        """Its descriptor stays open; each worker loads this file."""
        self._fit = fit
        self._recipe = recipe
        self._room = room
        self._lock = RLock()
        self._claiming = RLock()
        self._calls = [0] * isolation.workers
        """How many calls each worker has under way; only counted if there are several workers."""
        is_serial = bool(fit.vtable.flags & SERIAL)
        self._turns = [allocate_lock() for _ in self._calls] if is_serial and isolation.workers > 1 else []
        """Held by the one call that each worker of an HP_SERIAL plugin serves; a single worker's is the Holder's."""
        self._restarts = Restarts(plugin, isolation)
        self._starting: list[Worker] = []
        self._ended_for = ""
        """Why calls are ended: the plugin was closed or reloaded."""
        self.is_pool = isolation.workers > 1
        self.free: list[Connection] = []
        """The free channels of a single worker; those of a pool belong to each of its workers."""
        self.running: list[Worker | None] = [None] * isolation.workers
        self.applied = (0, 0, 0)
        self.changed = 0
        """CHANGED_* of the first worker's process state."""
        self.running[0] = self._start(0, deadline)

    def take(self, doing: str, deadline: int) -> Connection:
        """Take a channel to the worker with the fewest calls under way. Raises every error of that."""
        number = self._claim(doing, deadline) if self.is_pool else 0
        try:
            worker = self._run(number, doing, deadline)
            try:
                if worker.has_died:
                    raise GoneError
                return worker.take(number, deadline)
            except LOST as error:
                raise self.lost(number, worker, doing, error) from error.__cause__
        except BaseException as error:
            self.release(number)
            raised = self._raised(doing, error)
            if raised is error:
                raise
            raise raised from error

    def _raised(self, doing: str, error: BaseException) -> BaseException:
        """The error to raise for one of the system."""
        if isinstance(error, LackingError):
            return failures.unavailable(self._plugin, doing, error)
        if isinstance(error, NoThreadError):
            return failures.no_thread(self._plugin, doing, error.errno)
        if isinstance(error, QueuedError):
            return self.late(doing, "the worker has no more threads, and all of its own are busy")
        if isinstance(error, OSError) and not isinstance(error, HardpointError) and error.errno is not None:
            return failures.shortage(self._plugin, doing, error)
        return error

    def late(self, doing: str, why: str) -> TimedOutError:
        """The error for a call that ran out of time before it began."""
        return failures.late(self._plugin, self._isolation, doing, why)

    def _claim(self, doing: str, deadline: int) -> int:
        """Choose the worker with the fewest calls under way for one more; among several, one that is running.

        Of an HP_SERIAL plugin, each serves one call at a time: wait for its turn.
        """
        with self._claiming:
            calls, running = self._calls, self.running
            number = min(range(len(calls)), key=lambda each: (calls[each], running[each] is None))
            calls[number] += 1
        try:
            if not self._turns or self._turns[number].acquire(timeout=seconds_until(deadline)):
                return number
        except BaseException:
            self._uncount(number)
            raise
        self._uncount(number)
        raise self.no_turn(doing)

    def release(self, number: int) -> None:
        """Count a call that has returned."""
        if self.is_pool:
            if self._turns:
                self._turns[number].release()
            self._uncount(number)

    def _uncount(self, number: int) -> None:
        with self._claiming:
            self._calls[number] -= 1

    def no_turn(self, doing: str) -> TimedOutError:
        """The error of a call whose time passed while another call had its turn."""
        return self.late(doing, "another call has its turn, and the plugin takes one at a time (HP_SERIAL)")

    def _run(self, number: int, doing: str, deadline: int) -> Worker:
        """Return a worker, started if it is not running. Raises the last error again if it is not to be restarted."""
        while True:
            worker, pause = self.running[number], 0.0
            if worker is not None:
                return worker
            try:
                if not self._lock.acquire(timeout=seconds_until(deadline)):
                    raise self.late(doing, "another call was starting the worker")
                worker = self.running[number]
                if worker is None and not (pause := self._pause(doing)):
                    worker = self.running[number] = self._restart(number, doing, deadline)
            finally:
                # A signal handler must not be able to raise between taking and releasing it; see binding/guard.py.
                try:  # noqa: SIM105 - as there
                    self._lock.release()
                except RuntimeError:
                    pass
            if worker is not None:
                return worker
            if deadline - monotonic_ns() < pause * 1e9:
                raise self.late(doing, "the plugin fails to start, and there is a pause before the next attempt")
            self._restarts.sleep(pause)  # without the lock, which calls of the other workers want

    def _pause(self, doing: str) -> float:
        """Seconds until a worker may be started."""
        if self._ended_for:
            raise CrashedError(
                f"{self._plugin.path}: {doing} was ended, since {self._ended_for}; call it again",
                **self._plugin.about(doing),
            )
        return self._restarts.pause(doing)

    def _restart(self, number: int, doing: str, deadline: int) -> Worker:
        try:
            return self._start(number, deadline)
        except HardpointError as error:
            error.method = error.method or doing  # the call that needed it
            raise

    def _start(self, number: int, deadline: int, *, again: bool = True) -> Worker:
        require_same(self._file)
        try:
            worker = Worker(self._plugin.manifest.plugin, self._room, [] if self.is_pool else self.free, deadline)
        except LOST:
            raise self.late("loading", "the process that forks workers did not answer") from None
        except (OSError, LackingError) as error:
            raise self._raised("loading", error) from error
        try:
            self._starting.append(worker)
            loading = worker.load(self._file.fd, self._recipe.data, number, deadline)
            changed = check_loaded(loading, self._plugin, self._fit, self._recipe)
        except LOST as error:
            # The zygote's end says nothing about the plugin.
            if again and worker.is_orphan:
                worker.kill()
                return self._start(number, deadline, again=False)
            self._restarts.failed()
            raise self.lost(None, worker, "loading", error) from error.__cause__
        except BaseException as error:
            worker.kill()
            raised = self._raised("loading", error)
            if raised is error:
                raise
            raise raised from error
        finally:
            self._starting.remove(worker)
        self._restarts.went_well()
        self.applied, self.changed = loading.applied, changed
        worker.free.append(loading.connection)
        return worker

    def lost(self, number: int | None, worker: Worker, doing: str, why: BaseException) -> CrashedError | TimedOutError:
        """Kill a worker after one of the errors in LOST, and return the error to raise."""
        self._restarts.has_died()
        self.drop(number, worker, failures.why_killed(why))
        error = failures.lost(self._plugin, self._isolation, doing, worker, why, rewritten(self._file))
        self._restarts.ended_by(error)
        return error

    def drop(self, number: int | None, worker: Worker, why: str) -> None:
        """Kill a worker; the next call starts another one."""
        worker.kill(why)
        with self._lock:
            if number is not None and self.running[number] is worker:
                self.running[number] = None

    def end_calls(self, why: str) -> None:
        """Kill every worker, since calls that were under way when the plugin was closed or reloaded do not end."""
        self._ended_for = why
        for worker in [*self._starting, *self.running]:
            if worker is not None:
                worker.kill(why)

    def end(self) -> None:
        """End every worker. Problems are logged, since no caller is left to get an error."""
        with self._lock:
            running = [worker for worker in self.running if worker is not None]
            self.running = [None for _ in self.running]
        try:
            for worker in running:
                worker.ask_to_end()
            until = time.monotonic() + _GRACE
            for worker in running:
                if not worker.end(max(0.0, until - time.monotonic())):
                    self._warn("destroy took too long, and the worker was killed")
                elif worker.wait() and not self._ended_for:
                    error = failures.crashed(self._plugin, self._isolation, "destroy", worker, rewritten(self._file))
                    self._warn(str(error).removeprefix(f"{self._plugin.path}: "))
        finally:  # after a signal handler's exception, too
            for worker in running:
                worker.kill()

    def _warn(self, text: str) -> None:
        import logging  # 5 ms, if nothing was logged before

        logger = logging.getLogger(f"hardpoint.plugin.{self._plugin.manifest.plugin}")
        logger.warning("%s: %s", self._plugin.path, text)
