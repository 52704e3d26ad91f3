"""One instance of a plugin: open until it is closed, destroyed after its last call."""

from __future__ import annotations

import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any

from ..errors import CallError, ClosedError
from ..ffi.abi import UNSUPPORTED
from ..forks import in_child, notice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..backend import Backend

_forks = [0]
"""Forks between the first process and this one. An instance with another count belongs to a parent process."""


def _count_fork() -> None:
    _forks[0] += 1


in_child(_count_fork)


class Holder:
    """The pointer that create gave. It is destroyed with the Holder's last reference.

    The Instance has a reference until it is closed, and so does every call while it runs, so the last of them destroys.
    A counter would do as well, but for signal handlers: one that raises between two steps would leave it wrong for
    ever. A reference is dropped in any case.
    """

    __slots__ = ("_destroy", "_forks", "lock", "pointer")

    def __init__(self, pointer: Any, destroy: Callable[[Any], None] | None, *, serial: bool) -> None:
        self.pointer = pointer
        self.lock: Any = RLock() if serial else None
        """Serialises the calls of an HP_SERIAL plugin; None for others."""
        self._destroy = destroy
        self._forks = _forks[0]

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At exit the functions that call destroy may be gone; in a forked child the instance belongs to the parent.
        if self._destroy is not None and self._forks == _forks[0] and not finalizing():
            self._destroy(self.pointer)


class Instance:
    """An instance, open until it is closed. Its holder is a Holder, or the native binding's type of that name."""

    __slots__ = ("_forks", "_holder", "backend")

    def __init__(self, holder: Any, backend: Backend) -> None:
        self._holder = holder
        self._forks = _forks[0]
        self.backend = backend

    def hold(self, method: str) -> Any:
        """Return the Holder for a call of `method`. ClosedError if the instance is closed or a parent process's."""
        holder = self._holder
        if holder is None or self._forks != _forks[0]:
            raise self._closed(f"{method} cannot be called", method)
        return holder

    def hold_after_fork(self, method: str) -> Any:
        """As `hold`, in a forked child of which Python may not have heard."""
        notice()
        return self.hold(method)

    def check_open(self) -> None:
        """Raise ClosedError if the instance is closed, and so cannot be copied or pickled."""
        if self._holder is None or self._forks != _forks[0]:
            raise self._closed("a plugin object cannot be copied or pickled")

    def nested(self, method: str) -> CallError:
        """The error for a call from within a call on the same thread, which would deadlock."""
        return CallError(
            f"{method} cannot be called from within a call of {self.backend.plugin.manifest.plugin} on the same thread: the plugin takes one "
            "call at a time (HP_SERIAL)",
            status=UNSUPPORTED,
            **self.backend.plugin.about(method),
        )

    def close(self) -> None:
        """Refuse new calls; the instance is destroyed after the last running one. Closing again does nothing.

        Calls of an isolated plugin that do not return soon are ended.
        """
        was_open, self._holder = self._holder is not None, None
        if was_open:
            self.backend.end_calls_later("the plugin was closed")

    def exchange(self, holder: Any, backend: Backend) -> None:
        """Serve later calls with another holder; those under way that do not return soon are ended.

        Raises ClosedError if closed.
        """
        self.hold("reload")
        before = self.backend
        self._holder, self.backend = holder, backend
        before.end_calls_later("the plugin was reloaded")

    def _closed(self, what: str, method: str | None = None) -> ClosedError:
        why = "was closed; load it again"
        if self._forks != _forks[0]:
            why = "was loaded before this process was forked; load it again here"
        plugin = self.backend.plugin
        return ClosedError(f"{what}: {plugin.manifest.plugin} {why}", **plugin.about(method))
