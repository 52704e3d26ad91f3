"""The host's side of the zygote: processes for workers, and their ends. It starts with the first isolated plugin."""

from __future__ import annotations

import _socket
import errno
import os
import select
import signal
from _queue import Empty, SimpleQueue
from _thread import RLock, allocate_lock, start_new_thread
from contextlib import closing, suppress
from io import FileIO
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ...fields import Fields
from .. import wire
from .start_zygote import start_zygote

if TYPE_CHECKING:
    from .process import Worker

_PATIENCE = 10.0
"""Seconds that the zygote has for a fork; it takes one millisecond, and a plugin could have stopped it."""


class Forked(Fields):
    """A process that waits for a request to load."""

    pid: int
    pidfd: FileIO
    control: _socket.socket

    def close(self) -> None:
        """Close its descriptors; it ends when it sees that."""
        self.pidfd.close()
        self.control.close()


class Spawner:
    """A running zygote: it forks a process at each request, and reports the end of each process.

    One thread receives everything from it. Signal handlers never run there, so no exception of theirs can come between
    receiving a descriptor and handing it to the object that closes it.
    """

    def __init__(self) -> None:
        self._control, theirs = wire.pair()
        self._forking, self._asking, self._lock = RLock(), RLock(), RLock()
        self._workers: WeakValueDictionary[int, Worker] = WeakValueDictionary()
        self._answers: SimpleQueue[Forked | OSError | None] = SimpleQueue()
        """Answers that nobody has taken: a process, why there is none, or None when the zygote has ended."""
        self._asked = False
        """True while a request has no answer."""
        self._failed: BaseException | None = None
        self.alive = True
        self._started = allocate_lock()
        self._started.acquire()
        start_new_thread(self._run, (theirs,))
        try:
            self._started.acquire()
            if self._failed:
                raise self._failed
        except BaseException:
            self._control.shutdown(_socket.SHUT_RDWR)  # which ends the zygote, now or once it has started
            raise

    def ask(self, *, ahead: bool = True) -> bool:
        """Request a process, unless there is one already, or a request for one. Return True in these cases.

        `ahead` says that it is for a worker to come: it prepares itself for that.
        """
        with self._asking:
            was_asked = self._asked or not self._answers.empty()
            if not was_asked:
                self._asked = True
                try:
                    wire.send(self._control, ahead)
                except BaseException as error:
                    self._asked = False
                    if not isinstance(error, OSError):  # the zygote has ended, and `fork` will find that out
                        raise
            return was_asked

    def fork(self, worker: Worker) -> Forked | None:
        """Get a process for a worker; None if the zygote has ended. Raises OSError if there can be no process."""
        with self._forking:
            while self.alive:
                was_asked = self.ask(ahead=False)
                answer = self._next()
                if answer is None:
                    self.alive = False
                    break
                if isinstance(answer, Forked):
                    if self._assign(answer, worker):
                        return answer
                    answer.close()
                    answer = OSError(errno.ECHILD, os.strerror(errno.ECHILD))
                # A process forked ahead may have been killed since, or could not be forked then: ask again.
                if self.alive and not was_asked:  # type: ignore[redundant-expr]  # the other thread sets it
                    raise answer
        return None

    def _next(self) -> Forked | OSError | None:
        try:
            return self._answers.get(timeout=_PATIENCE)
        except Empty:
            os.kill(self._pid, signal.SIGKILL)
            return None

    def _assign(self, forked: Forked, worker: Worker) -> bool:
        """Have the process's end reported to the worker; False if it has ended already."""
        with self._lock:
            if not self.alive or is_readable(forked.pidfd):
                return False
            self._workers[forked.pid] = worker
            return True

    def _run(self, theirs: _socket.socket) -> None:
        """Start the zygote, and watch it on the same thread: it is killed when that ends (PR_SET_PDEATHSIG)."""
        try:
            with closing(theirs):
                self._pid = start_zygote(theirs.fileno())
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits for this
            self._failed = error
            return
        finally:
            self._started.release()
        try:
            while self._receive():
                pass
        finally:
            self._end()

    def _receive(self) -> bool:
        """Receive one message from the zygote; False if it has ended."""
        try:
            frame, fds = wire.receive(self._control, 2)
        except ConnectionResetError:  # it ended before it read a request
            return False
        if frame is None:
            return False
        if frame[0] == wire.FORKED:
            answer = _forked(frame[1], fds)
            with self._asking:  # so that `ask` sees the request or its answer
                self._asked = False
                self._answers.put(answer)
        else:
            _, pid, status = frame
            with self._lock:
                worker = self._workers.pop(pid, None)
            if worker is not None:
                worker.has_ended(status)
        return True

    def _end(self) -> None:
        with self._lock:
            self.alive = False
            left = list(self._workers.values())
            self._control.close()
        with suppress(Empty):
            while True:
                if isinstance(unused := self._answers.get_nowait(), Forked):
                    unused.close()
        self._answers.put(None)
        for worker in left:
            worker.has_ended(None)
        with suppress(ChildProcessError):  # the host may wait for all its children, or ignore SIGCHLD
            os.waitpid(self._pid, 0)


def _forked(pid: int, fds: list[int]) -> Forked | OSError:
    """The answer in a message of the zygote."""
    if pid < 0:
        return OSError(-pid, os.strerror(-pid))
    if len(fds) < 2:  # this process had no descriptors left; the process ends with its socket
        for fd in fds:
            os.close(fd)
        return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    control = _socket.socket(fileno=fds[1])
    control.setblocking(True)  # socket.setdefaulttimeout would make it otherwise
    return Forked(pid, FileIO(fds[0]), control)


def is_readable(what: FileIO | _socket.socket, seconds: float = 0) -> bool:
    """Wait for something to read; True if there is. A pidfd is readable once its process has ended."""
    poll = select.poll()
    try:
        poll.register(what, select.POLLIN)
    except ValueError:  # another thread has closed it
        return True
    return bool(poll.poll(min(seconds, 2_000_000.0) * 1000))  # it takes an int of C


_spawner: Spawner | None = None
_lock = RLock()


def spawner() -> Spawner:
    """Return the spawner of this process, with a zygote that runs."""
    global _spawner  # noqa: PLW0603 - one a process
    with _lock:
        if _spawner is None or not _spawner.alive:
            _spawner = Spawner()
        return _spawner


def fork(worker: Worker) -> Forked:
    """Get a process for a worker. Raises OSError if there can be none."""
    for _ in range(2):  # the zygote may have died unnoticed; then another is started
        if forked := spawner().fork(worker):
            return forked
    raise BrokenPipeError(errno.EPIPE, "the process that forks workers ends at once")


def ask() -> None:
    """Request a process ahead of the next worker, which then has its first answer in half the time."""
    if _spawner is not None:
        _spawner.ask()


def _forget() -> None:
    global _spawner, _lock
    _spawner, _lock = None, RLock()


os.register_at_fork(after_in_child=_forget)
