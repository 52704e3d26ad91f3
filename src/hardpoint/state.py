"""What loading a library must leave as it was: floating point, signal handlers, locale, working directory."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Any

from .libc import ffi, libc, libm
from .record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

_FENV_SIZE = 64  # fenv_t has 32 bytes on x86-64, 8 on AArch64
_SIGACTION = struct.Struct("<Q8s120xI12x")  # on both: the handler, 128 bytes of mask of which 8 are used, flags
_SIGNALS = tuple(number for number in range(1, 32) if number not in {9, 19})  # SIGKILL and SIGSTOP cannot be changed
_PLACES = tuple((number, _SIGACTION.size * index) for index, number in enumerate(_SIGNALS))
_LC_ALL = 6
FLOATING = "the floating-point mode"


class State(Record):
    """The state of the process, and for floating point of this thread."""

    floating: Any
    signals: Any
    locale: bytes
    folder: str | None


def take() -> State:
    """The state as it is now."""
    floating = ffi.new("char[]", _FENV_SIZE)
    libm.fegetenv(floating)
    signals, sigaction, null = ffi.new("char[]", _SIGACTION.size * len(_SIGNALS)), libc.sigaction, ffi.NULL
    for number, at in _PLACES:
        sigaction(number, null, signals + at)
    return State(floating, signals, ffi.string(libc.setlocale(_LC_ALL, ffi.NULL)), _folder())


def restore(before: State) -> list[str]:
    """Put back what has changed since, and name it."""
    now, changed = take(), []
    if _modes(now.floating) != _modes(before.floating):
        libm.fesetenv(before.floating)
        changed.append(FLOATING)
    for (number, at), is_, was in zip(_PLACES, _actions(now.signals), _actions(before.signals), strict=True):
        if is_ != was:
            libc.sigaction(number, before.signals + at, ffi.NULL)
            changed.append(f"the handler of signal {number}")
    if now.locale != before.locale:
        libc.setlocale(_LC_ALL, before.locale)
        changed.append("the locale")
    if now.folder != before.folder:
        changed.append("the working directory" + ("" if _enter(before.folder) else " (which cannot be put back)"))
    return changed


def _actions(signals: Any) -> Iterator[tuple[Any, ...]]:
    """The parts of each struct sigaction that say something; what lies between is not always what was there before."""
    return _SIGACTION.iter_unpack(ffi.buffer(signals))


def _modes(floating: Any) -> bytes:
    """The part of fenv_t that is a mode; the rest is flags of what has happened."""
    raw: bytes = ffi.buffer(floating)[:]
    if os.uname().machine == "x86_64":  # the x87 control word, and MXCSR without its six status bits
        return raw[:2] + bytes([raw[28] & 0xC0]) + raw[29:32]
    return raw[:4]  # AArch64: FPCR


def _enter(folder: str | None) -> bool:
    try:
        os.chdir(folder or "")  # nowhere, if it was gone already
    except OSError:
        return False
    return True


def _folder() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None
