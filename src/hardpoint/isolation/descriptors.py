"""Descriptors that belong to an object from the system call on, and are closed with its last reference.

A signal handler's exception can come between any two bytecode instructions of the main thread, so also between a call
and the assignment of its result: a descriptor that is only a number would leak there. It can't come inside one call of
C code, such as `next` of a `map`.
"""

from __future__ import annotations

import _socket
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


def own_socketpair(kind: int) -> tuple[_socket.socket, _socket.socket]:
    """Make two connected Unix sockets, which block."""
    ends = own_sockets(*_socket.socketpair(_socket.AF_UNIX, kind))
    for end in ends:
        end.setblocking(True)  # socket.setdefaulttimeout would make it otherwise, for the other process as well
    return ends


def own_sockets(first: _socket.socket, second: _socket.socket) -> tuple[_socket.socket, _socket.socket]:
    """Take the descriptors of two sockets."""
    first, second = map(_SOCKET, map(_socket.socket.detach, (first, second)))
    return first, second


def own_pair(opens: Callable[..., tuple[int, int]], *arguments: Any) -> tuple[FileIO, FileIO]:
    """Call a function in C that opens two descriptors."""
    first, second = map(_File, chain.from_iterable(map(opens, *zip(arguments))))
    return first, second
