"""One worker process, as the host sees it: started, loaded, connected to, ended. See isolation/channel/_channel.h."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enum module: 2 ms
import _socket
import os
import sys
import time
from _weakref import ref
from contextlib import closing, suppress
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from ...fields import Fields
from ..descriptors import own, own_socketpair
from . import spawner
from .connection import Connection
from .control import Control
from .lost import GoneError, LateError, MalformedError, NoThreadError, QueuedError
from .output import Output
from .protocol import CHANNEL_HELLO, CHANNEL_LOAD, CONTROL_CONNECT, CONTROL_END, CONTROL_LOAD, REPLY_NO_THREAD
from .reader import reader
from .spawner import inherited
from .unpatched import POLLIN, RLock, allocate_lock, poll, sleep

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from .answer import Answer
    from .connection import Room
    from .flow import Flow

_RECIPE_AT = 16
"""Offset of the recipe in a channel."""
_LOOK, _ATTEMPT = 0.01, 1.0
"""Where a worker has no more threads: seconds between two looks of a call for a free channel, and between two attempts
of all of them to have a thread started."""


class Loading(Fields):
    """A worker's answer to a request to load, unchecked."""

    connection: Connection
    answer: Answer
    applied: tuple[int, int, int]
    """APPLIED_* of _channel.h, and errno of Landlock and of seccomp."""


