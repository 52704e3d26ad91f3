"""The output and log records of one worker -> `logging`.

Lines of stdout and stderr go to `hardpoint.plugin.<name>.output`, log records to `hardpoint.plugin.<name>`, like those
of a plugin in the process. A worker that writes faster than the reader reads waits (output), or drops and counts
(records).
"""

from __future__ import annotations

import _socket
import fcntl
import mmap
import os
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ...errors import one_line
from ...inprocess.host_log import LONGEST, record_of
from ..descriptors import own, own_pair, own_sockets
from . import lacking
from .unpatched import POLLRDHUP, allocate_lock, poll

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from .flow import Flow

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
    os.pwrite(file.fileno(), bytes(8), 0)  # else the first touch of the memory is SIGBUS where none is left
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return file, mmap.mmap(file.fileno(), mmap.PAGESIZE)


class Output:
    """The output of one worker. `theirs` are the worker's ends, which are closed here once the worker has them."""

    def __init__(self, flow: Flow, logger: Callable[[str], Any]) -> None:
        self.flow = flow
        self._logger = logger
        self.lines: deque[str] = deque(maxlen=_LAST)
        self._ended = allocate_lock()
        self._ended.acquire()
        self._name = f"hardpoint.plugin.{flow.name}"
        self._rest = b""
        self.pipe, pipe = own_pair(os.pipe2, os.O_CLOEXEC)
        os.set_blocking(self.pipe.fileno(), False)
        # Not of datagrams: whoever has one of those can send to any path, such as /dev/log.
        self.records, records = own_sockets(
            *_socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_NONBLOCK)
        )
        counter, self._dropped = _counter()
        flow.count(self._dropped)
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
            self._rest = b""  # also if a handler raises: the end is read again then
        pieces = [*(piece for line in lines for piece in _pieces(line)), *whole]
        texts = [piece.decode(errors="backslashreplace") for piece in pieces]
        self.lines.extend(texts)
        if texts:
            log = self._logger(f"{self._name}.output").info
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
                self._logger(self._name).log(record[1], "%s", record[2])
        return True

    def _has_ended(self) -> bool:
        """True if the worker has closed its end of the log socket."""
        asked = poll()
        asked.register(self.records, POLLRDHUP)
        return bool(asked.poll(0))

    def close(self) -> None:
        """Read the remaining log records, and close everything: the pipe has ended."""
        try:
            self.read_records(_REST)
            with suppress(ValueError):  # it was closed before
                self.flow.end_count(self._dropped)
        finally:
            self.pipe.close()
            self.records.close()
            with suppress(RuntimeError):  # it was closed before
                self._ended.release()
