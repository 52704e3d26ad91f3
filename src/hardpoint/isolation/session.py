"""An isolated plugin on the host's side: its workers, what happens when one dies, and how its methods are called."""

from __future__ import annotations

import os
import signal
from _thread import RLock
from typing import TYPE_CHECKING, Any

from .. import errors
from ..binding.convert import SCALARS, to_text, wrong_type
from ..binding.guard import guarded
from ..binding.outcome import broken
from ..errors import CrashedError, HardpointError, PluginError, TimedOutError
from ..file import LibraryFile, digest
from . import wire
from .options import InForce, bytes_of
from .process import Gone, Slow, Worker
from .spawner import spawner

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..binding.guard import Arguments
    from ..binding.outcome import Plugin
    from ..signature import Method
    from .options import Isolation
    from .process import Connection

_RESULTS = {"str": bytes, "bytes": bytes, "int": int, "float": float, "bool": bool, "None": type(None)}


class Session:
    """An isolated plugin: it has workers, and its methods are calls of them."""

    def __init__(self, file: LibraryFile, plugin: Plugin, isolation: Isolation, config: bytes | None) -> None:
        self._plugin = plugin
        self._isolation = isolation
        self._file = LibraryFile(file.path, os.dup(file.fd), file.loader_path, file.pinned)
        self._lock = RLock()
        contract = plugin.contract
        limits = {
            "memory": None if isolation.memory is None else bytes_of(isolation.memory),
            "cpu": isolation.cpu,
            "files": isolation.files,
        }
        methods = [[method.text, method.since, method.quick] for method in contract.methods]
        version = [contract.major, contract.minor]
        self._request = [file.loader_path if not file.pinned else file.path, list(file.identity), file.pinned, contract.name, version, methods, config, limits]
        self._workers: list[Worker | None] = [None] * isolation.workers
        self._turn = 0
        self.sandbox: list[str] = []
        self.binding = ""
        self.present: list[bool] = []
        self._workers[0] = self._start("create")

    @property
    def library(self) -> str:
        """What dlopen is given in a worker."""
        return str(self._request[0])

    def sha256(self) -> str | None:
        """The digest of the file."""
        return self._file.pinned or digest(self._file)

    def in_force(self) -> InForce:
        """How the workers are kept."""
        running = tuple(worker.pid for worker in self._workers if worker is not None)
        return InForce(self._isolation, running, tuple(self.sandbox))

    def _start(self, doing: str) -> Worker:
        path = self._plugin.path
        worker = None
        try:
            worker = Worker(spawner(), self._plugin.manifest.plugin, self._file.fd, self._request, self._isolation.timeout)
            kind, answer, self.sandbox, self.binding = worker.answer
        except Slow:
            raise self._timed_out(doing) from None
        except Gone:
            raise self._crashed(doing, worker) from None
        except wire.FrameError as error:
            raise self._nonsense(doing, error) from error
        if kind:
            worker.kill()
            raise _error(answer, path)
        self.present = answer
        return worker

    def _worker(self, doing: str) -> tuple[int, Worker]:
        self._turn = index = (self._turn + 1) % len(self._workers)
        worker = self._workers[index]
        if worker is None:
            with self._lock:
                worker = self._workers[index]
                if worker is None:
                    worker = self._workers[index] = self._start(doing)
        return index, worker

    def call(self, method: Method, index: int, values: list[Any], buffers: list[memoryview]) -> Any:
        """Call a method in a worker."""
        place, worker = self._worker(method.name)
        connection = None
        try:
            connection = worker.take()
            reply = connection.ask(_frame(index, values, connection))
            outcome = _checked(reply, method, self._plugin.path, connection, buffers)
        except BaseException as error:
            if connection is not None:
                connection.close()  # an answer may still be to come, which must not be another call's
            if isinstance(error, Slow):
                self._drop(place, worker)
                raise self._timed_out(method.name) from None
            if isinstance(error, Gone):
                self._drop(place, worker)
                raise self._crashed(method.name, worker) from None
            if isinstance(error, wire.FrameError):
                self._drop(place, worker)
                raise self._nonsense(method.name, error) from error
            raise
        worker.give(connection)
        if isinstance(outcome, HardpointError):
            raise outcome
        return outcome

    def _drop(self, place: int, worker: Worker) -> None:
        worker.kill()
        with self._lock:
            if self._workers[place] is worker:
                self._workers[place] = None

    def end(self) -> None:
        """End every worker."""
        with self._lock:
            for worker in self._workers:
                if worker is not None:
                    worker.end()
            self._workers = [None] * len(self._workers)

    def _timed_out(self, doing: str) -> TimedOutError:
        plugin = self._plugin
        return TimedOutError(
            f"{plugin.path}: {doing} took longer than {self._isolation.timeout:g} s, and the worker was killed",
            path=plugin.path,
        )

    def _crashed(self, doing: str, worker: Worker | None) -> CrashedError:
        status = worker.wait() if worker else None
        lines = tuple(worker.output.lines) if worker else ()
        how, number, code = "ended, nobody knows how", None, None
        if status is not None and os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            how = f"was killed by {signal.Signals(number).name if number in list(signal.Signals) else f'signal {number}'}"
        elif status is not None:
            code = os.WEXITSTATUS(status)
            how = f"exited with status {code}"
        said = "".join(f"\n  | {line}" for line in lines) or "; it wrote nothing to stderr"
        return CrashedError(
            f"{self._plugin.path}: the worker {how} in {doing}{said}",
            path=self._plugin.path, signal=number, status=code, stderr="\n".join(lines),
        )  # fmt: skip

    def _nonsense(self, doing: str, error: Exception) -> CrashedError:
        return CrashedError(
            f"{self._plugin.path}: in {doing}, the worker sent what no worker sends ({error}), and was killed: code of the "
            f"plugin wrote to a descriptor or to memory that is not its own", path=self._plugin.path,
        )


