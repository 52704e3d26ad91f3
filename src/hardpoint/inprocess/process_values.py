"""State of the process that is read and put back by a call for each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
from .process_status import CANNOT

if TYPE_CHECKING:
    from collections.abc import Callable

_STACK, _TERMIOS = 24, 64  # bytes of stack_t, and of the kernel's struct termios, which has 36
_TCGETS, _TCSETS = 0x5401, 0x5402
_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


_stack, _settings = ffi.new("char[]", _STACK), ffi.new("char[]", _TERMIOS)


def _alternate_stack() -> bytes:
    libc.sigaltstack(ffi.NULL, _stack)
    return ffi.buffer(_stack)[:]  # type: ignore[no-any-return]


def _terminal() -> bytes | None:
    """The settings of the terminal that stdin is (termios(3)); None if it is none."""
    return None if libc.ioctl(0, _TCGETS, _settings) < 0 else ffi.buffer(_settings)[:]


def _set_terminal(was: bytes | None) -> None:
    if was is not None:
        libc.ioctl(0, _TCSETS, ffi.from_buffer(was))


VALUES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "the niceness": (lambda: os.getpriority(0, 0), lambda was: os.setpriority(0, 0, was)),
    "the locale of the thread": (lambda: libc.uselocale(ffi.NULL), libc.uselocale),
    "the alternate signal stack": (_alternate_stack, lambda was: libc.sigaltstack(was, ffi.NULL)),
    "the settings of the terminal": (_terminal, _set_terminal),
    "the dumpable attribute": (
        lambda: libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0),
        lambda was: libc.prctl(_PR_SET_DUMPABLE, was, 0, 0, 0),
    ),
}
"""How each is read and put back; OSError if it can't be."""
_GETTERS = [get for get, _ in VALUES.values()]


def read() -> tuple[Any, ...]:
    """Read each."""
    return (*[get() for get in _GETTERS],)


def restore(before: tuple[Any, ...], now: tuple[Any, ...]) -> list[str]:
    """Put back what differs; return its names."""
    changed = []
    for (name, (get, put)), was, is_ in zip(VALUES.items(), before, now, strict=True):
        if was != is_:
            try:
                put(was)
            except OSError:
                changed.append(name + CANNOT)
            else:
                changed.append(name if get() == was else name + CANNOT)
    return changed
