"""Busy-waiting for a frame: between two cores, waking the other one is most of a round trip.

A core that sleeps takes some 40 µs to wake up, and a call of a quick method waits for that twice. So while frames have
been coming within such a time, a receive polls for the next one before it sleeps, for at most _SPIN seconds, yielding
the core to others. Where polling does not pay (on one core, for slow methods, between rare calls) it stops at once.
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
"""Seconds of polling; after a longer sleep, polling would not have paid."""
_PROMPT = 25e-6
"""Seconds; after a shorter sleep, both sides are on one core, where the other side needs it to answer."""
_TRUST = 64
"""Frames received by polling before a sleep is timed again, to see if it would do as well."""
_REST = 4
"""Sleeps that are not timed after one that spoke against polling: timing takes 0.5 µs."""
_MOST = 64
"""The most of them: after each vain poll there are four times as many as before."""


def eager(sock: _socket.socket, sleep: Callable[[Any], int]) -> Callable[[Any], int]:
    """Make a recv_into that polls while that pays, and else calls `sleep`, which receives into a buffer too."""
    if os.cpu_count() == 1:  # not sched_getaffinity: it can change, and the other side has its own
        return sleep
    receive_into, yield_core = sock.recv_into, os.sched_yield
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
                yield_core()
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
