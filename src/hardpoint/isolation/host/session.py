"""An isolated plugin on the host's side: its file, its workers, and the calls of its methods."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from ...errors import CallError, HardpointError
from ...ffi.abi import SERIAL, UNSUPPORTED
from ...file import LibraryFile, digest
from ..descriptors import own
from ..options import IsolationStatus, limits
from ..wire import LoadRequest, pack, pack_load, unpack
from . import failures
from .frames import check_reply, share_payloads
from .process import GoneError, inherited
from .workers import Workers

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...backend import Plugin
    from ...definition.model import Method
    from ...preflight.checks import Fit
    from ..options import Isolation


class Session:
    """An isolated plugin."""

    def __init__(
        self,
        file: LibraryFile,
        fit: Fit,
        plugin: Plugin,
        isolation: Isolation,
        config: bytes | None,
        binding: str | None,
    ) -> None:
        self._plugin = plugin
        self._isolation = isolation
        self._pid = os.getpid()
        self._serial = bool(fit.vtable.flags & SERIAL)
        try:
            self._descriptor = own(os.dup, file.fd)
        except OSError as error:
            raise failures.shortage(plugin, "loading", error) from error
        fd = self._descriptor.fileno()
        self._file = LibraryFile(file.path, fd, file.loader_path, os.fstat(fd), file.pinned)
        self.library = file.absolute
        """The absolute path that workers give to dlopen; of a pinned file, the path of the original."""
        request = LoadRequest(
            file.path, self.library, file.identity, file.pinned, plugin.contract, plugin.manifest, fit.vtable, binding,
            limits(isolation), config,
        )  # fmt: skip
        self._workers = Workers(plugin, isolation, fd, pack_load(request))

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_descriptor"):
            return
        if finalizing() or self._pid == os.getpid():
            self._descriptor.close()
        else:
            inherited.append(self._descriptor)

    @property
    def pinned(self) -> str | None:
        """The SHA-256 that `load` was given."""
        return self._file.pinned

    @property
    def binding(self) -> str:
        """The binding that the worker calls the plugin through."""
        return self._workers.loaded.binding

    @property
    def present(self) -> list[bool]:
        """Which of the contract's methods the plugin has."""
        return self._workers.loaded.present

    def sha256(self) -> str | None:
        """The SHA-256 of the file, in hexadecimal; None if it is too large to be hashed."""
        try:
            return self._file.pinned or digest(self._file)
        except HardpointError:
            return None

    def in_force(self) -> IsolationStatus:
        """The options, and what the workers gave up."""
        running = tuple(worker.pid for worker in self._workers.running if worker is not None)
        return IsolationStatus(self._isolation, running, tuple(self._workers.loaded.sandbox))

    def call(self, method: Method, frame: list[Any], buffers: list[memoryview]) -> Any:
        """Call a method in a worker; `frame` is its index and the arguments.

        The index is inverted (~index) if there are large payloads, or bytearrays, whose new contents come with the
        reply.
        """
        workers = self._workers
        if not workers.loaded.present[frame[0] if frame[0] >= 0 else ~frame[0]]:
            raise self._without(method)
        number = workers.claim() if workers.is_pool else 0
        worker = connection = None
        try:
            worker = workers.running[number] or workers.run(number, method.name)
            connection = worker.take()
            if frame[0] < 0:
                share_payloads(frame, connection)
            connection.send(pack(frame))
            size = connection.receive(connection.buffer)
            if not size:
                raise GoneError
            reply = unpack(connection.view[:size])
            result = check_reply(reply, method, self._plugin, connection, buffers)
        except BaseException as error:
            if connection is not None:
                connection.close()  # the reply may still come, and must not be taken for another call's
            if isinstance(error, OSError) and failures.is_shortage(error):
                raise failures.shortage(self._plugin, method.name, error) from error
            if worker is None:
                raise
            if not isinstance(error, failures.LOST):
                if self._serial:  # the call that was given up still has its turn
                    workers.drop(number, worker, "another call was given up")
                raise
            raise workers.lost(number, worker, method.name, error) from error.__cause__
        finally:
            if workers.is_pool:
                workers.release(number)
        worker.give(connection)
        if isinstance(result, HardpointError):
            raise result
        return result

    def _without(self, method: Method) -> CallError:
        """The error for a method that was looked up before a reload to an older release."""
        path, manifest = self._plugin.path, self._plugin.manifest
        return CallError(
            f"{path}: {manifest.plugin} {manifest.release} does not have {method.text}; "
            "use a newer release of the plugin",
            status=UNSUPPORTED,
            **self._plugin.about(method.name),
        )

    def end(self) -> None:
        """End every worker."""
        self._workers.end()
