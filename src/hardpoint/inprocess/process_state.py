"""Process state that loading a library may change: saved before, compared after, and put back or at least named.

Only the handlers of signals that are caught are asked for one by one: of the others, proc(5)'s status says all.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc, libm
from ..fields import Fields
from . import process_values, system_calls
from .process_values import CANNOT

if TYPE_CHECKING:
    from .process_values import Environment
    from .system_calls import Answers

_floating = ffi.new("char[64]")  # fenv_t has 32 bytes on x86-64, 8 on AArch64
_floating_bytes = ffi.buffer(_floating)
_LC_ALL = 6
_CAUGHT_IGNORED = (b"SigCgt", b"SigIgn")
_X86 = os.uname().machine == "x86_64"
FLOATING, HANDLER = "the floating-point mode", "the handler of signal"
BY_GO = (HANDLER, "the limit RLIMIT_NOFILE")
"""Starts of the names of what Go's runtime changes in every plugin."""


class State(Fields):
    """The state of the process; floating point, signal mask, name, affinity and niceness are this thread's."""

    floating: bytes
    status: bytes
    """The text of proc(5)'s status."""
    answers: Answers
    """Of system calls."""
    locale: bytes
    thread_locale: Any
    folder: str | None
    taken: float
    environment: Environment


def take() -> State:
    """Save the current state."""
    libm.fegetenv(_floating)
    status = process_values.read_status()
    return State(
        _floating_bytes[:], status, system_calls.read(process_values.caught(status)),
        ffi.string(libc.setlocale(_LC_ALL, ffi.NULL)), libc.uselocale(ffi.NULL), _folder(), time.monotonic(),
        process_values.read_environment(),
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
    differs = now.answers != before.answers
    if differs or was != is_:
        changed += _restore_handlers(before, now)
    if now.locale != before.locale:
        libc.setlocale(_LC_ALL, before.locale)
        changed.append("the locale")
    if differs and now.answers.root() != before.answers.root():
        changed.append("the root directory" + CANNOT)  # now paths lead elsewhere, and there may be no /proc
    elif now.folder != before.folder:
        changed.append("the working directory" + ("" if _enter(before.folder) else CANNOT))
    if now.environment != before.environment:
        changed += process_values.restore_environment(before.environment, now.environment)
    if now.thread_locale != before.thread_locale:
        libc.uselocale(before.thread_locale)
        changed.append("the locale of the thread")
    if differs:
        changed += system_calls.restore_limits(before.answers, now.answers)
        changed += system_calls.restore_timers(before.answers, now.answers, now.taken - before.taken)
        changed += system_calls.restore_streams(before.answers, now.answers)
    if was != is_:
        changed += process_values.restore_status(was, is_)
    if differs:  # after the user, with whom the dumpable attribute goes
        changed += system_calls.restore_values(before.answers, now.answers)
    return changed


def _modes(raw: bytes) -> bytes:
    """The control part of fenv_t; the rest is exception flags, which any computation sets."""
    if _X86:  # the x87 control word, and MXCSR without its six status bits
        return raw[:2] + bytes([raw[28] & 0xC0]) + raw[29:32]
    return raw[:4]  # AArch64: FPCR


def _restore_handlers(before: State, now: State) -> list[str]:
    was, is_ = (process_values.lines_of(status) for status in (before.status, now.status or before.status))
    caught, ignored = ([int(lines.get(key, b"0"), 16) for lines in (was, is_)] for key in _CAUGHT_IGNORED)
    others = caught[0] ^ caught[1] | ignored[0] ^ ignored[1]
    return [
        f"{HANDLER} {number}"
        for number in system_calls.restore_handlers(before.answers, now.answers, ignored[0], others)
    ]


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
