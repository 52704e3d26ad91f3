"""Descriptors that belong to an object from the system call on, and are closed with its last reference.

A signal handler's exception can come between any two bytecode instructions of the main thread, so also between a call
and the assignment of its result: a descriptor that is only a number would leak there. It can't come inside one call of
C code, such as `next` of a `map`.
"""

from __future__ import annotations

import _socket
import os
from functools import partial
from io import FileIO
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class _File(FileIO):
    """A file that is closed without a ResourceWarning.

    The garbage collector may finalize it before the object that would close it: in a cycle, no order is promised.
    """

    def __del__(self) -> None:
        self.close()


class _Socket(_socket.socket):
    """A socket that is closed without a ResourceWarning, for the same reason."""

    def __del__(self) -> None:
        self.close()


_SOCKET = partial(_Socket, -1, -1, -1)


def own(opens: Callable[..., int], *arguments: Any) -> FileIO:
    """Call a function in C that opens a descriptor."""
    return next(map(_File, map(opens, *zip(arguments))))


def own_socket(fd: int) -> _socket.socket:
    """Duplicate a socket's descriptor, as a blocking socket."""
    sock = next(map(_SOCKET, map(_socket.dup, (fd,))))
    sock.setblocking(True)  # socket.setdefaulttimeout would make it otherwise
    return sock


def own_sockets(first: _socket.socket, second: _socket.socket) -> tuple[_socket.socket, _socket.socket]:
    """Take the descriptors of two sockets."""
    first, second = map(_SOCKET, map(_socket.socket.detach, (first, second)))
    return first, second


def own_pair(opens: Callable[..., tuple[int, int]], *arguments: Any) -> tuple[FileIO, FileIO]:
    """Call a function in C that opens two descriptors."""
    first, second = map(_File, chain.from_iterable(map(opens, *zip(arguments))))
    return first, second


def close_from(first: int) -> None:
    """Close every descriptor from a number on.

    Without close_range(2), which needs Linux 5.9 and a Python built on glibc 2.34 or newer, os.closerange tries each
    number: so it is given the highest one that is open, not the highest one possible.
    """
    try:
        end = max(map(int, os.listdir("/proc/self/fd"))) + 1
    except OSError:  # no /proc
        end = min(os.sysconf("SC_OPEN_MAX"), 1 << 20)
    os.closerange(first, end)
