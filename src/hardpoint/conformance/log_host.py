"""An hp_host for checks: its log records are read here, and its memory can be write-protected."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
from contextlib import suppress

from ..ffi.abi import ABI
from . import pages
from .pages import PAGE, READ, Region

_HOST = struct.Struct("<IHHQQQQiI")
RECORD = struct.Struct("<QiI")
"""hp_log_record: source, level, reserved."""
SOURCE = 0x68617264706F696E
_LONGEST = 1 << 16
_MARK = b"for the host alone"


class LogHost:
    """One hp_host with a log of its own. It is never freed: a plugin may keep the pointer until the process exits."""

    def __init__(self, *, readonly: bool = False) -> None:
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._ours.setblocking(False)
        theirs.setblocking(False)
        self._fd = theirs.detach()
        self._before = self._state()
        self._ours.send(_MARK)  # in the direction in which no plugin reads
        self._counter = Region(PAGE).start
        region = Region(2 * PAGE)
        self.address = region.start
        name, version = region.start + PAGE, region.start + PAGE + 64
        pages.write(name, b"hardpoint")
        pages.write(version, b"0")
        pages.write(self.address, _HOST.pack(_HOST.size, *ABI, name, version, self._counter, SOURCE, self._fd, 0))
        if readonly:
            region.protect(READ)

    def _state(self) -> tuple[int, ...]:
        status = os.fstat(self._fd)
        flags = (fcntl.fcntl(self._fd, fcntl.F_GETFL), fcntl.fcntl(self._fd, fcntl.F_GETFD))
        return (status.st_dev, status.st_ino, *flags)

    def records(self, patience: float = 0.0) -> list[bytes]:
        """Read the records that have come, or come within `patience` seconds."""
        found: list[bytes] = []
        while select.select([self._ours], [], [], patience)[0]:
            with suppress(OSError):
                found.append(self._ours.recv(_LONGEST))
        return found

    @property
    def dropped(self) -> int:
        """The counter of dropped records."""
        return int.from_bytes(pages.read(self._counter, 8), "little")

    def fill(self) -> None:
        """Fill the socket, and have it wait for room, so that only MSG_DONTWAIT does not."""
        with suppress(BlockingIOError):
            while True:
                os.write(self._fd, b"full")
        os.set_blocking(self._fd, True)

    def damage(self) -> str | None:
        """Describe what was done to the descriptor; None if nothing was."""
        try:
            dev, ino, flags, at_exec = self._state()
        except OSError:
            return "closed it"
        if (dev, ino) != self._before[:2]:
            return "closed it, and something else was opened under its number"
        if (flags, at_exec) != self._before[2:]:
            return "changed its flags" + ", so that it blocks" * bool(self._before[2] & ~flags & os.O_NONBLOCK)
        theirs = socket.socket(fileno=os.dup(self._fd))
        with theirs:
            try:
                unread = theirs.recv(_LONGEST, socket.MSG_DONTWAIT)
                theirs.send(_MARK)
            except OSError:
                unread = b""
        if unread != _MARK:
            return "read from it, or shut it down"
        return None if _MARK in self.records() else "shut it down"
