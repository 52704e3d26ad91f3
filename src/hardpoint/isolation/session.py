"""An isolated plugin on the host's side: its workers, what happens when one dies, and how its methods are called."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from _thread import RLock
from typing import TYPE_CHECKING, Any

from .. import errors
from ..binding.convert import SCALARS, to_text, wrong_type
from ..binding.guard import guarded
from ..binding.outcome import broken
from ..errors import CrashedError, HardpointError, LoadError, PluginError, TimedOutError
from ..file import LibraryFile, digest
from . import wire
from .options import InForce, limits
from .process import Gone, Worker
from .wire import FrameError, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..binding.guard import Arguments
    from ..binding.outcome import Plugin
    from ..preflight import Fit
    from ..signature import Method
    from .options import Isolation
    from .process import Connection

_RESULTS = {"str": bytes, "bytes": bytes, "int": int, "float": float, "bool": bool, "None": type(None)}


_LOST = (Gone, FrameError, BlockingIOError, BrokenPipeError, ConnectionResetError)
"""What ends a worker. Other errors are the host's own, or come from one of its signal handlers, as TimeoutError may."""
_GRACE = 0.5
"""Seconds that workers have to end by themselves."""
_LACKS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC}
_TRIES, _PAUSE = 4, 0.1
"""Starts in a row that may fail before the plugin is given up, and seconds to wait after the first; then twice as long."""


