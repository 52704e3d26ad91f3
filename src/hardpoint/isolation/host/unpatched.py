"""The system's own threads, locks, waits and polls, also where gevent or eventlet put green ones in their place.

A call of an isolated plugin blocks its OS thread, as any call of C code does. The threads that hear of the ends of
workers and read their output go on meanwhile, so they cannot be green threads of the one that is blocked. Both packages
replace functions of `_thread`, `select`, `time` and `os`; they leave `posix` and `_socket` alone.
"""

from __future__ import annotations

import _thread
import errno
import os
import select
import sys
import time
from posix import posix_spawn, waitpid, write
from select import EPOLLIN, POLLIN, POLLOUT, POLLRDHUP
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EPOLLIN", "POLLIN", "POLLOUT", "POLLRDHUP", "RLock", "allocate_lock", "epoll", "is_main_interpreter", "poll", "posix_spawn",
    "replaced_by", "sleep", "start_thread", "waitpid", "write",
]  # fmt: skip


def _original(module: Any, name: str) -> Any:
    """A function of a module as Python made it, or else the one that is there; None if there is none."""
    if monkey := sys.modules.get("gevent.monkey"):
        return monkey.get_original(module.__name__, name)  # where nothing was patched, it is the module's
    if patcher := sys.modules.get("eventlet.patcher"):
        module = patcher.original(module.__name__)
    return getattr(module, name, None)


RLock = _original(_thread, "RLock")
allocate_lock = _original(_thread, "allocate_lock")
_start_new_thread = _original(_thread, "start_new_thread")
epoll, poll = _original(select, "epoll"), _original(select, "poll")
sleep = _original(time, "sleep")
_REAL = {"_thread", "select", "time"}


def start_thread(function: Callable[..., object], *arguments: object) -> None:
    """Start a thread. Raises OSError where there can be no more, as pthread_create(3); Python has RuntimeError."""
    try:
        _start_new_thread(function, arguments)
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error


def is_main_interpreter() -> bool:
    """False in a subinterpreter."""
    if asks := getattr(_thread, "_is_main_interpreter", None):  # from Python 3.12 on
        return bool(asks())
    try:
        import _xxsubinterpreters as interpreters  # type: ignore[import-not-found]
    except ImportError:  # not every Python 3.11 has it
        return True
    return bool(interpreters.get_current() == interpreters.get_main())


def replaced_by() -> str | None:
    """The package that replaced one of these functions, where the original is not to be had; None if none did."""
    for function in (RLock, allocate_lock, _start_new_thread, epoll, poll, sleep):
        module = getattr(function, "__module__", None) or type(function).__module__
        if module not in _REAL:
            return str(module).partition(".")[0]
    return None
