"""What loading does."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from ...errors import HardpointWarning
from ...inprocess.process_state import HANDLER
from ..check import FailedError, SkippedError, WarnedError, check

if TYPE_CHECKING:
    from ..subject import Subject

_SLOW = 0.1
"""Seconds. The runtime of Go takes 10 milliseconds, and what a library of C takes is less than one."""


@check("load.opens", needs=("file.fits",))
def opens(subject: Subject) -> None:
    """The dynamic loader takes it, and what is in memory is what was in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HardpointWarning)
        _ = subject.opened


@check("load.state", needs=("load.opens",))
def state(subject: Subject) -> None:
    """Loading leaves floating point, signal handlers, locale and working directory alone."""
    _check_fresh(subject)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HardpointWarning)
        _ = subject.opened
    warning = next((each.message for each in caught if isinstance(each.message, HardpointWarning)), None)
    if warning is not None:
        # The runtime of Go has handlers of signals, and cannot be told not to; hosts go on with their own.
        only_handlers = all(each.startswith(HANDLER) for each in warning.changed)
        raise (WarnedError if only_handlers else FailedError)(str(warning))


@check("load.time", needs=("load.opens",))
def load_time(subject: Subject) -> str:
    """Loading takes less than a tenth of a second."""
    _check_fresh(subject)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HardpointWarning)
        start = time.perf_counter()
        _ = subject.opened
    taken = time.perf_counter() - start
    if taken > _SLOW:
        raise WarnedError(f"it took {taken:.2f} s, and every host pays that; do at the first call what takes long")
    return f"{taken * 1000:.1f} ms"


def _check_fresh(subject: Subject) -> None:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        if any(line.rstrip("\n").endswith(subject.path) for line in maps):
            raise SkippedError("the library is in this process already")