class Session:
    """An isolated plugin: its workers, and what happens when one dies."""

    def __init__(
        self, file: LibraryFile, fit: Fit, plugin: Plugin, isolation: Isolation, config: bytes | None
    ) -> None:
        contract = plugin.contract
        self._plugin = plugin
        self._isolation = isolation
        try:
            self._file = LibraryFile(file.path, os.dup(file.fd), file.loader_path, file.pinned)
        except OSError as error:
            raise self._cannot("create", error) from error
        self._lock = RLock()
        methods = [[method.name, method.parameters, *method[2:5]] for method in contract.methods]
        self.library = file.path if file.pinned else file.loader_path
        """What dlopen is given in a worker; of a pinned file, the path that it was copied from."""
        self._request = [
            self.library, list(file.identity), file.pinned, contract.name, [contract.major, contract.minor], methods,
            fit.manifest, fit.vtable, limits(isolation),
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
        self._workers[0] = self._start("create")

    def __del__(self) -> None:
        if file := getattr(self, "_file", None):
            os.close(file.fd)

    @property
    def pinned(self) -> str | None:
        """The digest that load was given."""
        return self._file.pinned

    def sha256(self) -> str | None:
        """The digest of the file."""
        return self._file.pinned or digest(self._file)

    def in_force(self) -> InForce:
        """How the workers are kept."""
        running = tuple(worker.pid for worker in self._workers if worker is not None)
        return InForce(self._isolation, running, tuple(self.sandbox))

    def call(self, method: Method, frame: list[Any], buffers: list[memoryview]) -> Any:
        """Call a method in a worker: `frame` has its index, and the arguments as they travel.

        The index is inverted if there are large payloads or bytearrays, which come back as the plugin left them.
        """
        place = self._claim() if self._under_way else 0
        worker = connection = None
        try:
            worker = self._workers[place] or self._running(place, method.name)
            connection = worker.take()
            if frame[0] < 0:
                _place(frame, connection)
            connection.send(pack(frame))
            size = connection.receive(connection.buffer)
            if not size:
                raise Gone
            reply = unpack(connection.view[:size])
            outcome = _checked(reply, method, self._plugin.path, connection, buffers)
        except BaseException as error:
            if connection is not None:
                connection.close()  # an answer may still be to come, which must not be another call's
            if isinstance(error, OSError) and error.errno in _LACKS:
                raise self._cannot(method.name, error) from error
            if worker is None or not isinstance(error, _LOST):
                raise
            raise self._lost(method.name, place, worker, error) from error.__cause__
        finally:
            if self._under_way:
                with self._claiming:
                    self._under_way[place] -= 1
        worker.give(connection)
        if isinstance(outcome, HardpointError):
            raise outcome
        return outcome

    def _cannot(self, doing: str, error: OSError) -> LoadError:
        """The error for what the host itself lacks; it says nothing about the worker."""
        path = self._plugin.path
        return LoadError(
            f"{path}: {doing} cannot be called now: {error.strerror}; end some processes, close some files or free some memory", path=path
        )

    def end(self) -> None:
        """End every worker; what goes wrong with that is logged, since nobody waits for it."""
        with self._lock:
            workers, self._workers = self._workers, [None] * len(self._workers)
        running = [worker for worker in workers if worker is not None]
        for worker in running:
            worker.ask_to_end()
        until = time.monotonic() + _GRACE
        logger = logging.getLogger(f"hardpoint.plugin.{self._plugin.manifest.plugin}")
        for worker in running:
            if not worker.end(max(0.0, until - time.monotonic())):
                logger.warning("%s: destroy took too long, and the worker was killed", self._plugin.path)
            elif worker.wait():
                logger.warning("%s", self._crashed("destroy", worker))

    def _claim(self) -> int:
        """The place in the pool with the fewest calls under way; one whose worker runs if there are several."""
        with self._claiming:
            calls, workers = self._under_way, self._workers
            place = min(range(len(calls)), key=lambda each: (calls[each], workers[each] is None))
            calls[place] += 1
        return place

    def _running(self, place: int, doing: str) -> Worker:
        """The worker at a place, which is started if it does not run."""
        with self._lock:
            worker = self._workers[place]
            if worker is None:
                worker = self._workers[place] = self._start_again(doing)
        return worker

    def _start_again(self, doing: str) -> Worker:
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
        if self._failures:
            time.sleep(max(0.0, self._failures[-1] + _PAUSE * 2 ** len(self._failures) - time.monotonic()))
        return self._start("create")

    def _start(self, doing: str) -> Worker:
        try:
            worker = Worker(self._plugin.manifest.plugin, self._file.fd, self._isolation.timeout)
        except OSError as error:
            raise self._cannot(doing, error) from error
        try:
            failed, answer, sandbox, binding = worker.load(self._request, self._config)
            if failed:
                raise _error(answer, self._plugin.path)
            if [*map(type, answer)] != [bool] * len(self._plugin.contract.methods) or {*map(type, sandbox)} - {str}:
                raise FrameError("an answer of another shape")
        except _LOST as error:
            self._failures.append(time.monotonic())
            raise self._lost(doing, None, worker, error) from error.__cause__
        except BaseException:
            worker.kill()
            raise
        self._failures.clear()
        self.present, self.sandbox, self.binding = answer, sandbox, binding
        return worker

    def _lost(
        self, doing: str, place: int | None, worker: Worker, why: BaseException
    ) -> CrashedError | TimedOutError:
        """The error for a worker that did not answer, which is ended now."""
        plugin = self._plugin
        if not isinstance(why, (BlockingIOError, FrameError)):
            worker.wait(0.3)
        reasons = {BlockingIOError: "another call took too long", FrameError: "it sent what no worker sends"}
        worker.kill(next((reason for kind, reason in reasons.items() if isinstance(why, kind)), ""))
        with self._lock:
            if place is not None and self._workers[place] is worker:
                self._workers[place] = None
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

    def _crashed(self, doing: str, worker: Worker) -> CrashedError:
        status, lines = worker.wait(), worker.output.lines
        how, number, code = "left its connection to the host, and was killed", None, None
        if status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            names = {each.value: each.name for each in signal.Signals}
            if number != signal.SIGKILL or not worker.was_killed:
                how = f"was killed by {names.get(number, f'signal {number}')}"
            elif worker.killed_for:
                how, doing = "was killed", f"{doing}, since {worker.killed_for}"
        elif status is not None:
            code = os.WEXITSTATUS(status)
            how = f"exited with status {code}"
        said = "".join(f"\n  | {line}" for line in lines) or "; it wrote nothing to stdout or stderr"
        return CrashedError(
            f"{self._plugin.path}: the worker {how} in {doing}{said}",
            path=self._plugin.path,
            signal=number,
            status=code,
            stderr="\n".join(lines),
        )


def _place(frame: list[Any], connection: Connection) -> None:
    """Put what is large into the memory that both map."""
    connection.shared.begin()
    for at, value in enumerate(frame):
        if isinstance(value, (bytes, memoryview)) and len(value) > wire.INLINE:
            frame[at] = connection.shared.put(value)


def _bytes(content: Any, connection: Connection) -> Any:
    if type(content) is wire.ExtType:
        if content.code != wire.PLACE or len(content.data) != wire.PLACED.size:
            raise FrameError("an extension that nobody knows")
        return connection.shared.view(*wire.PLACED.unpack(content.data))
    if type(content) is not bytes:
        raise FrameError(f"{type(content).__name__} where bytes belong")
    return content


def _checked(reply: Any, method: Method, path: str, connection: Connection, buffers: list[memoryview]) -> Any:
    """The result in a reply, or the error to be raised; FrameError if the reply cannot be."""
    if type(reply) is not list or len(reply) != 2 + len(buffers) or type(reply[0]) is not int or reply[0] not in (0, 1):
        raise FrameError("a reply of another shape")
    for buffer, content in zip(buffers, reply[2:], strict=True):
        data = _bytes(content, connection)
        if len(data) != len(buffer):
            raise FrameError("a buffer of another size")
        buffer[:] = data
    result = reply[1]
    if reply[0]:
        return _error(result, path, connection)
    if method.result in {"str", "bytes"}:
        return bytes(_bytes(result, connection))  # a copy first: the worker could change what is being decoded
    if type(result) is not _RESULTS[method.result] or (method.result == "int" and not -(1 << 63) <= result < 1 << 63):
        raise FrameError(f"{type(result).__name__} where {method.result} belongs")
    return result


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HardpointError) and not name.startswith("_")
}


