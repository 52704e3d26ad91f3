"""Loading the library: it opens, leaves the process state alone, writes nothing, and is fast."""

from __future__ import annotations

import ctypes
import os
import sys
import time
import warnings
from collections import Counter
from typing import TYPE_CHECKING

from ...errors import HardpointWarning
from ...inprocess.process_state import BY_GO
from ..check import FailedError, SkippedError, WarnedError, check
from ..process_details import details, left

if TYPE_CHECKING:
    from ..subject import Subject

_SLOW = 0.1
"""Seconds. The Go runtime takes 10 milliseconds, a library in C less than one."""


@check("load.opens", needs=("file.fits",))
def opens(subject: Subject) -> None:
    """The dynamic loader opens it, and its vtable in memory is the one in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HardpointWarning)
        _ = subject.opened


@check("load.state", needs=("load.opens",))
def state(subject: Subject) -> None:
    """Loading leaves the process as it was: signals, limits, timers, environment, streams, locale and more."""
    _check_fresh(subject)
    details_before, left_before = details(), left()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HardpointWarning)
        _ = subject.opened
    details_now, left_now = details(), left()
    warning = next((each.message for each in caught if isinstance(each.message, HardpointWarning)), None)
    changed = [name for name, value in details_before.items() if details_now.get(name) != value]
    faults = [str(warning)] if warning is not None else []
    if changed:
        faults.append(f"loading changed {', '.join(changed)} of the process; start-up code should leave it alone")
    if faults:
        by_go = not changed and warning is not None and all(each.startswith(BY_GO) for each in warning.changed)
        raise (WarnedError if by_go else FailedError)("\n".join(faults))  # Go does that in each, and it was put back
    for what, before in left_before.items():
        more = Counter(left_now[what]) - Counter(before)
        if more:
            raise WarnedError(f"loading left {what}: {', '.join(more)}; do that in create, and undo it in destroy")


@check("load.silent", needs=("load.opens",))
def silent(subject: Subject) -> None:
    """Loading writes nothing to stdout or stderr."""
    _check_fresh(subject)
    _flush()
    written = {name: os.memfd_create(f"hardpoint-{name}", os.MFD_CLOEXEC) for name in ("stdout", "stderr")}
    kept = [os.dup(1), os.dup(2)]
    try:
        for number, fd in enumerate(written.values(), start=1):
            os.dup2(fd, number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HardpointWarning)
            _ = subject.opened
        _flush()
    finally:
        for number, fd in enumerate(kept, start=1):
            os.dup2(fd, number)
            os.close(fd)
    found = {name: os.pread(fd, 200, 0).decode(errors="replace") for name, fd in written.items()}
    for fd in written.values():
        os.close(fd)
    for name, text in found.items():
        if text:
            raise FailedError(
                f"it wrote {text!r} to {name}; a plugin writes nothing there: use hp_log, in create or later"
            )


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    ctypes.CDLL(None).fflush(None)


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
        raise WarnedError(f"it took {taken:.2f} s, and every host pays that; do slow work at the first call")
    return f"{taken * 1000:.1f} ms"


def _check_fresh(subject: Subject) -> None:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        if any(line.rstrip("\n").endswith(subject.path) for line in maps):
            raise SkippedError("the library is in this process already")
