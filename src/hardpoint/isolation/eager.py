"""Waiting for a frame without sleep: between two cores, waking the other one is most of a round trip.

A core that sleeps takes some 40 µs to come back, and a call of a quick method has that twice. So a receive that has seen
frames come within such a time looks for the next one before it sleeps: for _SPIN at most, giving way to whoever else
wants the core. Where it does not pay (on one core, for slow methods, between rare calls) it is given up at once.
"""

from __future__ import annotations

import os
from _socket import MSG_DONTWAIT
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

_SPIN = 100e-6
"""Seconds that are spent looking; a sleep that was longer says that looking would not have paid."""
_PROMPT = 25e-6
"""Seconds: a shorter sleep says that both are on one core, where the other side has to be let run."""
_TRUST = 64
"""Frames that came in time before it is seen again whether sleep would do as well."""
_REST = 4
"""Sleeps that are not timed, after one that did not speak for looking: to time one takes half a microsecond."""
_MOST = 64
"""The most of them after looking in vain several times in a row: four times as many each time."""


def eager(sock: _socket.socket, sleep: Callable[[Any], int]) -> Callable[[Any], int]:
    """`sleep`, which receives from the socket into a buffer, with a look beforehand while that pays."""
    if os.cpu_count() == 1:  # not sched_getaffinity: it may change, and the other side's is another
        return sleep
    receive_into, give_way = sock.recv_into, os.sched_yield
    trust, rest, vain = 0, 0, _REST

    def receive(buffer: Any) -> int:
        nonlocal trust, rest, vain
        if rest:
            rest -= 1
            return sleep(buffer)
        start = perf_counter()
        while trust:
            try:
                size = receive_into(buffer, 0, MSG_DONTWAIT)
            except BlockingIOError:
                if perf_counter() - start > _SPIN:
                    trust, rest, vain = 0, vain, min(4 * vain, _MOST)
                    return sleep(buffer)
                give_way()
            else:
                trust -= 1
                if not trust:
                    vain = _REST
                return size
        size = sleep(buffer)
        if _PROMPT < perf_counter() - start < _SPIN:
            trust = _TRUST
        else:
            rest = _REST
        return size

    return receive
