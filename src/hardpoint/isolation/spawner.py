"""The host's hold on the zygote, which is started with the first isolated plugin, and again if it died."""

from __future__ import annotations

import os
import _socket
import sys
from _thread import RLock, start_new_thread
from contextlib import closing
from typing import TYPE_CHECKING

from . import wire
from .output import Reader

if TYPE_CHECKING:
    from .process import Worker

_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
_BOOT = "import sys; sys.path[:] = sys.argv[4:]; from hardpoint.isolation.zygote import boot; boot(*sys.argv[1:4])"


def pair() -> tuple[_socket.socket, _socket.socket]:
    """Two ends of a socket that keeps frames apart."""
    return _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)


class Spawner:
    """A running zygote; it tells of the end of each worker that it forked."""

    def __init__(self) -> None:
        self._control, control = pair()
        self._events, events = pair()
        self._lock = RLock()
        self._workers: dict[int, Worker] = {}
        self.reader = Reader()
        with closing(control), closing(events):
            actions = [(os.POSIX_SPAWN_DUP2, control.fileno(), 3), (os.POSIX_SPAWN_DUP2, events.fileno(), 4)]
            environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
            words = [sys.executable, "-I", "-S", "-c", _BOOT, str(os.getpid()), "3", "4", *sys.path]
            self._pid = os.posix_spawn(sys.executable, words, environment, file_actions=actions)
        self.alive = True
        start_new_thread(self._watch, ())

    def fork(self, worker: Worker, *fds: int) -> tuple[int, int]:
        """Start a process for a worker, with these descriptors; its pid and a descriptor for it. OSError if it cannot be."""
        with self._lock:
            wire.send(self._control, 0, fds)
            pid, got = wire.receive(self._control, 1)
            if not got:
                raise BrokenPipeError("the process that forks workers is gone")
            self._workers[pid] = worker
        return pid, got[0]

    def _watch(self) -> None:
        while (event := wire.receive(self._events)[0]) is not None:
            pid, status = event
            with self._lock:  # it may have ended before its fork was known here
                worker = self._workers.pop(pid, None)
            if worker is not None:
                worker.has_ended(status)
        self.alive = False
        os.waitpid(self._pid, 0)
        for worker in self._workers.values():
            worker.has_ended(None)


_spawner: Spawner | None = None
_lock = RLock()


def spawner() -> Spawner:
    """The one of this process."""
    global _spawner  # noqa: PLW0603 - one a process
    with _lock:
        if _spawner is None or not _spawner.alive:
            _spawner = Spawner()
        return _spawner


def _forget() -> None:
    global _spawner, _lock  # noqa: PLW0603 - in a forked child, they are the parent's
    _spawner, _lock = None, RLock()


os.register_at_fork(after_in_child=_forget)