def _error(told: Any, path: str, connection: Connection | None = None) -> HardpointError:
    """An error that a worker told of; a long text of it is in the memory of the connection."""
    if type(told) is list and len(told) == 4 and type(told[3]) is wire.ExtType and connection is not None:
        told[3] = str(bytes(_bytes(told[3], connection)), "utf-8", "replace")
    shape = [type(each) for each in told] if type(told) is list else []
    if shape != [str, str, int, str] or told[0] not in _ERRORS:
        raise FrameError("an error of another shape")
    name, message, status, text = told
    kind = _ERRORS[name]
    if issubclass(kind, PluginError):
        return kind(message, path=path, status=status, text=text)
    return kind(message, path=path)


# -- what binding/ has for a plugin in the process: create and method ---------------------------------------------------


class Remote:
    """What calls the methods of an isolated plugin, as the modules of `binding` do for others."""

    def method(self, plugin: Plugin, method: Method, address: int, arguments: Arguments) -> Any:
        """What is called for one method; `address` is one more than its place in the contract."""
        kinds = [(parameter.kind, method.where(index)) for index, parameter in enumerate(method.parameters)]
        is_text, index = method.result == "str", address - 1

        def call(session: Session, given: tuple[Any, ...]) -> Any:
            frame: list[Any] = [index]
            buffers: list[memoryview] = []
            try:
                for (kind, where), argument in zip(kinds, given, strict=True):
                    if kind in SCALARS:
                        frame.append(SCALARS[kind](argument, where))
                        continue
                    data = to_text(argument, where) if kind == "str" else _view(argument, kind, where)
                    frame.append(data)
                    if kind == "bytearray":
                        buffers.append(data)
                    if len(data) > wire.INLINE or kind == "bytearray":
                        frame[0] = ~index
                result = session.call(method, frame, buffers)
            finally:
                for buffer in buffers:
                    buffer.release()
            if is_text:
                try:
                    return str(result, "utf-8")
                except UnicodeDecodeError as error:
                    raise broken(plugin, method.name, f"gave text that is not UTF-8 ({error})") from error
            return result

        return guarded(method, call, arguments)


def _view(value: Any, kind: str, where: str) -> Any:
    if type(value) is bytes and kind == "bytes":
        return value
    try:
        view = memoryview(value)
        if not view.c_contiguous or (kind == "bytearray" and view.readonly):
            raise BufferError("it is not contiguous, or cannot be written to")
        return view if view.format == "B" and view.ndim == 1 else view.cast("B")
    except (TypeError, ValueError, BufferError) as error:
        raise wrong_type(where, kind, value) from error
