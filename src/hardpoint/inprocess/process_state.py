"""Process state that loading a library may change: saved before, compared after, and put back or at least named.

Only the handlers of signals that are caught are asked for one by one, as sigaction(2) takes 1 us: of the others,
proc(5)'s status says all.
"""

from __future__ import annotations

import os
import time
from _signal import getitimer, setitimer  # type: ignore[import-not-found]  # pyright: ignore[reportMissingImports]
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc, libm
from ..fields import Fields
from . import process_values
from .process_values import CANNOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from .process_values import Environment

    _Stream: TypeAlias = tuple[int, int, bool] | None

_floating = ffi.new("char[64]")  # fenv_t has 32 bytes on x86-64, 8 on AArch64
# struct sigaction has 19 words on both: handler, mask (16 words, of which 1 is used), flags, restorer
_SIGCHLD, _LC_ALL = 17, 6
_INTERNAL = 3 << 31
"""Signals 32 and 33, which glibc keeps to itself."""
_FLAGS = 0xFFFFFFFF & ~0x04000000  # without SA_RESTORER, which sigaction(2) adds
_CAUGHT_IGNORED = (b"SigCgt", b"SigIgn")
_X86 = os.uname().machine == "x86_64"
_LIMITS = {"CPU": 0, "FSIZE": 1, "NOFILE": 7, "AS": 9}
"""Those that end a host or fail what it does, with their numbers. Importing the module resource would take 0.5 ms."""
_TIMERS = {"ITIMER_REAL": 0, "ITIMER_VIRTUAL": 1, "ITIMER_PROF": 2}
_ROUNDED = 0.1
"""Seconds; the kernel rounds timers up to its ticks."""
FLOATING, HANDLER = "the floating-point mode", "the handler of signal"
BY_GO = (HANDLER, "the limit RLIMIT_NOFILE")
"""Starts of the names of what Go's runtime changes in every plugin."""


class State(Fields):
    """The state of the process; floating point, signal mask, name, affinity and niceness are this thread's."""

    floating: bytes
    status: bytes
    """The text of proc(5)'s status."""
    handlers: dict[int, tuple[int, int, int]]
    """Handler, mask and flags of each signal that is caught. Other words of a struct sigaction vary between calls."""
    locale: bytes
    root: tuple[int, int]
    """Device and inode of the root directory."""
    folder: str | None
    limits: bytes
    """Soft and hard limit of each of _LIMITS."""
    timers: tuple[tuple[float, float], ...]
    """Seconds left, and the interval, of each."""
    taken: float
    environment: Environment
    streams: tuple[_Stream, ...]
    """Device, inode and blocking mode of stdin, stdout and stderr; None for one that is closed."""
    values: tuple[Any, ...]
    """Of process_values."""


def take() -> State:
    """Save the current state."""
    libm.fegetenv(_floating)
    status, root = process_values.read_status(), os.stat("/")
    return State(
        ffi.buffer(_floating)[:], status, _handlers(process_values.caught(status)),
        ffi.string(libc.setlocale(_LC_ALL, ffi.NULL)), (root.st_dev, root.st_ino), _folder(), _limits(),
        (getitimer(0), getitimer(1), getitimer(2)),
        time.monotonic(), process_values.read_environment(), (_stream(0), _stream(1), _stream(2)), process_values.read_values(),
    )  # fmt: skip


def restore(before: State) -> list[str]:
    """Restore the saved state; return the names of what had changed."""
    now, changed = take(), []
    if now.floating != before.floating and _modes(now.floating) != _modes(before.floating):
        libm.fesetenv(ffi.from_buffer(before.floating))
        changed.append(FLOATING)
    was = is_ = dict[bytes, bytes]()
    if now.status and not process_values.is_same(before.status, now.status):
        was, is_ = process_values.lines_of(before.status), process_values.lines_of(now.status)
    if now.handlers != before.handlers or any(is_.get(key) != was.get(key) for key in _CAUGHT_IGNORED):
        changed += _restore_handlers(before, now)
    if now.locale != before.locale:
        libc.setlocale(_LC_ALL, before.locale)
        changed.append("the locale")
    if now.root != before.root:
        changed.append("the root directory" + CANNOT)  # now paths lead elsewhere, and there may be no /proc
    elif now.folder != before.folder:
        changed.append("the working directory" + ("" if _enter(before.folder) else CANNOT))
    if now.limits != before.limits:
        changed += _restore_limits(*(memoryview(limits).cast("Q").tolist() for limits in (before.limits, now.limits)))
    if now.timers != before.timers:
        changed += _restore_timers(before, now)
    if now.environment != before.environment:
        changed += process_values.restore_environment(before.environment, now.environment)
    if now.streams != before.streams:
        changed += _restore_streams(before.streams, now.streams)
    if was != is_:
        changed += process_values.restore_status(was, is_)
    if now.values != before.values:  # after the user, with whom the dumpable attribute goes
        changed += process_values.restore_values(before.values, now.values)
    return changed


