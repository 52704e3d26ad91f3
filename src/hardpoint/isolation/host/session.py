"""An isolated plugin on the host's side: its workers, and what happens when one dies."""

from __future__ import annotations

import errno
import logging
import os
import signal
import sys
import time
from _thread import RLock
from typing import TYPE_CHECKING, Any

from ...errors import CallError, CrashedError, HardpointError, LoadError, TimedOutError
from ...ffi.abi import SERIAL, UNSUPPORTED
from ...file import LibraryFile, digest
from ..descriptors import own
from ..options import IsolationStatus, limits
from ..wire import NO_MEMORY, FrameError, pack, unpack
from .frames import checked, error_of, place
from .process import GoneError, Worker, inherited

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...backend import Plugin
    from ...definition.model import Method
    from ...preflight.checks import Fit
    from ..options import Isolation

_LOST = (GoneError, FrameError, BlockingIOError, BrokenPipeError, ConnectionResetError)
"""What ends a worker. Other errors are the host's own, or come from one of its signal handlers, as TimeoutError may."""
_GRACE = 0.5
"""Seconds that workers have to end by themselves."""
_LACKS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
_TRIES, _PAUSE = 4, 0.1
"""Starts in a row that may fail before the plugin is given up, and seconds to wait after the first; then twice as long."""


