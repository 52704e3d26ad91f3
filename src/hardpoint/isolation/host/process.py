"""The host's hold on one worker: it is started, called, watched, ended; nothing that it sends is trusted."""

from __future__ import annotations

import _socket
import os
import select
import signal
import sys
import time
from _thread import RLock, allocate_lock
from contextlib import closing, suppress
from math import ceil
from typing import TYPE_CHECKING, Any

from .. import wire
from ..eager import eager
from ..shared import Shared, memory
from . import spawner
from .output import Output, reader
from .spawner import is_readable

if TYPE_CHECKING:
    from collections.abc import Callable


class GoneError(Exception):
    """The worker is gone, or has to go; the message says why if that is not its exit status."""


inherited: list[Any] = []
"""What a forked child has of its parent and never closes: it may have done so before, and others have the numbers."""


class Connection:
    """One socket to a worker, whose calls one thread of it answers; used by one caller at a time."""

    __slots__ = ("buffer", "receive", "send", "shared", "sock", "view")

    def __init__(self, sock: _socket.socket, shared: Shared, timeout: float | None) -> None:
        self.sock = sock
        self.shared = shared
        self.buffer = wire.buffer()
        self.view = memoryview(self.buffer)
        self.send = sock.send
        self.receive = eager(sock, sock.recv_into if timeout is None else _in_time(sock, timeout))

    def close(self) -> None:
        """Give it up; the thread of the worker ends with it."""
        self.sock.close()
        self.shared.close()


class Worker:
    """One worker process."""

    def __init__(self, name: str, timeout: float | None) -> None:
        self._timeout = timeout
        self._host = os.getpid()
        self._lock = RLock()
        self.free: list[Connection] = []
        """Connections that no call has; taking one out of a list is atomic."""
        self._ended = allocate_lock()
        self._ended.acquire()
        self.status: int | None = None
        """How it ended, as waitpid(2) says it; None while it runs, or if nobody could tell."""
        self.was_killed = False
        """It did not end by itself."""
        self.is_orphan = False
        """It ended since the process that forked it did."""
        self.killed_for = ""
        """Why, for the calls of other threads."""
        reads = reader()
        self.output = Output(name)
        try:
            self.pid, self._pidfd, self._control = spawner.fork(self)
        except BaseException:
            self.output.close()
            self.output.passed_on()
            raise
        reads.add(self.output)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_control"):
            return
        if finalizing():  # nothing is left to kill it with, and it ends by itself
            self._let_go()
        elif self._host != os.getpid():
            inherited.append(self.__dict__)
        else:  # a signal's handler came between, and nobody else does it
            self.kill()

    def load(self, library: int, request: list[Any], config: bytes | None) -> Any:
        """Have it load the plugin; its answer. It has a connection from then on, whose memory a large request takes.

        BlockingIOError if that takes too long; GoneError, OSError or FrameError if there is none.
        """
        try:
            shared = Shared(memory("hardpoint"))

            def hand_over(*fds: int) -> None:
                parts = wire.pack(request), config
                placed = [part if part is None or len(part) <= wire.INLINE else shared.put(part) for part in parts]
                wire.send(self._control, placed, (library, *(each.fileno() for each in self.output.theirs), *fds))
                spawner.ask()  # while this one loads, and nobody has anything to do but wait for it

            self.free.append(self._connect(shared, hand_over))
        finally:
            self.output.passed_on()
        if self._timeout is not None and not is_readable(self._control, self._timeout):
            raise BlockingIOError
        answer, _ = wire.receive(self._control)
        if answer is None:
            raise GoneError
        if type(answer) is not list or [type(each) for each in answer] != [int, list, list, str]:
            raise wire.FrameError("an answer of another shape")
        return answer

    def take(self) -> Connection:
        """A connection for one call. GoneError if the worker is, OSError if this process can have none."""
        try:
            return self.free.pop()
        except IndexError:
            return self._connect(Shared(memory("hardpoint")), self._hand_over)

    def _connect(self, shared: Shared, hand_over: Callable[..., None]) -> Connection:
        try:
            mine, theirs = wire.pair()
        except OSError:
            shared.close()
            raise
        try:
            with closing(theirs):
                hand_over(theirs.fileno(), shared.fd)
            return Connection(mine, shared, self._timeout)
        except BaseException:
            mine.close()
            shared.close()
            raise

    def _hand_over(self, *fds: int) -> None:
        """Give the worker the other end of a connection. It may not read: then never wait with the lock, which kill needs."""
        until = None if self._timeout is None else time.monotonic() + self._timeout
        while True:
            with self._lock:
                if self._pidfd.closed:
                    raise GoneError
                poll = select.poll()
                poll.register(self._control, select.POLLOUT)
                with suppress(BlockingIOError):
                    wire.send(self._control, wire.CONNECT, fds, _socket.MSG_DONTWAIT)
                    return
            if not poll.poll(None if until is None else _milliseconds(max(0.0, until - time.monotonic()))):
                raise BlockingIOError

    def give(self, connection: Connection) -> None:
        """Take a connection back for the next call."""
        if connection.shared.is_large:
            connection.close()
            return
        self.free.append(connection)
        if self._pidfd.closed:  # it was killed meanwhile, and what was free then is closed
            self._close_free()

    def kill(self, why: str = "") -> None:
        """End it now, and let go of it."""
        with self._lock:
            if not self._pidfd.closed and not is_readable(self._pidfd):
                self.was_killed, self.killed_for = True, why
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
            self._let_go()

    def _let_go(self) -> None:
        self._pidfd.close()
        self._control.close()
        self.output.passed_on()  # else it never ends
        self._close_free()

    def _close_free(self) -> None:
        while True:
            try:
                self.free.pop().close()
            except IndexError:
                return

    def ask_to_end(self) -> None:
        """Have it end its instance and then itself."""
        with self._lock, suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # gone, or it does not read
            if not self._pidfd.closed:
                wire.send(self._control, wire.END, (), _socket.MSG_DONTWAIT)

    def end(self, seconds: float) -> bool:
        """Wait for the end that it was asked for; False if it took longer than that, and was killed."""
        in_time = self._pidfd.closed or is_readable(self._pidfd, seconds)
        self.kill()
        return in_time

    def wait(self, seconds: float = 1.0) -> int | None:
        """How it ended; it is dead or dying. None if that cannot be found out in that time."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()
            self.output.ended.wait(0.2)  # a process that it left behind may still hold the pipe
        return self.status

    def has_ended(self, status: int | None) -> None:
        """The spawner's word for it; None if it is gone itself."""
        self.status, self.is_orphan = status, status is None
        self._ended.release()


def _milliseconds(seconds: float) -> int:
    return ceil(min(seconds, 2_000_000.0) * 1000)  # poll takes an int of C


def _in_time(sock: _socket.socket, seconds: float) -> Callable[[Any], int]:
    """The socket's recv_into, which raises BlockingIOError if nothing comes in that time.

    SO_RCVTIMEO would cost 0.1 microseconds where poll costs 0.6, but its time starts anew with each signal that the host
    gets: a host with a timer would wait for ever (seen).
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    wait, milliseconds, receive = poll.poll, _milliseconds(seconds), sock.recv_into

    def receive_in_time(buffer: Any) -> int:
        if not wait(milliseconds):
            raise BlockingIOError
        return receive(buffer)

    return receive_in_time
