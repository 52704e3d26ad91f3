"""Loading the library: it opens, leaves the process state alone, and is fast."""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

from ...elf.integrity import examine
from ...elf.relocations import NOWHERE
from ...errors import HardpointWarning
from ...file import open_library
from ...inprocess.process_state import HANDLER
from ...preflight.checks import require_fit
from ..check import FailedError, SkippedError, WarnedError, check

if TYPE_CHECKING:
    from ..subject import Subject

_SLOW = 0.1
"""Seconds. The Go runtime takes 10 milliseconds, a library in C less than one."""
_UNTOUCHED = -2
"""A word that no relocation fills."""


@check("load.opens", needs=("file.fits",))
def opens(subject: Subject) -> None:
    """The dynamic loader opens it, and its vtable in memory is the one in the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HardpointWarning)
        _ = subject.opened


@check("load.vtable", needs=("load.opens",))
def vtable(subject: Subject) -> None:
    """Code that runs while it is loaded leaves the vtable as it is in the file."""
    live = subject.vtable_words()
    with open_library(subject.path) as file:
        fit = require_fit(file, subject.contract)
        filled, address = examine(fit.elf), fit.vtable.address
        written = fit.elf.read_at(address, fit.vtable.size, subject.contract.symbol)
    base, changed = subject.opened.library.base, list[str]()
    for index, (name, word) in enumerate(live.items()):
        target = filled.get(address + 8 * index, _UNTOUCHED)
        if target is None:  # the address of another library's function
            continue
        expected = 0 if target == NOWHERE else base + target
        if target == _UNTOUCHED:
            expected = int.from_bytes(written[8 * index : 8 * index + 8], "little")
        if word != expected:
            changed.append(name)
    if changed:
        raise FailedError(f"code that ran while it was loaded changed {', '.join(changed)} in the vtable, a constant")


@check("load.state", needs=("load.opens",))
def state(subject: Subject) -> None:
    """Loading does not change floating-point mode, signal handlers, locale or working directory."""
    _check_fresh(subject)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", HardpointWarning)
        _ = subject.opened
    warning = next((each.message for each in caught if isinstance(each.message, HardpointWarning)), None)
    if warning is not None:
        # The Go runtime always installs signal handlers; the loader restores the host's.
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
        raise WarnedError(f"it took {taken:.2f} s, and every host pays that; do slow work at the first call")
    return f"{taken * 1000:.1f} ms"


def _check_fresh(subject: Subject) -> None:
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        if any(line.rstrip("\n").endswith(subject.path) for line in maps):
            raise SkippedError("the library is in this process already")
