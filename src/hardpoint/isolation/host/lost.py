"""Errors inside the host that mean a worker is lost; failures.py makes the ones that callers see of them."""

from __future__ import annotations


class GoneError(Exception):
    """The worker has ended, or was killed."""


class LateError(Exception):
    """The deadline passed."""


class MalformedError(Exception):
    """The worker sent an answer that cannot be one; the message says why."""


LOST = (GoneError, LateError, MalformedError)
FOREVER = (1 << 63) - 1
"""A deadline that never comes, in nanoseconds of CLOCK_MONOTONIC."""
