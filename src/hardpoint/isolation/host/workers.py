"""The workers of one isolated plugin: started, chosen for calls, restarted after a crash, ended."""

from __future__ import annotations

import time
from contextlib import suppress
from time import monotonic_ns
from typing import TYPE_CHECKING

from ...errors import CrashedError, HardpointError
from ...ffi.abi import SERIAL
from . import failures
from .claims import Claims, NestedError
from .flow import Flow
from .lacking import LackingError
from .loaded import check_loaded
from .lost import LOST, GoneError, NoThreadError, QueuedError, seconds_until
from .process import Worker
from .restarts import Restarts
from .same_file import require_same, rewritten
from .unpatched import RLock

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
        """Held while a worker starts."""
        self._is_starting = False
        self.is_pool = isolation.workers > 1
        self._claims = Claims(isolation.workers, serial=bool(fit.vtable.flags & SERIAL)) if self.is_pool else None
        """A single worker's calls are not counted, and the turn of its HP_SERIAL plugin is the Holder's."""
        self._restarts = Restarts(plugin, isolation)
        self._starting: list[Worker] = []
        self._ended_for = ""
        """Why calls are ended: the plugin was closed or reloaded."""
        self._flow = Flow(plugin.manifest.plugin)
        self.free: list[Connection] = []
        """The free channels of a single worker; those of a pool belong to each of its workers."""
        self._workers: list[Worker | None] = [None] * isolation.workers
        """By number; one that was killed stays until another takes its place."""
        self.applied = (0, 0, 0)
        self.changed = 0
        """CHANGED_* of the first worker's process state."""
        self._workers[0] = self._start(deadline)

    def take(self, doing: str, deadline: int) -> Connection:
        """Take a channel to the worker with the fewest calls under way. Raises every error of that."""
        claim = connection = None
        try:
            if self._claims is not None:
                claim = self._claims.take(self._is_running, deadline)
                if claim is None:
                    raise self.no_turn(doing)
            connection = self._take(0 if claim is None else claim.number, doing, deadline)
            connection.claim = claim
        except BaseException as error:
            raised = self._raised(doing, error)
            if raised is error:
                raise
            raise raised from error
        else:
            return connection
        finally:
            claim = connection = None  # a traceback may keep this frame alive, and with it the claim

    def _take(self, number: int, doing: str, deadline: int) -> Connection:
        worker = self._run(number, doing, deadline)
        try:
            if worker.has_died:
                raise GoneError
            return worker.take(deadline)
        except LOST as error:
            raise self.lost(worker, doing, error, is_sent=False) from error.__cause__

    def _is_running(self, number: int) -> bool:
        worker = self._workers[number]
        return worker is not None and not worker.is_closed

    @property
    def running(self) -> list[Worker]:
        """Those that run, as far as is known."""
        return [worker for worker in self._workers if worker is not None and not worker.is_closed]

    def _raised(self, doing: str, error: BaseException) -> BaseException:
        """The error to raise for one of the system."""
        if isinstance(error, NestedError):
            return failures.nested(self._plugin, doing)
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

    def no_turn(self, doing: str) -> TimedOutError:
        """The error of a call whose time passed while another call had its turn."""
        return self.late(doing, "another call has its turn, and the plugin takes one at a time (HP_SERIAL)")

    def _run(self, number: int, doing: str, deadline: int) -> Worker:
        """Return a worker, started if it is not running. Raises the last error again if it is not to be restarted."""
        while True:
            worker, pause = self._workers[number], 0.0
            if worker is not None and not worker.is_closed:
                return worker
            try:
                if not self._lock.acquire(timeout=seconds_until(deadline)):
                    raise self.late(doing, "another call was starting the worker")
                if self._is_starting:  # by this thread, whose lock it is
                    raise failures.interrupted_start(self._plugin, doing)
                worker = self._workers[number]
                if worker is None or worker.is_closed:
                    worker = None
                    if not (pause := self._pause(doing)):
                        worker = self._workers[number] = self._restart(doing, deadline)
                        self._kill_if_ended(worker)
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
            remedy = "call it again" if self._ended_for.endswith("reloaded") else "load it again"
            raise CrashedError(
                f"{self._plugin.path}: {doing} was ended, since {self._ended_for}; {remedy}",
                **self._plugin.about(doing),
            )
        return self._restarts.pause(doing)

    def _kill_if_ended(self, worker: Worker) -> None:
        """Kill a worker that `end_calls` or `end`, which came before, did not see among those that start or run."""
        if self._ended_for:
            worker.kill(self._ended_for)

    def _restart(self, doing: str, deadline: int) -> Worker:
        try:
            self._is_starting = True
            return self._start(deadline)
        except HardpointError as error:
            error.method = error.method or doing  # the call that needed it
            raise
        finally:
            self._is_starting = False

    def _start(self, deadline: int, *, again: bool = True) -> Worker:
        is_first = self._workers[0] is None
        require_same(self._file, is_first=is_first)
        try:
            worker = Worker(self._flow, self._room, [] if self.is_pool else self.free, deadline)
        except LOST:
            raise self.late("loading", "the process that forks workers did not answer") from None
        except (OSError, LackingError) as error:
            raise self._raised("loading", error) from error
        try:
            self._starting.append(worker)
            self._kill_if_ended(worker)
            loading = worker.load(self._file.fd, self._recipe.data, deadline)
            changed = check_loaded(loading, self._plugin, self._fit, self._recipe, is_first=is_first)
        except LOST as error:
            # The zygote's end says nothing about the plugin.
            if again and worker.is_orphan:
                worker.kill()
                return self._start(deadline, again=False)
            self._restarts.failed()
            raise self.lost(worker, "loading", error) from error.__cause__
        except BaseException as error:
            worker.kill()
            raised = self._raised("loading", error)
            if raised is error:
                raise
            raise raised from error
        finally:
            with suppress(ValueError):  # a signal handler's exception came before it was there
                self._starting.remove(worker)
        self._restarts.went_well()
        self.applied, self.changed = loading.applied, changed
        worker.free.append(loading.connection)
        return worker

    def lost(
        self, worker: Worker, doing: str, why: BaseException, *, is_sent: bool = True
    ) -> CrashedError | TimedOutError:
        """Kill a worker after one of the errors in LOST; return the error to raise. The next call starts another."""
        self._restarts.has_died()
        worker.kill(failures.why_killed(why))
        error = failures.lost(self._plugin, self._isolation, doing, worker, why, rewritten(self._file), is_sent=is_sent)
        self._restarts.ended_by(error)
        return error

    def end_calls(self, why: str) -> None:
        """Kill every worker, since calls that were under way when the plugin was closed or reloaded do not end."""
        self._ended_for = why
        for worker in [*self._starting, *self.running]:
            worker.kill(why)

    def end(self) -> None:
        """End every worker. Problems are logged, since no caller is left to get an error."""
        was_ended, self._ended_for = self._ended_for, self._ended_for or "the plugin was closed"
        for worker in list(self._starting):
            worker.kill(self._ended_for)
        running = self.running
        try:
            for worker in running:
                worker.ask_to_end()
            until = time.monotonic() + _GRACE
            for worker in running:
                if not worker.end(max(0.0, until - time.monotonic())):
                    self._warn("destroy took too long, and the worker was killed")
                elif worker.wait() and not was_ended:
                    error = failures.crashed(self._plugin, self._isolation, "destroy", worker, rewritten(self._file))
                    self._warn(str(error).removeprefix(f"{self._plugin.path}: "))
        finally:  # after a signal handler's exception, too
            for worker in running:
                worker.kill()

    def _warn(self, text: str) -> None:
        import logging  # 5 ms, if nothing was logged before

        logger = logging.getLogger(f"hardpoint.plugin.{self._plugin.manifest.plugin}")
        logger.warning("%s: %s", self._plugin.path, text)
