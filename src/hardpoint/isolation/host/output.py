"""The output and log records of workers -> `logging`; one thread reads them all.

Lines of stdout and stderr go to `hardpoint.plugin.<name>.output`, log records to `hardpoint.plugin.<name>`, like those
of a plugin in the process. A worker that writes faster than the thread reads waits (output), or drops and counts
(records). The thread reads no more of one worker than its share; see pace.py.
"""

from __future__ import annotations

import _socket
import atexit
import fcntl
import mmap
import os
import sys
import threading  # here, since it takes the thread that imports it first for the main one: logging would, on the reader's
from collections import deque
from contextlib import suppress
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any

from ...errors import one_line
from ...forks import in_child
from ...inprocess.host_log import LONGEST, Drops, record_of
from ..descriptors import own, own_pair, own_sockets
from . import green, lacking
from .pace import Pace
from .unpatched import EPOLLIN, RLock, allocate_lock, epoll, poll, start_thread, write

if TYPE_CHECKING:
    import logging
    from io import FileIO

_CHUNK = 1 << 12
"""Bytes that are read at once: at the worst 2,000 lines, which take 20 ms."""
_LINE = 2000
"""Bytes of the longest line; a longer one is split."""
_LAST = 20
"""Lines of output that the error has if the worker dies."""
_TURN = 64
"""Log records of one worker that are read in a row."""
_REST = 4096
"""Log records read after a worker has ended: more than a socket holds, unless net.core.wmem_default was raised."""


def _pieces(line: bytes) -> list[bytes]:
    """Split a line that is too long, at the ends of characters; the last piece is its end."""
    pieces: list[bytes] = []
    start = 0
    while len(line) - start > _LINE:
        end = start + _LINE
        back = next((back for back in range(4) if line[end - back] & 0xC0 != 0x80), 0)
        pieces.append(line[start : end - back])
        start = end - back
    return [*pieces, line[start:]]


