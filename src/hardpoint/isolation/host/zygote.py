"""The host's side of the zygote, the process that forks workers: requests to it, and what it says of their ends.

Forking a host that may have threads is unsafe, and starting a program for each worker takes twice as long. The messages
are in isolation/channel/_channel.h. It starts with the first isolated plugin.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # without the enum module: 2 ms
import _socket
import errno
import os
from _weakref import ref
from collections import deque
from contextlib import closing, suppress
from struct import Struct
from time import monotonic, monotonic_ns
from typing import TYPE_CHECKING

from ...fields import Fields
from ..descriptors import own, own_socketpair
from . import lacking
from .lost import LateError
from .program import program
from .protocol import FAILED_PIDFD, ZYGOTE_ENDED, ZYGOTE_FORK, ZYGOTE_FORKED
from .unpatched import RLock, allocate_lock, start_thread, waitpid

if TYPE_CHECKING:
    from io import FileIO
    from typing import Protocol

    class Worker(Protocol):
        """Whoever wants to hear of the end of a process."""

        def has_ended(self, status: int | None) -> None:
            """Take its status as waitpid(2) reports it, or None if the zygote has ended."""


_NOTICE = Struct("=IiiI")  # kind, pid, status
_PATIENCE, _SLICE = 10.0, 0.1
"""Seconds that the zygote has for a fork, which takes one millisecond; between two looks at whether it is stopped."""


class Forked(Fields):
    """A process that waits for a request to load."""

    pid: int
    pidfd: FileIO


class _Request:
    """A request for a process, until it is answered."""

    __slots__ = ("answer", "answered", "since", "worker")

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.since = monotonic()
        self.answer: Forked | Exception | None = None
        """None if the zygote has ended."""
        self.answered = allocate_lock()
        self.answered.acquire()


class Zygote:
    """A zygote that starts, or runs.

    One thread starts it, and receives everything from it: it is killed when that thread ends (PR_SET_PDEATHSIG). Signal
    handlers never run there, so no exception of theirs can come between receiving a descriptor and owning it.
    """

    def __init__(self, credentials: bytes) -> None:
        self.credentials = credentials
        self.alive = True
        self._program = program()
        self._pid = 0
        self._pidfd: FileIO | None = None
        """Its number may be another process's by the time it is killed: the host may wait for all its children."""
        self._ended = allocate_lock()
        self._ended.acquire()
        self._status: int | None = None
        self._lock = RLock()
        self._workers: dict[int, ref[Worker]] = {}
        """By process id. Weak references: the module weakref would cost every host 1 ms."""
        self._requests: deque[tuple[int, _Request]] = deque()
        """The bytes sent for each request without an answer, and the request, in order."""
        self._is_retired = False
        self._control, theirs = own_socketpair(_socket.SOCK_SEQPACKET)
        start_thread(self._run, theirs)

    def fork(self, worker: Worker, control: int, deadline: int) -> Forked | None:
        """Get a process with a socket for a worker; None if the zygote has ended.

        Raises LateError at the deadline, OSError or LackingError if there can be no process.
        """
        request = _Request(worker)
        with self._lock:
            if not self.alive:
                return None
            try:
                self._ask(request, control)
            except BlockingIOError:  # so many requests are waiting: it does not read
                self.kill()
                return None
            except (BrokenPipeError, ConnectionResetError):  # it ended, which its thread is about to hear
                self.alive = False
                return None
        self._wait(request, deadline)
        if isinstance(request.answer, Exception):
            raise request.answer
        return request.answer

    def _ask(self, request: _Request, control: int) -> None:
        descriptor = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, control.to_bytes(4, "little"))]
        arguments = [_NOTICE.pack(ZYGOTE_FORK, 0, 0, 0)], descriptor, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL
        # In one call of C code: after a signal handler's exception between sending and queueing, the next request would
        # get this one's answer.
        self._requests.extend(zip(map(self._control.sendmsg, *zip(arguments)), (request,), strict=True))

    def _wait(self, request: _Request, deadline: int) -> None:
        while not request.answered.acquire(timeout=min(_SLICE, max(0.0, (deadline - monotonic_ns()) / 1e9))):
            if monotonic() - request.since > _PATIENCE or self._is_stopped():
                self.kill()
            if monotonic_ns() >= deadline:
                raise LateError

    def _is_stopped(self) -> bool:
        """True if a signal stopped it, as a plugin without a sandbox can."""
        try:
            with open(f"/proc/{self._pid}/stat", "rb", buffering=0) as file:
                return file.readall().rpartition(b")")[2].split()[0] == b"T"
        except OSError:
            return False

    def kill(self) -> None:
        """Kill it, and with it its workers; another one is started for the next."""
        with self._lock:
            if not self.alive:
                return
            self.alive = False
            with suppress(OSError):  # after setuid(2), or without pidfds, it has to see the end of its socket
                if self._pidfd is not None:
                    signal.pidfd_send_signal(self._pidfd.fileno(), signal.SIGKILL)
            self._control.shutdown(_socket.SHUT_RDWR)

    def retire(self) -> None:
        """End it after its last worker."""
        with self._lock:
            self._is_retired = True
            self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._is_retired and self.alive and not self._workers and not self._requests:
            self.alive = False
            self._control.shutdown(_socket.SHUT_RDWR)

    def _run(self, theirs: _socket.socket) -> None:
        failure: Exception | None = None
        try:
            with closing(theirs):
                self._pid = self._program.spawn(theirs.fileno())
            with suppress(OSError):
                self._pidfd = own(os.pidfd_open, self._pid)
            while self._receive():
                pass
        except Exception as error:  # noqa: BLE001 - raised by the threads that wait for this
            failure = error
        finally:
            self._end(failure)

    def _receive(self) -> bool:
        """Receive one message; False if the zygote has ended."""
        try:
            data, ancillary, _, _ = self._control.recvmsg(_NOTICE.size, _socket.CMSG_SPACE(4), _socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # it ended before it read a request
            return False
        if len(data) != _NOTICE.size:
            return False
        kind, pid, status, _ = _NOTICE.unpack(data)
        ended = None
        with self._lock:
            if kind == ZYGOTE_FORKED and self._requests:
                _, request = self._requests.popleft()
                request.answer = self._answer(request, pid, status, ancillary)
                request.answered.release()
            elif kind == ZYGOTE_ENDED:
                found = self._workers.pop(pid, None)
                ended = found() if found else None
            self._end_if_idle()
        if ended is not None:
            ended.has_ended(status)
        return True

    def _answer(
        self, request: _Request, pid: int, status: int, ancillary: list[tuple[int, int, bytes]]
    ) -> Forked | Exception:
        for _, _, content in ancillary:
            forked = Forked(pid, own(int, int.from_bytes(content[:4], "little")))
            self._workers[pid] = ref(request.worker)
            return forked
        if pid >= 0:  # this process had no descriptor left; the process ends with its socket
            return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if status == FAILED_PIDFD and -pid not in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
            return lacking.no_pidfd(-pid)
        return OSError(-pid, os.strerror(-pid))

    def _end(self, failure: Exception | None) -> None:
        with self._lock:
            self.alive = False
            left = [worker for found in self._workers.values() if (worker := found()) is not None]
            self._control.close()
            while self._requests:
                _, request = self._requests.popleft()
                request.answer = failure
                request.answered.release()
        for worker in left:
            worker.has_ended(None)
        with suppress(ChildProcessError):  # the host may wait for all its children, or ignore SIGCHLD
            self._status = self._wait_for_exit()
        if self._pidfd is not None:
            self._pidfd.close()
        self._ended.release()

    def _wait_for_exit(self) -> int | None:
        """Wait for its exit status, or its signal as a negative number. By pidfd: its pid may be another child's."""
        if self._pidfd is not None:
            try:
                found = os.waitid(os.P_PIDFD, self._pidfd.fileno(), os.WEXITED)
            except ChildProcessError:
                raise
            except OSError:  # Linux 5.3
                found = None
            if found is not None:
                return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
        return os.waitstatus_to_exitcode(waitpid(self._pid, 0)[1]) if self._pid else None

    def ended(self, seconds: float) -> str:
        """Wait for its end; say how it ended."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()
        if self._status is None:
            return "its exit status is not known"
        return f"killed by signal {-self._status}" if self._status < 0 else f"exit status {self._status}"
