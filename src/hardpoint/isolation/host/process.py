"""One worker process, as the host sees it: started, called, watched, ended."""

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
from ..descriptors import own, own_socket
from ..eager import eager
from ..shared import Shared, memory
from . import spawner
from .output import Output, reader
from .spawner import is_readable

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable


class GoneError(Exception):
    """The worker has ended, or closed its connection."""


inherited: list[Any] = []
"""Objects of a parent process whose descriptors a forked child never closes: their numbers may be other files there."""


class Connection:
    """A socket to one thread of a worker, and their shared memory; used by one caller at a time."""

    __slots__ = ("buffer", "receive", "send", "shared", "sock", "view")

    def __init__(self, sock: _socket.socket, shared: Shared, timeout: float | None) -> None:
        self.sock = sock
        self.shared = shared
        self.buffer = wire.buffer()
        self.view = memoryview(self.buffer)
        self.send = sock.send
        self.receive = eager(sock, sock.recv_into if timeout is None else _receive_in_time(sock, timeout))

    def close(self) -> None:
        """Close it; that ends the thread of the worker."""
        self.sock.close()
        self.shared.close()


class Worker:
    """A worker process, and the connections to it."""

    def __init__(self, name: str, timeout: float | None) -> None:
        self._timeout = timeout
        self._host_pid = os.getpid()
        self._lock = RLock()
        self.free: list[Connection] = []
        """Connections that no call uses; list.pop is atomic."""
        self._ended = allocate_lock()
        self._ended.acquire()
        self.status: int | None = None
        """Its status as waitpid(2) reports it; None while it runs, or if it is unknown."""
        self.was_killed = False
        """True if the host killed it."""
        self.killed_for = ""
        """Why the host killed it, for the errors of other threads' calls."""
        self.is_orphan = False
        """True if it ended because the zygote did."""
        output_reader = reader()
        self.output = Output(name)
        try:
            forked = spawner.fork(self)
            self.pid = forked.pid
            # The garbage collector finalizes the older objects of a cycle first. `__del__` needs these open to kill the
            # worker, so they have to be younger than this object; those of a process forked ahead are older.
            self._pidfd = own(os.dup, forked.pidfd.fileno())
            self._control = own_socket(forked.control.fileno())
            forked.close()
        except BaseException:
            self.output.close()
            self.output.close_theirs()
            raise
        output_reader.add(self.output)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_control"):
            return
        if finalizing():  # the modules that `kill` needs are gone; the worker ends with the connection
            self._close()
        elif self._host_pid != os.getpid():
            inherited.append(self.__dict__)
        else:  # a signal handler's exception kept its owner from killing it
            self.kill()

    def load(self, library: int, request: bytes) -> Any:
        """Have it load the plugin; return its reply, unchecked. The worker then has a first connection.

        Raises BlockingIOError if that takes too long, and GoneError, OSError or FrameError if there is no reply.
        """
        try:
            shared = Shared(memory("hardpoint"))

            def hand_over(*fds: int) -> None:
                content = request if len(request) <= wire.INLINE else shared.put(request)
                wire.send(self._control, content, (library, *(each.fileno() for each in self.output.theirs), *fds))
                spawner.ask()  # the processors have time for it while this worker loads

            self.free.append(self._connect(shared, hand_over))
        finally:
            self.output.close_theirs()
        if self._timeout is not None and not is_readable(self._control, self._timeout):
            raise BlockingIOError
        reply, _ = wire.receive(self._control)
        if reply is None:
            raise GoneError
        return reply

    def take(self) -> Connection:
        """Take a connection for one call. Raises GoneError if the worker is dead, OSError if none can be opened."""
        try:
            return self.free.pop()
        except IndexError:
            return self._connect(Shared(memory("hardpoint")), self._hand_over)

    def give(self, connection: Connection) -> None:
        """Return a connection after a call."""
        if connection.shared.is_large:
            connection.close()
            return
        self.free.append(connection)
        if self._pidfd.closed:  # it was killed meanwhile, and the connections that were free then are closed
            self._close_free()

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
        """Give the worker the other end of a connection.

        A worker that doesn't read would block a send for ever, with the lock that `kill` needs: wait without the lock.
        """
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

    def kill(self, why: str = "") -> None:
        """Kill it if it runs, and close every descriptor of it."""
        with self._lock:
            if not self._pidfd.closed and not is_readable(self._pidfd):
                self.was_killed, self.killed_for = True, why
                with suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
            self._close()

    def _close(self) -> None:
        self._pidfd.close()
        self._control.close()
        self.output.close_theirs()  # else the reader never sees the end of the pipe
        self._close_free()

    def _close_free(self) -> None:
        while True:
            try:
                self.free.pop().close()
            except IndexError:
                return

    def ask_to_end(self) -> None:
        """Request that it destroys its instance and exits."""
        with self._lock, suppress(BlockingIOError, BrokenPipeError, ConnectionResetError):  # dead, or it does not read
            if not self._pidfd.closed:
                wire.send(self._control, wire.END, (), _socket.MSG_DONTWAIT)

    def end(self, seconds: float) -> bool:
        """Wait for its exit after `ask_to_end`, then kill it; False if it did not exit in that time."""
        in_time = self._pidfd.closed or is_readable(self._pidfd, seconds)
        self.kill()
        return in_time

    def wait(self, seconds: float = 1.0) -> int | None:
        """Wait for the status of a worker that is dead or dying; None if it is unknown, or not known in that time."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()
            self.output.ended.wait(0.2)  # a process that it started may still hold the pipe
        return self.status

    def has_ended(self, status: int | None) -> None:
        """Record its end, as the spawner reports it; None if the zygote has ended."""
        self.status, self.is_orphan = status, status is None
        self._ended.release()


def _milliseconds(seconds: float) -> int:
    return ceil(min(seconds, 2_000_000.0) * 1000)  # poll takes an int of C


def _receive_in_time(sock: _socket.socket, seconds: float) -> Callable[[Any], int]:
    """Make a recv_into that raises BlockingIOError if nothing comes in that time.

    SO_RCVTIMEO would cost 0.1 µs where poll costs 0.6, but its time restarts with each signal that the host gets: a
    host with a timer would wait for ever (seen).
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    wait, milliseconds, receive = poll.poll, _milliseconds(seconds), sock.recv_into

    def receive_in_time(buffer: Any) -> int:
        if not wait(milliseconds):
            raise BlockingIOError
        return receive(buffer)

    return receive_in_time