def _frame(index: int, values: list[Any], connection: Connection) -> bytes:
    """A call as it travels; large payloads are put into the memory that both map."""
    connection.shared.begin()
    for at, value in enumerate(values):
        if isinstance(value, (bytes, memoryview)) and len(value) > wire.INLINE:
            values[at] = connection.shared.put(value)
    frame: bytes = wire.pack([index, *values])
    return frame


def _bytes(content: Any, connection: Connection) -> Any:
    if type(content) is wire.ExtType:
        if content.code != wire.PLACE or len(content.data) != wire.PLACED.size:
            raise wire.FrameError("an extension that nobody knows")
        return connection.shared.view(*wire.PLACED.unpack(content.data))
    if type(content) is not bytes:
        raise wire.FrameError(f"{type(content).__name__} where bytes belong")
    return content


def _checked(reply: Any, method: Method, path: str, connection: Connection, buffers: list[memoryview]) -> Any:
    """The result in a reply, or the error to be raised; FrameError if the reply cannot be."""
    if type(reply) is not list or len(reply) != 2 + len(buffers) or reply[0] not in (0, 1):
        raise wire.FrameError("a reply of another shape")
    for buffer, content in zip(buffers, reply[2:], strict=True):
        data = _bytes(content, connection)
        if len(data) != len(buffer):
            raise wire.FrameError("a buffer of another size")
        buffer[:] = data
    result = reply[1]
    if reply[0]:
        return _error(result, path)
    if method.result in {"str", "bytes"}:
        return bytes(_bytes(result, connection))  # a copy first: the worker could change what is being decoded
    if type(result) is not _RESULTS[method.result] or (method.result == "int" and not -(1 << 63) <= result < 1 << 63):
        raise wire.FrameError(f"{type(result).__name__} where {method.result} belongs")
    return result


_ERRORS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, HardpointError) and not name.startswith("_")
}


def _error(told: Any, path: str) -> HardpointError:
    """An error that a worker told of."""
    shape = [type(each) for each in told] if type(told) is list else []
    if shape != [str, str, int, str] or told[0] not in _ERRORS:
        raise wire.FrameError("an error of another shape")
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
        is_text = method.result == "str"

        def call(session: Session, given: tuple[Any, ...]) -> Any:
            values: list[Any] = []
            buffers: list[memoryview] = []
            try:
                for (kind, where), argument in zip(kinds, given, strict=True):
                    if kind == "str":
                        values.append(to_text(argument, where))
                    elif kind in SCALARS:
                        values.append(SCALARS[kind](argument, where))
                    else:
                        values.append(_view(argument, kind, where))
                        if kind == "bytearray":
                            buffers.append(values[-1])
                result = session.call(method, address - 1, values, buffers)
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
