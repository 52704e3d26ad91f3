"""Errors inside the host that mean a worker is lost, and deadlines. failures.py makes the errors that callers see."""

from __future__ import annotations

import os
from time import monotonic_ns


class GoneError(Exception):
    """The worker has ended, or was killed."""


class LateError(Exception):
    """The deadline passed."""


class MalformedError(Exception):
    """The worker sent an answer that cannot be one; the message says why."""


class NoThreadError(Exception):
    """The worker cannot start another thread, and has no channel that would become free; `errno` says why."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.errno = number


class QueuedError(Exception):
    """The deadline passed while waiting for a channel to become free."""


LOST = (GoneError, LateError, MalformedError)
FOREVER = (1 << 63) - 1
"""A deadline that never comes, in nanoseconds of CLOCK_MONOTONIC."""


def seconds_until(deadline: int) -> float:
    """The seconds until a deadline, as locks take them."""
    return min(max(0.0, (deadline - monotonic_ns()) / 1e9), 1e8)
