"""The host's hold on one worker: it is started, called, watched, ended; nothing that it sends is trusted."""

from __future__ import annotations

import os
import select
import signal
import _socket
import struct
import time
from _thread import RLock, allocate_lock
from contextlib import closing
from typing import TYPE_CHECKING, Any

from . import wire
from .shared import Shared
from .output import Output
from .spawner import pair

if TYPE_CHECKING:
    from .spawner import Spawner

_GRACE = 0.5
"""Seconds that a worker has to end by itself."""
_TIMEVAL = struct.Struct("@ll")


class Gone(Exception):
    """The worker is gone, or has to go; the message says why if that is not its exit status."""


class Connection:
    """One socket to a worker, whose calls one thread of it answers; used by one caller at a time."""

    __slots__ = ("buffer", "receive", "send", "shared", "sock", "view")

    def __init__(self, sock: _socket.socket, shared: Shared, timeout: float | None) -> None:
        set_timeout(sock, timeout)
        self.sock = sock
        self.shared = shared
        self.buffer = wire.buffer()
        self.view = memoryview(self.buffer)
        self.send, self.receive = sock.send, sock.recv_into

    def close(self) -> None:
        """Give it up; the thread of the worker ends with it."""
        self.sock.close()
        self.shared.close()


class Worker:
    """One worker process."""

    def __init__(self, spawner: Spawner, name: str, library: int, timeout: float | None) -> None:
        self._timeout = timeout
        self._lock = RLock()
        self.free: list[Connection] = []
        """Connections that no call has; taking one out of a list is atomic."""
        self._pidfd = -1
        self._ended = allocate_lock()
        self._ended.acquire()
        self.status: int | None = None
        """How it ended, as waitpid(2) says it; None while it runs, or if nobody could tell."""
        self.was_killed = False
        """It did not end by itself."""
        self.calls = 0
        """How many are under way."""
        self.output = Output(name)
        self._control, theirs = pair()
        with closing(theirs):
            try:
                self.pid, self._pidfd = spawner.fork(self, theirs.fileno(), library, *self.output.theirs)
            finally:
                self.output.passed_on()
        spawner.reader.add(self.output)
        set_timeout(self._control, timeout)

    def load(self, request: list[Any]) -> Any:
        """Have it load the plugin; its answer. BlockingIOError if that takes too long; Gone, OSError or FrameError if there is none."""
        wire.send(self._control, request)
        answer, _ = wire.receive(self._control)
        if answer is None:
            raise Gone
        if type(answer) is not list or [type(each) for each in answer] != [int, list, list, str]:
            raise wire.FrameError("an answer of another shape")
        return answer

    def connect(self) -> Connection:
        """A connection for one call at a time. Gone if the worker is."""
        mine, theirs = pair()
        shared = Shared.make()
        try:
            with closing(theirs), self._lock:
                wire.send(self._control, 0, (theirs.fileno(), shared.fd))
        except OSError as error:
            mine.close()
            shared.close()
            raise Gone from error
        return Connection(mine, shared, self._timeout)

    def give(self, connection: Connection) -> None:
        """Take a connection back for the next call."""
        if self._pidfd < 0 or connection.shared.is_large:
            connection.close()
        else:
            self.free.append(connection)

    def kill(self) -> None:
        """End it now, and let go of it."""
        with self._lock:
            if self._pidfd >= 0:
                self.was_killed = self.status is None
                try:
                    signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                except ProcessLookupError:
                    pass
                os.close(self._pidfd)
                self._pidfd = -1
        self._control.close()
        while self.free:
            self.free.pop().close()

    def end(self) -> bool:
        """Have it end its instance and then itself; False if it took longer than a moment, and was killed."""
        try:
            with self._lock:
                self._control.setblocking(False)
                wire.send(self._control, 0)
            poll = select.poll()
            poll.register(self._pidfd, select.POLLIN)
            in_time = bool(poll.poll(_GRACE * 1000))
        except OSError:  # it is gone already, or does not read
            in_time = False
        self.kill()
        return in_time

    def wait(self, seconds: float = 1.0) -> int | None:
        """How it ended; it is dead or dying. None if that cannot be found out in that time."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()
            self.output.ended.wait(0.2)  # a process that it left behind may still hold the pipe
        return self.status

    def has_ended(self, status: int | None) -> None:
        """The spawner's word for it."""
        self.status = status
        self._ended.release()


def set_timeout(sock: _socket.socket, seconds: float | None) -> None:
    """Have the kernel end a wait on the socket; Python's own timeouts cost a poll and a microsecond for each call."""
    if seconds is not None:
        whole, part = divmod(max(round(seconds * 1e6), 1), 1_000_000)
        for option in (_socket.SO_RCVTIMEO, _socket.SO_SNDTIMEO):
            sock.setsockopt(_socket.SOL_SOCKET, option, _TIMEVAL.pack(whole, part))
