"""The calls that each worker of a pool has under way, and their turns where the plugin takes one at a time."""

from __future__ import annotations

from _thread import get_ident
from _weakref import ref
from collections import deque
from itertools import compress
from typing import TYPE_CHECKING, Any

from .lost import seconds_until
from .unpatched import RLock, allocate_lock

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable


class Claim:
    """A call's place in a worker, and its turn there, until the last reference to this is gone.

    Callbacks of weak references give both back, in C: a signal handler's exception can come neither between them nor
    instead of them. (In a `__del__` of Python, it would be printed and lost, and the turn with it.)
    """

    __slots__ = ("__weakref__", "number", "thread")

    number: int
    """The worker's, in its pool."""

    def __init__(self) -> None:
        self.thread = get_ident()


class NestedError(Exception):
    """The thread has a turn already, and waiting for another one could be for ever."""


class Claims:
    """The calls under way, by worker."""

    def __init__(self, workers: int, *, serial: bool) -> None:
        self._choosing = RLock()
        self._calls: list[set[ref[Claim]]] = [set() for _ in range(workers)]
        self._turns = [allocate_lock() for _ in range(workers)] if serial else []
        """Held by the one call that each worker of an HP_SERIAL plugin serves."""
        self._holders: list[deque[ref[Claim]]] = [deque(maxlen=1) for _ in self._turns]
        """Whose turn it is; here the references live, whose callbacks end the turns."""

    def counts(self) -> list[int]:
        """How many calls each worker has under way."""
        return [len(calls) for calls in self._calls]

    def _has_turn(self, thread: int) -> bool:
        # No name for the claims: a traceback may keep this frame alive.
        return any(getattr(held(), "thread", 0) == thread for holder in self._holders for held in [*holder])

    def take(self, is_running: Callable[[int], bool], deadline: int) -> Claim | None:
        """Claim the worker with the fewest calls under way; among several, one that is running.

        Of an HP_SERIAL plugin, each serves one call at a time: wait for its turn. None if that takes too long. Raises
        NestedError within a call of the same thread.
        """
        if self._has_turn(get_ident()):
            raise NestedError
        claim: Any = Claim()
        try:
            try:
                self._choosing.acquire()
                number = min(range(len(self._calls)), key=lambda each: (len(self._calls[each]), not is_running(each)))
                calls = self._calls[number]
                calls.add(ref(claim, calls.discard))
            finally:
                # A signal handler must not be able to raise between taking and releasing it; see binding/guard.py.
                try:  # noqa: SIM105 - as there
                    self._choosing.release()
                except RuntimeError:
                    pass
            claim.number = number
            if self._turns:
                turn, holder = self._turns[number], self._holders[number]
                # In one call of C code: the lock is taken, and the reference that will release it is stored.
                taken = map(turn.acquire, (True,), (seconds_until(deadline),))
                holder.extend(map(ref, compress((claim,), taken), (turn.__exit__,)))
                if not holder or holder[0]() is not claim:
                    return None
            return claim  # type: ignore[no-any-return]
        finally:
            claim = None  # a traceback may keep this frame alive
