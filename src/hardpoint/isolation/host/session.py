"""An isolated plugin on the host's side: its file, its workers, and what its methods ask of it."""

from __future__ import annotations

import errno
import os
import sys
import time
from time import monotonic_ns
from typing import TYPE_CHECKING, NoReturn

from ...errors import CallError, ClosedError, HardpointError
from ...ffi.abi import SERIAL, UNSUPPORTED
from ...file import LibraryFile, digest
from ...forks import notice
from ..descriptors import own
from ..options import IsolationStatus, bytes_of
from . import failures, lacking
from .connection import Room, error_of
from .lost import FOREVER, LOST
from .protocol import NOT_SENT
from .recipe import make_recipe
from .spawner import inherited
from .unpatched import sleep, start_thread
from .workers import Workers

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...backend import Plugin
    from ...definition.model import Method
    from ...preflight.checks import Fit
    from ..options import Isolation
    from .connection import Connection

_LONGEST = 1e9
"""Seconds of the longest time-out; a longer one is none."""
_GRACE = 0.4
"""Seconds that calls have to end by themselves after the plugin was closed or reloaded."""


class Session:
    """An isolated plugin."""

    def __init__(self, file: LibraryFile, fit: Fit, plugin: Plugin, isolation: Isolation, config: bytes | None) -> None:
        self._plugin = plugin
        self._isolation = isolation
        self._pid = os.getpid()
        self._has_ended = False
        self._serial = bool(fit.vtable.flags & SERIAL)
        seconds = isolation.timeout
        self.timeout_ns = 0 if seconds is None or seconds > _LONGEST else max(1, round(seconds * 1e9))
        """Nanoseconds that a call may take in all; 0 for no limit."""
        try:
            self._descriptor = own(os.dup, file.fd)
            self.room = Room.of(None if isolation.memory is None else bytes_of(isolation.memory))
        except OSError as error:
            raise failures.shortage(plugin, "loading", error) from error
        except lacking.LackingError as error:
            raise failures.unavailable(plugin, "loading", error) from error
        fd = self._descriptor.fileno()
        self._file = LibraryFile(file.path, fd, file.loader_path, os.fstat(fd), file.pinned)
        self._file.absolute = file.absolute
        self._file.identity = file.identity
        self.library = file.absolute
        """The absolute path that workers give to dlopen; of a pinned file, the path of the original."""
        self._recipe = make_recipe(file, fit, isolation, config)
        self._workers = Workers(plugin, isolation, self._file, fit, self._recipe, self.room, self.deadline())
        self.free: list[Connection] = self._workers.free
        """Channels that no call uses, of the one worker; always empty with several workers."""
        self.is_pool = self._workers.is_pool

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_descriptor"):
            return
        if finalizing() or self._pid == os.getpid():
            self._descriptor.close()
        else:
            inherited.append(self.__dict__)

    @property
    def pinned(self) -> str | None:
        """The SHA-256 that `load` was given."""
        return self._file.pinned

    @property
    def changed(self) -> int:
        """The CHANGED_* bits of what loading changed in the first worker."""
        return self._workers.changed

    def sha256(self) -> str | None:
        """The SHA-256 of the file, in hexadecimal; None if it is too large to be hashed."""
        try:
            return self._file.pinned or digest(self._file)
        except HardpointError:
            return None

    def in_force(self) -> IsolationStatus:
        """The options, and what the workers gave up."""
        running = tuple(worker.pid for worker in self._workers.running)
        return IsolationStatus(self._isolation, running, tuple(self._recipe.lines(self._workers.applied)))

    # -- what methods ask ----------------------------------------------------------------------------------------------

    def deadline(self) -> int:
        """The end of a call that begins now, in nanoseconds of CLOCK_MONOTONIC."""
        return monotonic_ns() + self.timeout_ns if self.timeout_ns else FOREVER

    def take(self, method: str, deadline: int) -> Connection:
        """Take a channel for a call; start a worker if none runs."""
        self._require_own(method)
        return self._workers.take(method, deadline)

    def give(self, connection: Connection) -> None:
        """Return a channel after a call that was answered."""
        claim = connection.claim
        try:
            connection.claim = None  # before another call may take the channel
            connection.worker.give(connection)
        finally:
            claim = None  # noqa: F841 - the claim ends here; a traceback may keep this frame alive

    def failed(self, connection: Connection, method: Method, code: int, detail: int) -> NoReturn:
        """Raise the error of a call that got no answer: `code` is hp_channel_wait's, or NOT_SENT with an errno."""
        self._require_own(method.name)
        try:
            error = error_of(code, detail)
            if isinstance(error, LOST):
                raise self._workers.lost(connection.worker, method.name, error, is_sent=code != NOT_SENT)
            if error.errno == errno.EFBIG:
                raise failures.too_large(self._plugin, method.name, self.room)
            raise failures.shortage(self._plugin, method.name, error) from error
        finally:
            connection.claim = None

    def gave_up(self, connection: Connection) -> None:
        """Forget a channel whose call was ended by an exception: the answer may still come."""
        try:
            if self._serial and self._pid == os.getpid():  # the plugin is still busy with the call that was given up
                connection.worker.kill("another call was given up")
        finally:
            connection.claim = None

    def no_turn(self, method: Method) -> NoReturn:
        """Raise the error of a call whose time passed while another call had its turn."""
        raise self._workers.no_turn(method.name)

    def require(self, method: Method) -> None:
        """Raise CallError for a method that was looked up before a reload to an older release, which lacks it.

        Raises ClosedError in a forked child.
        """
        self._require_own(method.name)
        if method.name in self._plugin.slots.methods:
            return
        manifest = self._plugin.manifest
        raise CallError(
            f"{self._plugin.path}: {manifest.plugin} {manifest.release} does not have {method.text}; "
            "use a newer release of the plugin",
            status=UNSUPPORTED,
            **self._plugin.about(method.name),
        )

    def _require_own(self, method: str) -> None:
        """Raise ClosedError in a child that was forked since, perhaps within this call, or unheard of by Python."""
        if self._pid != os.getpid():
            notice()
            raise ClosedError(
                f"{method} cannot be called: {self._plugin.manifest.plugin} was loaded before this process was forked; "
                "load it again here",
                **self._plugin.about(method),
            )

    # -- the end -------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """End every worker; nothing in a forked child, whose parent has them."""
        if self._pid != os.getpid():
            return
        self._has_ended = True
        self._workers.end()

    def end_calls_later(self, why: str) -> None:
        """End the calls under way that do not return soon: no other will come."""
        if self._has_ended or self._pid != os.getpid():
            return
        try:
            start_thread(self._end_calls, why)
        except OSError:  # there are no more threads
            self._end_calls(why)

    def _end_calls(self, why: str) -> None:
        until = time.monotonic() + _GRACE
        while not self._has_ended and time.monotonic() < until:
            sleep(0.01)
        if not self._has_ended:
            self._workers.end_calls(why)
