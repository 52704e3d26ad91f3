"""The host's hold on the zygote, which is started with the first isolated plugin, and again if it died."""

from __future__ import annotations

import _socket
import errno
import fcntl
import os
import select
import signal
import sys
from _thread import RLock, allocate_lock, start_new_thread
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ...errors import LoadError
from .. import wire
from ..descriptors import own, own_passed

if TYPE_CHECKING:
    from io import FileIO

    from .process import Worker

_KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "PATH", "TZ")
_PATIENCE = 10.0
"""Seconds that the zygote has for a fork; it takes one millisecond, and a plugin could have stopped it."""
_BOOT = """
import gc, sys
gc.disable()
sys.path[:] = sys.argv[5:]
import msgpack
module = type(sys)
hardpoint, typing = module("hardpoint"), module("typing")
hardpoint.__path__ = [sys.argv[4]]
typing.TYPE_CHECKING, typing.__getattr__ = False, lambda name: None
sys.modules["hardpoint"] = hardpoint
sys.modules.setdefault("typing", typing)
from hardpoint.isolation.worker.zygote import boot
boot(*sys.argv[1:4])
"""
"""The zygote's start is most of what the first answer takes. So it collects no garbage meanwhile (4 of 40 ms), leaves out what
hardpoint's face imports (2), and typing, of which no more is needed than that the names are there (8)."""


class Spawner:
    """A running zygote; it tells of the end of each worker that it forked."""

    def __init__(self) -> None:
        self._control, control = wire.pair()
        self._events, events = wire.pair()
        self._lock, self._asking = RLock(), RLock()
        self._workers: WeakValueDictionary[int, Worker] = WeakValueDictionary()
        self._asked = False
        """Whether it has been asked for a process that nobody has as yet."""
        self._failed: BaseException | None = None
        self.alive = True
        self._started = allocate_lock()
        self._started.acquire()
        start_new_thread(self._run, (control, events))
        try:
            self._started.acquire()
            if self._failed:
                raise self._failed
        except BaseException:
            self._control.shutdown(_socket.SHUT_RDWR)  # which ends a zygote, now or once it has started
            raise

    def ask(self, *, ahead: bool = True) -> bool:
        """Have a process made ready for the next worker, unless there is one, or somebody waits for one: whether that is so."""
        with self._asking:
            # An answer may be there that a signal's handler kept from being counted.
            was_asked = self._asked or is_readable(self._control)
            if not was_asked:
                with suppress(OSError):  # it has ended, and whoever wants a process finds out
                    wire.send(self._control, ahead)
                    self._asked = True
            return was_asked

    def fork(self, worker: Worker) -> tuple[int, FileIO, _socket.socket] | None:
        """A process for a worker: its pid, a descriptor for it and the socket on which it waits; None if the zygote is gone.

        OSError if there can be no process.
        """
        with self._lock:
            while self.alive:
                was_asked = self.ask(ahead=False)
                pid, passed = self._answer()
                if pid is None:
                    self.alive = False
                    break
                if len(passed) == 2 and not is_readable(passed[0]):
                    self._workers[pid] = worker
                    return pid, *passed
                for each in passed:
                    each.close()
                if not was_asked:  # one that had to wait may have been killed, or there was no room for it then
                    number = -pid if pid < 0 else errno.ECHILD if len(passed) == 2 else errno.EMFILE
                    raise OSError(number, os.strerror(number))
        return None

    def _answer(self) -> tuple[int | None, list[Any]]:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has ended
            if is_readable(self._control, _PATIENCE):
                pid, _ = wire.receive(self._control, flags=_socket.MSG_PEEK)
                self._asked = False  # before it is: a signal's handler may end this in between
                passed = own_passed(self._control)
                for each in passed[1:]:
                    each.setblocking(True)  # socket.setdefaulttimeout would make it otherwise
                return pid, passed
            os.kill(self._pid, signal.SIGKILL)
        return None, []

    def _run(self, control: _socket.socket, events: _socket.socket) -> None:
        """Start the zygote, and watch it on the same thread: it is killed when that ends (PR_SET_PDEATHSIG)."""
        try:
            with closing(control), closing(events):
                self._pid = _spawn(control.fileno(), events.fileno())
        except BaseException as error:  # noqa: BLE001 - it is the one's who waits
            self._failed = error
            return
        finally:
            self._started.release()
        self._watch()

    def _watch(self) -> None:
        try:
            while (event := wire.receive(self._events)[0]) is not None:
                pid, status = event
                with self._lock:  # it may have ended before its fork was known here
                    worker = self._workers.pop(pid, None)
                if worker is not None:
                    worker.has_ended(status)
                worker = None  # nor is it held until there is another
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


def is_readable(what: FileIO | _socket.socket, seconds: float = 0) -> bool:
    """Whether there is something to read, or is in that time; of a pidfd, whether the process has ended."""
    poll = select.poll()
    try:
        poll.register(what, select.POLLIN)
    except ValueError:  # another thread has closed it
        return True
    return bool(poll.poll(min(seconds, 2_000_000.0) * 1000))  # it takes an int of C


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
    modules = (sys.modules[name] for name in ("msgpack", "_cffi_backend"))
    files = (os.path.abspath(module.__file__ or "") for module in modules)
    return [os.path.dirname(file) if file.endswith(".so") else os.path.dirname(os.path.dirname(file)) for file in files]


def _spawn(control: int, events: int) -> int:
    """Start the zygote. It gets nothing of the host's but its stderr: no other descriptor, no signal ignored or blocked."""
    high = [own(fcntl.fcntl, fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (control, events)]  # a host may have no stdin
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
        (os.POSIX_SPAWN_DUP2, high[0].fileno(), 3),
        (os.POSIX_SPAWN_DUP2, high[1].fileno(), 4),
    ]
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    words = [python(), "-I", "-S", "-c", _BOOT, str(os.getpid()), "3", "4", package, *sys.path, *_homes()]
    default = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    try:
        return os.posix_spawn(words[0], words, environment, file_actions=actions, setsigmask=(), setsigdef=default)
    finally:
        for each in high:
            each.close()


_spawner: Spawner | None = None
_lock = RLock()


def spawner() -> Spawner:
    """The one of this process."""
    global _spawner  # noqa: PLW0603 - one a process
    with _lock:
        if _spawner is None or not _spawner.alive:
            _spawner = Spawner()
        return _spawner


def fork(worker: Worker) -> tuple[int, FileIO, _socket.socket]:
    """A process for a worker: its pid, a descriptor for it and the socket on which it waits. OSError if there can be none."""
    for _ in range(2):  # the zygote may have died unnoticed; then there is another
        if got := spawner().fork(worker):
            return got
    raise BrokenPipeError(errno.EPIPE, "the process that forks workers ends at once")


def ask() -> None:
    """Have a process made ready for the next worker, which then has its first answer in half the time."""
    if _spawner is not None:
        _spawner.ask()


def _forget() -> None:
    global _spawner, _lock
    _spawner, _lock = None, RLock()


os.register_at_fork(after_in_child=_forget)