class Worker:
    """A worker process, and the channels to it. `free` is the list of those that no call uses."""

    def __init__(self, flow: Flow, room: Room, free: list[Connection], deadline: int) -> None:
        self._host_pid = os.getpid()
        self._room = room
        self._lock = RLock()
        self.free = free
        """list.pop is atomic."""
        self._connections: list[Any] = []
        """Weak references to all connections."""
        self._ended = allocate_lock()
        self._ended.acquire()
        self.has_died = False
        self.status: int | None = None
        """Its status as waitpid(2) reports it; None while it runs, or if it is unknown."""
        self.was_killed = False
        """True if the host killed it."""
        self.killed_for = ""
        """Why the host killed it, for the errors of other threads' calls."""
        self.is_orphan = False
        """True if it ended because the zygote did."""
        self._attempt = 0.0
        """When a thread may be asked for again, after the worker could not start one."""
        output_reader = reader()
        self.output = Output(flow, output_reader.logger)
        try:
            mine, theirs = own_socketpair(_socket.SOCK_SEQPACKET)
            self._control = Control(mine)
            with closing(theirs):
                forked = spawner.fork(self, theirs.fileno(), deadline)
            self.pid = forked.pid
            # The garbage collector finalizes the older objects of a cycle first. `__del__` needs this one open to kill
            # the worker, so it has to be younger than this object.
            self._pidfd: FileIO = own(os.dup, forked.pidfd.fileno())
            forked.pidfd.close()
        except BaseException:
            self.output.close()
            self.output.close_theirs()
            raise
        output_reader.add(self.output)

    def __del__(self, finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        if not hasattr(self, "_pidfd"):
            return
        if finalizing():  # the modules that `kill` needs are gone; the worker ends with the connection
            self._control.close()
        elif self._host_pid != os.getpid():
            inherited.append(self.__dict__)
        else:  # a signal handler's exception kept its owner from killing it
            self.kill()

    def load(self, library: int, recipe: bytes, deadline: int) -> Loading:
        """Have it load the plugin; return its answer, and what it applied of the recipe.

        Raises LateError if that takes too long, GoneError, OSError or MalformedError if there is no answer.
        """
        try:
            connection = Connection.open(self, self._room)
            self._watch(connection)
            connection.write(_RECIPE_AT, recipe)
            connection.send(CHANNEL_LOAD)
            given = (library, *(each.fileno() for each in self.output.theirs), connection.fd)
            self._control.send(CONTROL_LOAD, self._room, len(recipe), given, deadline)
        finally:
            self.output.close_theirs()
        return Loading(connection, connection.wait(deadline, is_load=True), self._control.applied())

    def take(self, deadline: int) -> Connection:
        """Take a channel for one call. Raises GoneError if the worker is dead, OSError if none can be opened.

        Where the worker has no more threads, it waits for a channel that is free: QueuedError at the deadline,
        NoThreadError if none ever will be.
        """
        while True:
            if found := self._pop():
                return found
            if self.has_died or self.is_closed:
                raise GoneError
            if time.monotonic() >= self._attempt and (made := self._connect(deadline)):
                return made
            while not self.free and time.monotonic() < self._attempt and not self.has_died:
                if monotonic_ns() >= deadline:
                    raise QueuedError
                sleep(_LOOK)  # the native binding gives a channel back by list.append, which wakes nobody

    def _connect(self, deadline: int) -> Connection | None:
        """Open a channel to a new thread; None if the worker cannot start one, and others are in use."""
        connection = Connection.open(self, self._room)
        self._watch(connection)
        self._control.send(CONTROL_CONNECT, self._room, 0, (connection.fd,), deadline)
        connection.send(CHANNEL_HELLO)
        answer = connection.wait(deadline)
        if answer.flags & ~REPLY_NO_THREAD or answer.length or (answer.status and not answer.flags):
            raise MalformedError("an answer to a greeting that cannot be one")
        if not answer.flags:
            return connection
        if not any(each is not connection for each in self._open()):
            raise NoThreadError(answer.status)
        self._attempt = time.monotonic() + _ATTEMPT
        return None

    @property
    def is_closed(self) -> bool:
        """True once it was killed here, or its end was dealt with: it serves no more calls."""
        return self._pidfd.closed

    def _pop(self) -> Connection | None:
        while True:
            try:
                connection = self.free.pop()
            except IndexError:
                return None
            if not connection.is_gone():
                return connection

    def give(self, connection: Connection) -> None:
        """Return a channel after a call."""
        connection.trim()
        self.free.append(connection)

    def _open(self) -> list[Connection]:
        return [each for found in list(self._connections) if (each := found()) is not None]

    def _watch(self, connection: Connection) -> None:
        """Have the wait on a channel end with the worker."""
        with self._lock:
            self._connections = [each for each in self._connections if each() is not None] + [ref(connection)]
        if self.has_died or self._pidfd.closed:
            raise GoneError

    def kill(self, why: str = "") -> None:
        """Kill it if it runs, and close every descriptor of it."""
        with self._lock:
            if not self._pidfd.closed and not is_readable(self._pidfd):
                self.was_killed, self.killed_for = True, why
                # After setuid(2) it may be another user's; then it ends with the end of its control socket.
                # It does so too where pidfd_send_signal(2) is refused.
                with suppress(OSError):
                    signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
            self._pidfd.close()
            self._control.close()
        self.output.close_theirs()  # else the reader never sees the end of the pipe
        self._abandon()

    def _abandon(self) -> None:
        """End the waits for it."""
        for connection in self._open():
            connection.abandon()
            with suppress(ValueError):  # it is in use
                self.free.remove(connection)

    def ask_to_end(self) -> None:
        """Request that it destroys its instance and exits."""
        with suppress(GoneError, LateError, OSError):  # dead, or it does not read
            self._control.send(CONTROL_END, self._room, 0, (), 0)

    def end(self, seconds: float) -> bool:
        """Wait for its exit after `ask_to_end`, then kill it; False if it did not exit in that time."""
        in_time = self._pidfd.closed or is_readable(self._pidfd, seconds)
        self.kill()
        return in_time

    def wait(self, seconds: float = 1.0) -> int | None:
        """Wait for the status of a worker that is dead or dying; None if it is unknown, or not known in that time."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()
            self.output.wait(0.2)  # a process that it started may still hold the pipe
        return self.status

    def has_ended(self, status: int | None) -> None:
        """Record its end, as the zygote's thread reports it; None if the zygote has ended."""
        self.status, self.is_orphan = status, status is None
        self.has_died = True
        for connection in self._open():
            connection.abandon()
        self._ended.release()


def is_readable(what: FileIO, seconds: float = 0) -> bool:
    """Wait for something to read; True if there is. A pidfd is readable once its process has ended."""
    readable = poll()
    try:
        readable.register(what, POLLIN)
    except ValueError:  # another thread has closed it
        return True
    return bool(readable.poll(min(seconds, 2_000_000.0) * 1000))  # it takes an int of C
