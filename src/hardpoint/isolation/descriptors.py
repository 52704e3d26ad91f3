"""Descriptors that are an object's from the system call on, which closes them with its last reference.

A handler of a signal can raise between any two steps of Python's, so also between a call and the assignment of what it
gave: a number would be lost there. It cannot within one step, however much in C that does.
"""

from __future__ import annotations

import _socket
import array
import os
from functools import partial
from io import FileIO
from itertools import chain, repeat
from operator import call, itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_FILE_AND_SOCKET = (FileIO, partial(_socket.socket, -1, -1, -1))
_call: Any = call  # for both type checkers, it takes nothing that map could give it


def own(opens: Callable[..., int], *arguments: Any) -> FileIO:
    """What a function in C opens."""
    return next(map(FileIO, map(opens, *zip(arguments))))


def own_pair(opens: Callable[..., tuple[int, int]], *arguments: Any) -> tuple[FileIO, FileIO]:
    """What a function in C opens that gives two."""
    first, second = map(FileIO, chain.from_iterable(map(opens, *zip(arguments))))
    return first, second


def own_passed(sock: _socket.socket) -> list[Any]:
    """A file and a socket, if they come with the next frame; what else is in the frame has been looked at."""
    frames = map(sock.recvmsg, (1,), (_socket.CMSG_SPACE(8),), (_socket.MSG_CMSG_CLOEXEC,))
    rights = map(itemgetter(2), chain.from_iterable(map(itemgetter(1), frames)))
    return list(map(_call, _FILE_AND_SOCKET, chain.from_iterable(map(array.array, repeat("i"), rights))))


def close_from(first: int) -> None:
    """Close every descriptor from a number on.

    Without close_range(2), which needs Linux 5.9 and a Python that was built on glibc 2.34 or newer, os.closerange tries
    each number: it is not given more of them than there are.
    """
    os.closerange(first, max(map(int, os.listdir("/proc/self/fd"))) + 1)