# -- floating point, signals -------------------------------------------------------------------------------------------


def _modes(raw: bytes) -> bytes:
    """The control part of fenv_t; the rest is exception flags, which any computation sets."""
    if _X86:  # the x87 control word, and MXCSR without its six status bits
        return raw[:2] + bytes([raw[28] & 0xC0]) + raw[29:32]
    return raw[:4]  # AArch64: FPCR


def _signals(mask: int) -> Iterator[int]:
    while mask:
        number = (mask & -mask).bit_length()
        yield number
        mask &= mask - 1


_numbers: dict[int, list[int]] = {}
"""Signals by their masks, of which a process has few."""


_action = ffi.new("uint64_t[19]")


def _handlers(caught: int) -> dict[int, tuple[int, int, int]]:
    """Handler, mask and flags of caught signals; of SIGCHLD always, as its flags count without a handler."""
    found = {}
    mask = caught & ~_INTERNAL | 1 << _SIGCHLD - 1
    numbers = _numbers.get(mask)
    if numbers is None:
        numbers = _numbers[mask] = [*_signals(mask)]
    for number in numbers:
        libc.sigaction(number, ffi.NULL, _action)
        found[number] = (_action[0], _action[1], _action[17] & _FLAGS)
    return found


def _restore_handlers(before: State, now: State) -> list[str]:
    was, is_ = before.handlers, now.handlers
    different = {number for number in was.keys() & is_.keys() if was[number] != is_[number]}
    lines = [process_values.lines_of(status) for status in (before.status, now.status or before.status)]
    for key in _CAUGHT_IGNORED:
        masks = [int(each.get(key, b"0"), 16) & ~_INTERNAL for each in lines]
        different.update(_signals(masks[0] ^ masks[1]))
    for number in sorted(different):
        handler, mask, flags = was.get(number, (int(lines[0][b"SigIgn"], 16) >> number - 1 & 1, 0, 0))  # SIG_IGN is 1
        action = ffi.new("uint64_t[19]", [handler, mask, *[0] * 15, flags])
        libc.sigaction(number, action, ffi.NULL)
    return [f"{HANDLER} {number}" for number in sorted(different)]


# -- limits, timers, streams -------------------------------------------------------------------------------------------


_scratch = ffi.new("uint64_t[]", 2 * len(_LIMITS))
_slots = [ffi.cast("void *", _scratch + 2 * index) for index in range(len(_LIMITS))]
_limit_numbers = (*_LIMITS.values(),)


def _limits() -> bytes:
    any(map(libc.getrlimit, _limit_numbers, _slots))  # each returns 0
    return ffi.buffer(_scratch)[:]  # type: ignore[no-any-return]


def _restore_limits(before: list[int], now: list[int]) -> list[str]:
    changed = []
    for index, (name, number) in enumerate(_LIMITS.items()):
        was = before[2 * index : 2 * index + 2]
        if was != now[2 * index : 2 * index + 2]:
            failed = libc.setrlimit(number, ffi.new("uint64_t[2]", was))  # a hard one takes CAP_SYS_RESOURCE to raise
            changed.append(f"the limit RLIMIT_{name}{CANNOT if failed else ''}")
    return changed


def _restore_timers(before: State, now: State) -> list[str]:
    elapsed, changed = now.taken - before.taken, []
    for (name, which), (left, interval), (left_now, interval_now) in zip(
        _TIMERS.items(), before.timers, now.timers, strict=True
    ):
        expired = left and not left_now and not interval and left <= elapsed
        if (
            interval != interval_now
            or (bool(left) != bool(left_now) and not expired)
            or left_now > max(left, interval) + _ROUNDED
        ):
            setitimer(which, max(left - elapsed, 1e-6) if left else 0.0, interval)
            changed.append(f"the timer {name}")
    return changed


def _stream(number: int) -> _Stream:
    try:
        status = os.fstat(number)
        return status.st_dev, status.st_ino, os.get_blocking(number)
    except OSError:
        return None


def _restore_streams(before: tuple[_Stream, ...], now: tuple[_Stream, ...]) -> list[str]:
    changed = []
    for number, (was, is_) in enumerate(zip(before, now, strict=True)):
        if was != is_:
            name = f"descriptor {number} ({('stdin', 'stdout', 'stderr')[number]})"
            if was is None or is_ is None or was[:2] != is_[:2]:
                name += CANNOT
            else:
                os.set_blocking(number, was[2])
            changed.append(name)
    return changed


def _enter(folder: str | None) -> bool:
    try:
        os.chdir(folder or "")  # fails if the folder was gone already
    except OSError:
        return False
    return True


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None
