"""Forks of this process: what is reset in the child, also where Python does not hear of the fork.

A program that embeds Python may fork without PyOS_AfterFork_Child, as uWSGI does without `py-call-osafterfork`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_process = [os.getpid()]
_resets: list[Callable[[], None]] = []


def in_child(reset: Callable[[], None]) -> None:
    """Have a function called in each forked child."""
    _resets.append(reset)
    os.register_at_fork(after_in_child=reset)


def notice() -> bool:
    """Reset everything in a child of which Python has not heard; True if this is one."""
    if _process[0] == os.getpid():
        return False
    for reset in _resets:
        reset()
    return True


def _keep() -> None:
    _process[0] = os.getpid()


in_child(_keep)