def _counter() -> tuple[FileIO, mmap.mmap]:
    """Memory for the number of dropped records. A worker that could shrink it would kill this process by SIGBUS."""
    try:
        file = own(os.memfd_create, "hardpoint-dropped", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except OSError as error:
        raise lacking.no_memory_file(error) from error
    os.ftruncate(file.fileno(), mmap.PAGESIZE)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file, mmap.mmap(file.fileno(), mmap.PAGESIZE)


def _logger(name: str) -> logging.Logger | green.Logger:
    """The logger of that name. The first time, `logging` is imported (5 ms), and the drain put before its own at exit."""
    import logging

    reader().drain_before_logging()
    logger, records = logging.getLogger(name), reader().green
    return records.logger(logger) if records else logger


class Output:
    """The output of one worker. `theirs` are the worker's ends, which are closed here once the worker has them."""

    def __init__(self, name: str) -> None:
        self.lines: deque[str] = deque(maxlen=_LAST)
        self._ended = allocate_lock()
        self._ended.acquire()
        self._name = f"hardpoint.plugin.{name}"
        self._rest = b""
        self.pace = Pace()
        self.pipe, pipe = own_pair(os.pipe2, os.O_CLOEXEC)
        os.set_blocking(self.pipe.fileno(), False)
        # Not of datagrams: whoever has one of those can send to any path, such as /dev/log.
        self.records, records = own_sockets(
            *_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
        )
        counter, dropped = _counter()
        self.drops = Drops(name, lambda: int.from_bytes(dropped[:8], "little"), _logger)
        self.theirs = (pipe, records, counter)

    def wait(self, seconds: float) -> None:
        """Wait until everything that the worker wrote has been read."""
        if self._ended.acquire(timeout=seconds):
            self._ended.release()

    def close_theirs(self) -> None:
        """Close the worker's ends in this process."""
        for each in self.theirs:
            each.close()

    def read_lines(self) -> bool:
        """Read once from the pipe; False at its end."""
        data = self.pipe.read(_CHUNK)
        if data is None:  # it is empty
            return True
        *lines, rest = (self._rest + data).split(b"\n")
        *whole, self._rest = _pieces(rest)
        if not data and self._rest:
            whole.append(self._rest)
        pieces = [*(piece for line in lines for piece in _pieces(line)), *whole]
        texts = [piece.decode(errors="backslashreplace") for piece in pieces]
        self.lines.extend(texts)
        if texts:
            log = _logger(f"{self._name}.output").info
            for text in texts:
                log("%s", one_line(text))
        return bool(data)

    def read_records(self, most: int = _TURN) -> bool:
        """Log the records that have come, at most `most` of them; False at their end."""
        for _ in range(most):
            try:
                packet = self.records.recv(LONGEST)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not packet and self._has_ended():  # else it is an empty packet
                return False
            if record := record_of(packet):
                _logger(self._name).log(record[1], "%s", record[2])
        return True

    def _has_ended(self) -> bool:
        """True if the worker has closed its end of the log socket."""
        asked = poll()
        asked.register(self.records, 0)  # POLLHUP is told without being asked for
        return bool(asked.poll(0))

    def close(self) -> None:
        """Read the remaining log records, and close everything: the pipe has ended."""
        try:
            self.read_records(_REST)
            self.drops.check(end=True)
        finally:
            self.pipe.close()
            self.records.close()
            with suppress(RuntimeError):  # it was closed before
                self._ended.release()


class Reader:
    """The thread that reads the output of all workers."""

    def __init__(self) -> None:
        self._outputs: dict[int, Any] = {}
        self._dropping: set[Output] = set()
        """Those that have dropped records of which there was no warning yet."""
        self._resting: dict[Output, float] = {}
        """Those that took more than their share, and until when they are not read."""
        self._poll = epoll()
        self._drained = allocate_lock()
        self._drained.acquire()
        self._woken, self._wakes = os.pipe2(os.O_CLOEXEC)
        self._poll.register(self._woken, EPOLLIN)
        self._pid = os.getpid()
        self._knows_logging = False
        self.green = green.records(_report)
        try:
            start_thread(self._read)
        except OSError:
            os.close(self._woken)
            os.close(self._wakes)
            raise
        atexit.register(self._drain)

    def drain_before_logging(self) -> None:
        """Have what was sent read before logging's hook at exit closes handlers; hooks run in reverse order."""
        if not self._knows_logging:
            self._knows_logging = True
            atexit.unregister(self._drain)
            atexit.register(self._drain)

    def add(self, output: Output) -> None:
        """Read a worker's output from now on."""
        if "logging" in sys.modules:
            self.drain_before_logging()
        # The pipe comes last: at its end, which may have come already, both are removed.
        reads = {output.records.fileno(): self._records, output.pipe.fileno(): self._lines}
        try:
            for fd, read in reads.items():
                self._outputs[fd] = (read, output)
                self._poll.register(fd, EPOLLIN)
        except BaseException:  # of a signal handler
            for fd in reads:
                self._outputs.pop(fd, None)
            raise

    def _read(self) -> None:
        while True:
            waits = [wait for wait in (self._check_drops(), self._resume()) if wait is not None]
            for fd, _ in self._poll.poll(min(waits, default=None)):
                if fd == self._woken:
                    self._ready(0.0)
                    self._check_drops(end=True)
                    self._drained.release()
                    return
                self._one(fd)

    def _resume(self) -> float | None:
        """Read those again that have rested; return the seconds until the next has, or None."""
        now = monotonic()
        for output in [output for output, until in self._resting.items() if until <= now]:
            del self._resting[output]
            self._watch(output, EPOLLIN)
        return min((until - now for until in self._resting.values()), default=None)

    def _watch(self, output: Output, events: int) -> None:
        for fd, (_, each) in [*self._outputs.items()]:  # another thread may add some
            if each is output:
                self._poll.modify(fd, events)

    def _check_drops(self, *, end: bool = False) -> float | None:
        """Warn of dropped records after a burst; return the seconds until the next burst may be over, or None."""
        waits: list[float] = []
        for output in list(self._dropping):
            try:
                wait = output.drops.check(end=end)
            except BaseException:  # noqa: BLE001 - as below
                _report()
                wait = None
            if wait is None:
                self._dropping.remove(output)
            else:
                waits.append(wait)
        return min(waits, default=None)

    def _ready(self, seconds: float) -> None:
        while ready := [fd for fd, _ in self._poll.poll(seconds) if fd != self._woken]:
            for fd in ready:
                self._one(fd)

    def _one(self, fd: int) -> None:
        read, output = self._outputs.get(fd, (None, None))
        if read is None:  # it ended earlier in this round
            return
        start = thread_time()
        try:
            read(output)
        except BaseException:  # noqa: BLE001 - of a logging handler: report it as a thread's, and go on
            _report()
        if rest := output.pace.spend(thread_time() - start):
            # The end of the pipe is heard of all the same, and what a worker left behind is read without a rest.
            self._resting[output] = monotonic() + rest
            self._watch(output, 0)

    def _lines(self, output: Output) -> None:
        if not output.read_lines():
            self._forget(output.pipe.fileno())
            self._forget(output.records.fileno())
            self._resting.pop(output, None)
            output.close()

    def _records(self, output: Output) -> None:
        if not output.read_records():
            self._forget(output.records.fileno())
        if output.drops.check() is not None:
            self._dropping.add(output)

    def _forget(self, fd: int) -> None:
        if self._outputs.pop(fd, None):  # records can end before the lines
            self._poll.unregister(fd)

    def _drain(self) -> None:
        """At exit: have all that was sent read, but don't wait long for a logging handler that hangs."""
        if os.getpid() == self._pid:
            write(self._wakes, b"\0")
            self._drained.acquire(timeout=1.0)
            if self.green:
                self.green.log()


def _report() -> None:
    """Report the exception of a logging handler as a thread's."""
    threading.excepthook(threading.ExceptHookArgs((*sys.exc_info(), threading.current_thread())))


_reader: Reader | None = None
_lock = RLock()


def reader() -> Reader:
    """Return the reader of this process."""
    global _reader  # noqa: PLW0603 - one a process
    with _lock:
        if _reader is None:
            _reader = Reader()
        return _reader


def _forget() -> None:
    global _reader, _lock
    _reader, _lock = None, RLock()


in_child(_forget)
