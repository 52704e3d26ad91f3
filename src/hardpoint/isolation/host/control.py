"""The socket to a worker: what it has to do, with descriptors; and its one message, about the sandbox.

See isolation/channel/_channel.h.
"""

from __future__ import annotations

import _socket
from struct import Struct
from time import monotonic_ns
from typing import TYPE_CHECKING

from .lost import GoneError, LateError, MalformedError
from .unpatched import POLLOUT, RLock, poll

if TYPE_CHECKING:
    from .connection import Room

_MESSAGE = Struct("=IIQQQ")  # kind, half, room, size of the recipe
_APPLIED = Struct("=IiiI")
_APPLIED_BITS, _MOST_ERRNO = 0b111, 4095
_SLICE = 100
"""Milliseconds of a wait for a worker that does not read; `close` may come from another thread meanwhile."""


class Control:
    """One end of the socket; the worker ends when it is closed."""

    def __init__(self, sock: _socket.socket) -> None:
        self._sock = sock
        self._lock = RLock()
        self._is_closed = False

    def send(self, kind: int, room: Room, size: int, fds: tuple[int, ...], deadline: int) -> None:
        """Send a message. A worker that does not read would block it for ever: it waits without the lock of `close`.

        Raises GoneError if the worker is dead, LateError at the deadline.
        """
        data = _MESSAGE.pack(kind, 0, room.half, room.text, size)
        descriptors = b"".join(fd.to_bytes(4, "little") for fd in fds)
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, descriptors)] if fds else []
        while True:
            with self._lock:
                if self._is_closed:
                    raise GoneError
                waiting = poll()
                waiting.register(self._sock, POLLOUT)
                try:
                    self._sock.sendmsg([data], ancillary, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise GoneError from error
                else:
                    return
            left = (deadline - monotonic_ns()) // 1_000_000
            if left <= 0:
                raise LateError
            waiting.poll(min(left, _SLICE))

    def applied(self) -> tuple[int, int, int]:
        """The APPLIED_* bits, and errno of Landlock and seccomp. It was sent before any code of the plugin ran."""
        try:
            data = self._sock.recv(_APPLIED.size + 1, _socket.MSG_DONTWAIT)
        except (BlockingIOError, ConnectionResetError):
            data = b""
        bits, landlock, seccomp, _ = _APPLIED.unpack(data) if len(data) == _APPLIED.size else (-1, 0, 0, 0)
        if not 0 <= bits <= _APPLIED_BITS or not all(0 <= each <= _MOST_ERRNO for each in (landlock, seccomp)):
            raise MalformedError("no report of its sandbox")
        return bits, landlock, seccomp

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._is_closed = True
            self._sock.close()
