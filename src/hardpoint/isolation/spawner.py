"""The host's hold on the zygote, which is started with the first isolated plugin, and again if it died."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import signal
import sys
from _thread import RLock, start_new_thread
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from ..errors import LoadError
from . import wire
from .output import Reader

if TYPE_CHECKING:
    from .process import Worker

_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
_PATIENCE = 10.0
"""Seconds that the zygote has for a fork; it takes one millisecond, and a plugin could have stopped it."""
_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from hardpoint.isolation.zygote import boot; boot(*sys.argv[1:4])"


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two ends of a socket that keeps frames apart."""
    ends = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    for end in ends:
        end.setblocking(True)  # socket.setdefaulttimeout would make it otherwise, for the other process as well
    return ends


class Spawner:
    """A running zygote; it tells of the end of each worker that it forked."""

    def __init__(self) -> None:
        self._control, control = pair()
        self._events, events = pair()
        self._lock = RLock()
        self._workers: dict[int, Worker] = {}
        self._asked = 0
        with closing(control), closing(events):
            try:
                self._pid = _spawn(control.fileno(), events.fileno())
            except BaseException:
                self._control.close()
                self._events.close()
                raise
        self.alive = True
        start_new_thread(self._watch, ())

    def fork(self, worker: Worker, fds: tuple[int, ...]) -> tuple[int, int] | None:
        """Start a process for a worker, with these descriptors: its pid and a descriptor for it; None if the zygote is gone.

        OSError if there can be no process.
        """
        with self._lock:
            pid: int | None = None
            got: list[int] = []
            with suppress(BrokenPipeError, ConnectionResetError):  # it has ended
                self._asked += 1
                wire.send(self._control, self._asked, fds)
                pid, got = self._answer()
            if pid is None:
                self.alive = False
                return None
            if pid < 0:
                raise OSError(-pid, os.strerror(-pid))
            if not got:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self._workers[pid] = worker
        return pid, got[0]

    def _answer(self) -> tuple[int | None, list[int]]:
        """The answer to the last request; one before it may be left, from a request that a signal's handler ended."""
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        while poll.poll(_PATIENCE * 1000):
            answer, fds = wire.receive(self._control, 1)
            if answer is None:
                return None, []
            number, pid = answer
            if number == self._asked:
                return pid, fds
            for fd in fds:  # nobody has the other end of that worker's socket, so it ends by itself
                os.close(fd)
        os.kill(self._pid, signal.SIGKILL)
        return None, []

    def _watch(self) -> None:
        try:
            while (event := wire.receive(self._events)[0]) is not None:
                pid, status = event
                with self._lock:  # it may have ended before its fork was known here
                    worker = self._workers.pop(pid, None)
                if worker is not None:
                    worker.has_ended(status)
        finally:
            self._end()

    def _end(self) -> None:
        with self._lock:
            self.alive = False
            left = list(self._workers.values())
            self._control.close()
            self._events.close()
        for worker in left:
            worker.has_ended(None)
        with suppress(ChildProcessError):  # the host waits for whatever child of its there is, or for none
            os.waitpid(self._pid, 0)


def python() -> str:
    """The Python that forks workers. LoadError if `sys.executable` names none, as in a program that embeds Python."""
    path = sys.executable
    if not path or not os.access(path, os.X_OK) or not os.path.isfile(path):
        raise LoadError(
            f"no process can be started for isolated plugins: needs sys.executable to be a Python of this version, found "
            f"{path!r}; set sys.executable to one that can be run"
        )
    return path


def _homes() -> list[str]:
    """Where the modules are that it needs: an entry of sys.path may be relative to a folder that was left."""
    modules = (sys.modules[name] for name in ("hardpoint", "msgpack", "_cffi_backend"))
    files = (os.path.abspath(module.__file__ or "") for module in modules)
    return [os.path.dirname(file) if file.endswith(".so") else os.path.dirname(os.path.dirname(file)) for file in files]


def _spawn(control: int, events: int) -> int:
    """Start the zygote. It gets nothing of the host's but its stderr: no other descriptor, no signal ignored or blocked."""
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (control, events)]  # a host may have no stdin
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, high[0], 3),
        (os.POSIX_SPAWN_DUP2, high[1], 4),
    ]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    words = [python(), "-I", "-S", "-c", _BOOT, str(os.getpid()), "3", "4", *sys.path, *_homes()]
    default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    try:
        return os.posix_spawn(words[0], words, environment, file_actions=actions, setsigmask=(), setsigdef=default)
    finally:
        for fd in high:
            os.close(fd)


_spawner: Spawner | None = None
_reader: Reader | None = None
_lock = RLock()


def spawner() -> Spawner:
    """The one of this process."""
    global _spawner  # noqa: PLW0603 - one a process
    with _lock:
        if _spawner is None or not _spawner.alive:
            _spawner = Spawner()
        return _spawner


def fork(worker: Worker, *fds: int) -> tuple[int, int]:
    """Start a process for a worker, with these descriptors; its pid and a descriptor for it. OSError if there can be none."""
    for _ in range(2):  # the zygote may have died unnoticed; then there is another
        if got := spawner().fork(worker, fds):
            return got
    raise BrokenPipeError(errno.EPIPE, "the process that forks workers ends at once")


def reader() -> Reader:
    """What reads the output of all workers of this process."""
    global _reader  # noqa: PLW0603 - one a process
    with _lock:
        if _reader is None:
            _reader = Reader()
        return _reader


def _forget() -> None:
    global _spawner, _reader, _lock
    _spawner, _reader, _lock = None, None, RLock()


os.register_at_fork(after_in_child=_forget)
