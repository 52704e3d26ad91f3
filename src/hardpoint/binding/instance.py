"""One instance of a plugin: who may call it, and when it ends."""

from __future__ import annotations

import os
import sys
from _thread import RLock
from typing import TYPE_CHECKING, Any

from ..abi import UNSUPPORTED
from ..errors import CallError, ClosedError

if TYPE_CHECKING:
    from collections.abc import Callable

_process = [0]
"""Counts the forks above this process: what was made before the last one belongs to another process."""


def _count_fork() -> None:
    _process[0] += 1


os.register_at_fork(after_in_child=_count_fork)


class Instance:
    """An instance: `self` is the pointer that create gave, `destroy` ends it.

    Closing bars new calls, and the last call out destroys. Lists are used where others take a lock: append and pop are
    atomic, and a signal handler or a finalizer can come at any point without finding itself locked out.
    """

    __slots__ = (
        "_active",
        "_closed",
        "_destroy",
        "_lock",
        "_once",
        "_process",
        "about",
        "name",
        "path",
        "self",
    )

    def __init__(
        self, pointer: int, destroy: Callable[[int], None] | None, *, serial: bool, name: str, path: str
    ) -> None:
        self.self = pointer
        self.about: Any = None
        """What the loader keeps with it."""
        self.name = name
        self.path = path
        self._destroy = destroy
        self._closed = False
        self._active: list[None] = []
        self._once = [None]
        self._lock = RLock() if serial else None
        self._process = _process[0]

    def enter(self, method: str) -> None:
        """Before a call. ClosedError if there may be none; a serial plugin's calls wait for each other here."""
        self._active.append(None)
        try:
            self.check_open(method)
            if self._lock is not None:
                self._take_turn(self._lock, method)
        except BaseException:
            self._out()
            raise

    def leave(self) -> None:
        """After a call that was entered."""
        if self._lock is not None:
            self._lock.release()
        self._out()

    def close(self) -> None:
        """Bar new calls, and end the instance once the last one is out. Closing again does nothing."""
        self._closed = True
        if not self._active:
            self._end()

    def check_open(self, method: str) -> None:
        """ClosedError if it may not be called any more."""
        if self._process != _process[0]:
            raise ClosedError(
                f"{method} cannot be called: {self.name} was loaded before this process was forked; load it again here",
                path=self.path,
            )
        if self._closed:
            raise ClosedError(f"{method} cannot be called: {self.name} was closed; load it again", path=self.path)

    def _take_turn(self, lock: Any, method: str) -> None:
        if lock._is_owned():  # noqa: SLF001 - as threading.Condition asks it
            raise CallError(
                f"{method} cannot be called from within a call of {self.name} on the same thread: the plugin takes one "
                "call at a time (HP_SERIAL)",
                path=self.path,
                status=UNSUPPORTED,
            )
        lock.acquire()
        if self._closed:  # while it waited
            lock.release()
            self.check_open(method)

    def _out(self) -> None:
        self._active.pop()
        if self._closed and not self._active:
            self._end()

    def _end(self) -> None:
        try:
            self._once.pop()
        except IndexError:  # another thread was first
            return
        if self._destroy is not None and self._process == _process[0]:
            self._destroy(self.self)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not finalizing():  # at exit, nothing is left that a destroy could be called with
            self.close()