class Session:
    """An isolated plugin: its workers, and what happens when one dies."""

    def __init__(
        self,
        file: LibraryFile,
        fit: Fit,
        plugin: Plugin,
        isolation: Isolation,
        config: bytes | None,
        binding: str | None,
    ) -> None:
        contract = plugin.contract
        self._plugin = plugin
        self._isolation = isolation
        self._pid = os.getpid()
        self._serial = bool(fit.vtable.flags & SERIAL)
        try:
            self._kept = own(os.dup, file.fd)
        except OSError as error:
            raise self._cannot("loading", error) from error
        fd = self._kept.fileno()
        self._file = LibraryFile(file.path, fd, file.loader_path, os.fstat(fd), file.pinned)
        self._lock = RLock()
        self.library = file.absolute
        """What dlopen is given in a worker, an absolute path; of a pinned file, the one that it was copied from."""
        self._request = [
            file.path, self.library, list(file.identity), file.pinned, contract.to_wire(),
            fit.manifest, fit.vtable, binding, limits(isolation),
        ]  # fmt: skip
        self._config = config
        self._workers: list[Worker | None] = [None] * isolation.workers
        self._under_way = [0] * isolation.workers if isolation.workers > 1 else []
        """How many calls each worker of a pool has."""
        self._claiming = RLock()
        self._failures: list[float] = []
        self._died: tuple[type[HardpointError], str] | None = None
        """How a worker ended last; not the error, whose traceback would keep the caller's variables."""
        self.sandbox: list[str] = []
        self.binding = ""
        self.present: list[bool] = []
        """Which of the contract's methods the plugin has."""
        self._workers[0] = self._start()

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_kept"):
            return
        if finalizing() or self._pid == os.getpid():
            self._kept.close()
        else:
            inherited.append(self._kept)

    @property
    def pinned(self) -> str | None:
        """The digest that load was given."""
        return self._file.pinned

    def sha256(self) -> str | None:
        """The digest of the file."""
        return self._file.pinned or digest(self._file)

    def in_force(self) -> IsolationStatus:
        """How the workers are kept."""
        running = tuple(worker.pid for worker in self._workers if worker is not None)
        return IsolationStatus(self._isolation, running, tuple(self.sandbox))

    def call(self, method: Method, frame: list[Any], buffers: list[memoryview]) -> Any:
        """Call a method in a worker: `frame` has its index, and the arguments as they travel.

        The index is inverted if there are large payloads or bytearrays, which come back as the plugin left them.
        """
        index = frame[0] if frame[0] >= 0 else ~frame[0]
        if not self.present[index]:  # the method was looked up before a reload to an older release
            raise CallError(f"{self._plugin.path}: {self._plugin.manifest.plugin} {self._plugin.manifest.release} does not have "
                            f"{method.text}; use a newer release of the plugin", path=self._plugin.path, status=UNSUPPORTED)  # fmt: skip
        at = self._claim() if self._under_way else 0
        worker = connection = None
        try:
            worker = self._workers[at] or self._running(at, method.name)
            connection = worker.take()
            if frame[0] < 0:
                place(frame, connection)
            connection.send(pack(frame))
            size = connection.receive(connection.buffer)
            if not size:
                raise GoneError
            reply = unpack(connection.view[:size])
            outcome = checked(reply, method, self._plugin.path, connection, buffers)
        except BaseException as error:
            if connection is not None:
                connection.close()  # an answer may still be to come, which must not be another call's
            if isinstance(error, OSError) and error.errno in _LACKS:
                raise self._cannot(method.name, error) from error
            if worker is None or not isinstance(error, _LOST):
                if worker is not None and self._serial:  # the call that was given up still has its turn
                    self._drop(at, worker, "another call was given up")
                raise
            raise self._lost(method.name, at, worker, error) from error.__cause__
        finally:
            if self._under_way:
                with self._claiming:
                    self._under_way[at] -= 1
        worker.give(connection)
        if isinstance(outcome, HardpointError):
            raise outcome
        return outcome

    def _cannot(self, doing: str, error: OSError) -> LoadError:
        """The error for what the host itself lacks; it says nothing about the worker."""
        path = self._plugin.path
        return LoadError(
            f"{path}: {doing} is not possible now: {error.strerror}; end some processes, close some files or free some memory",
            path=path,
        )

    def end(self) -> None:
        """End every worker; what goes wrong with that is logged, since nobody waits for it."""
        with self._lock:
            workers = self._workers
            self._workers = [None for _ in workers]
        running = [worker for worker in workers if worker is not None]
        logger = logging.getLogger(f"hardpoint.plugin.{self._plugin.manifest.plugin}")
        try:
            for worker in running:
                worker.ask_to_end()
            until = time.monotonic() + _GRACE
            for worker in running:
                if not worker.end(max(0.0, until - time.monotonic())):
                    logger.warning("%s: destroy took too long, and the worker was killed", self._plugin.path)
                elif worker.wait():
                    logger.warning("%s", self._crashed("destroy", worker))
        finally:  # a signal's handler may have ended this, and nobody comes back for the workers
            for worker in running:
                worker.kill()

    def _claim(self) -> int:
        """The place in the pool with the fewest calls under way; one whose worker runs if there are several."""
        with self._claiming:
            calls, workers = self._under_way, self._workers
            place = min(range(len(calls)), key=lambda each: (calls[each], workers[each] is None))
            calls[place] += 1
        return place

    def _running(self, place: int, doing: str) -> Worker:
        """The worker at a place, which is started if it does not run."""
        while True:
            with self._lock:
                worker, pause = self._workers[place], 0.0
                if worker is None and not (pause := self._pause(doing)):
                    worker = self._workers[place] = self._start()
            if worker is not None:
                return worker
            time.sleep(pause)  # without the lock, which other places of a pool want

    def _pause(self, doing: str) -> float:
        """Seconds until a worker may be started; the error if none will be."""
        if self._died is not None and self._isolation.restart == "never":
            kind, how = self._died
            raise kind(f"{self._plugin.path}: {doing} cannot be called: the worker died before, and restart is 'never' "
                       f"({how}); load it again", path=self._plugin.path)  # fmt: skip
        if len(self._failures) >= _TRIES and self._died is not None:
            raise CrashedError(
                f"{self._plugin.path}: {doing} cannot be called: the plugin was given up after {_TRIES} starts in a row that "
                f"failed, the last so: {self._died[1]}; mend it, and load it again",
                path=self._plugin.path,
            )
        if not self._failures:
            return 0.0
        return max(0.0, self._failures[-1] + _PAUSE * 2.0 ** len(self._failures) - time.monotonic())

    def _start(self, *, again: bool = True) -> Worker:
        try:
            worker = Worker(self._plugin.manifest.plugin, self._isolation.timeout)
        except OSError as error:
            raise self._cannot("loading", error) from error
        try:
            failed, answer, sandbox, binding = worker.load(self._file.fd, self._request, self._config)
            if failed:
                raise error_of(answer, self._plugin.path)
            if [*map(type, answer)] != [bool] * len(self._plugin.contract.methods) or {*map(type, sandbox)} - {str}:
                raise FrameError("an answer of another shape")
        except _LOST as error:
            if again and self._is_orphan(worker, error):  # it had waited for this, and says nothing about the plugin
                worker.kill()
                return self._start(again=False)
            self._failures.append(time.monotonic())
            raise self._lost("loading", None, worker, error) from error.__cause__
        except BaseException as error:
            worker.kill()
            if isinstance(error, OSError) and error.errno in _LACKS:
                raise self._cannot("loading", error) from error
            raise
        self._failures.clear()
        self.present, self.sandbox, self.binding = answer, sandbox, binding
        return worker

    def _is_orphan(self, worker: Worker, why: BaseException) -> bool:
        if not isinstance(why, (BlockingIOError, FrameError)):
            worker.wait(0.3)
        return worker.is_orphan

    def _lost(self, doing: str, place: int | None, worker: Worker, why: BaseException) -> CrashedError | TimedOutError:
        """The error for a worker that did not answer, which is ended now."""
        plugin = self._plugin
        self._is_orphan(worker, why)
        reasons = {BlockingIOError: "another call took too long", FrameError: "it sent what no worker sends"}
        self._drop(place, worker, next((reason for kind, reason in reasons.items() if isinstance(why, kind)), ""))
        if isinstance(why, BlockingIOError):
            took = f"{plugin.path}: {doing} took longer than {self._isolation.timeout:g} s, and the worker was killed"
            error: CrashedError | TimedOutError = TimedOutError(took, path=plugin.path)
        elif isinstance(why, FrameError):
            error = CrashedError(
                f"{plugin.path}: in {doing}, the worker sent what no worker sends ({why}), and was killed: the plugin wrote to "
                f"a descriptor or to memory that is not its own; report it to the author of {plugin.manifest.plugin}",
                path=plugin.path,
            )
        else:
            error = self._crashed(doing, worker)
        self._died = type(error), str(error)
        return error

    def _drop(self, place: int | None, worker: Worker, why: str) -> None:
        """Kill a worker; the next call starts another one."""
        worker.kill(why)
        with self._lock:
            if place is not None and self._workers[place] is worker:
                self._workers[place] = None

    def _crashed(self, doing: str, worker: Worker) -> CrashedError:
        status, lines = worker.wait(), worker.output.lines
        # Either the plugin closed what is not its own, or it has no descriptor left for one more thread's calls.
        few = f" (Isolation(files={self._isolation.files}) may be too few)" if self._isolation.files else ""
        how = f"left its connection to the host{few}, and was killed"
        number = code = None
        if worker.is_orphan:
            how = "was killed, since the process that forks workers ended,"
        elif status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            names = {each.value: each.name for each in signal.Signals}
            if number != signal.SIGKILL or not worker.was_killed:
                how = f"was killed by {names.get(number, f'signal {number}')}"
            elif worker.killed_for:
                how, doing = "was killed", f"{doing}, since {worker.killed_for}"
        elif status is not None:
            code = os.WEXITSTATUS(status)
            how = f"exited with status {code}"
            if code == NO_MEMORY and (memory := self._isolation.memory) is not None:
                how, doing = "ran out of memory", f"{doing}: needs more than Isolation(memory={memory!r}); give it more"
        said = "".join(f"\n  | {line}" for line in lines) or "; it wrote nothing to stdout or stderr"
        return CrashedError(
            f"{self._plugin.path}: the worker {how} in {doing}{said}",
            path=self._plugin.path,
            signal=number,
            status=code,
            stderr="\n".join(lines),
        )
