"""One instance of a plugin: who may call it, and when it ends."""

from __future__ import annotations

import os
import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any

from ..errors import CallError, ClosedError
from ..ffi.abi import UNSUPPORTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Backend

_process = [0]
"""Counts the forks above this process: what was made before the last one belongs to another process."""


def _count_fork() -> None:
    _process[0] += 1


os.register_at_fork(after_in_child=_count_fork)


class Holder:
    """The pointer that create gave, for as long as somebody holds it: then it is destroyed.

    The instance holds it until it is closed, and every call for its length, so that the last one out destroys. A signal
    handler that raises can come between any two steps, and a count that such an exception left wrong would stay wrong; a
    reference is dropped whatever happens.
    """

    __slots__ = ("_destroy", "_process", "lock", "pointer")

    def __init__(self, pointer: Any, destroy: Callable[[Any], None] | None, *, serial: bool) -> None:
        self.pointer = pointer
        self.lock: Any = RLock() if serial else None
        """What a serial plugin's calls take, one at a time."""
        self._destroy = destroy
        self._process = _process[0]

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At exit nothing is left that a destroy could be called with, and in a forked child it is the parent's.
        if self._destroy is not None and self._process == _process[0] and not finalizing():
            self._destroy(self.pointer)


class Instance:
    """An instance, open until it is closed. Its holder is a Holder, or what the native binding has in its place."""

    __slots__ = ("_holder", "_process", "backend")

    def __init__(self, holder: Any, backend: Backend) -> None:
        self._holder = holder
        self._process = _process[0]
        self.backend = backend

    def hold(self, method: str) -> Any:
        """What a call of `method` has to hold. ClosedError if there may be none."""
        holder = self._holder
        if holder is None or self._process != _process[0]:
            raise self._closed(f"{method} cannot be called")
        return holder

    def check_open(self) -> None:
        """ClosedError if it cannot be opened elsewhere as it is here."""
        if self._holder is None or self._process != _process[0]:
            raise self._closed("a plugin object cannot be copied or pickled")

    def nested(self, method: str) -> CallError:
        """The error for a call from within a call on the same thread, which would wait for itself."""
        return CallError(
            f"{method} cannot be called from within a call of {self.backend.plugin.manifest.plugin} on the same thread: the plugin takes one "
            "call at a time (HP_SERIAL)",
            path=self.backend.plugin.path,
            status=UNSUPPORTED,
        )

    def close(self) -> None:
        """Bar new calls; the last one out ends the instance. Closing again does nothing."""
        self._holder = None

    def exchange(self, holder: Any, backend: Backend) -> None:
        """Serve later calls with another holder. Raises ClosedError if closed."""
        self.hold("reload")
        self._holder, self.backend = holder, backend

    def _closed(self, what: str) -> ClosedError:
        why = "was closed; load it again"
        if self._process != _process[0]:
            why = "was loaded before this process was forked; load it again here"
        return ClosedError(f"{what}: {self.backend.plugin.manifest.plugin} {why}", path=self.backend.plugin.path)
