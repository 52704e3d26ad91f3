"""Process state that loading a library may change: floating point, signal handlers, locale, working directory."""

from __future__ import annotations

import os
from typing import Any

from ..ffi.libc import ffi, libc, libm
from ..fields import Fields

_FENV_SIZE = 64  # fenv_t has 32 bytes on x86-64, 8 on AArch64
_SIGACTION = 19  # words in struct sigaction on both: handler, mask (16 words, of which 1 is used), flags, restorer
_SIGNALS = tuple(number for number in range(1, 32) if number not in {9, 19})  # SIGKILL and SIGSTOP cannot be changed
_ACTIONS = tuple((number, _SIGACTION * index) for index, number in enumerate(_SIGNALS))
_LC_ALL = 6
_X86 = os.uname().machine == "x86_64"
FLOATING, HANDLER = "the floating-point mode", "the handler of signal"


class State(Fields):
    """The state of the process; floating point is this thread's."""

    floating: Any
    signals: Any
    locale: bytes
    folder: str | None


def take() -> State:
    """Save the current state."""
    floating = ffi.new("char[]", _FENV_SIZE)
    libm.fegetenv(floating)
    signals, sigaction, null = ffi.new("uint64_t[]", _SIGACTION * len(_SIGNALS)), libc.sigaction, ffi.NULL
    for number, at in _ACTIONS:
        sigaction(number, null, signals + at)
    return State(floating, signals, ffi.string(libc.setlocale(_LC_ALL, ffi.NULL)), _folder())


def restore(before: State) -> list[str]:
    """Restore the saved state; return the names of what had changed."""
    now, changed = take(), []
    if _modes(now.floating) != _modes(before.floating):
        libm.fesetenv(before.floating)
        changed.append(FLOATING)
    actions, actions_before = _actions(now.signals), _actions(before.signals)
    for index, (number, at) in enumerate(() if actions == actions_before else _ACTIONS):
        if any(is_[index] != was[index] for is_, was in zip(actions, actions_before, strict=True)):
            libc.sigaction(number, before.signals + at, ffi.NULL)
            changed.append(f"{HANDLER} {number}")
    if now.locale != before.locale:
        libc.setlocale(_LC_ALL, before.locale)
        changed.append("the locale")
    if now.folder != before.folder:
        changed.append("the working directory" + ("" if _enter(before.folder) else " (which cannot be put back)"))
    return changed


def _actions(signals: Any) -> list[list[int]]:
    """All handlers, masks and flags. The other words of a struct sigaction vary between calls."""
    words = memoryview(ffi.buffer(signals)).cast("Q")
    return [words[at::_SIGACTION].tolist() for at in (0, 1, 17)]


def _modes(floating: Any) -> bytes:
    """The control part of fenv_t; the rest is exception flags, which any computation sets."""
    raw: bytes = ffi.buffer(floating)[:]
    if _X86:  # the x87 control word, and MXCSR without its six status bits
        return raw[:2] + bytes([raw[28] & 0xC0]) + raw[29:32]
    return raw[:4]  # AArch64: FPCR


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
