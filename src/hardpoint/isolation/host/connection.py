"""A channel to one thread of a worker; see isolation/channel/_host.h. Its answers are copied and checked there."""

from __future__ import annotations

import errno
import os
import resource
from typing import Any

from ...ffi.libc import ffi
from ...fields import Fields
from . import lacking
from .answer import Answer
from .lost import GoneError, LateError, MalformedError
from .program import library
from .protocol import (
    CHANNEL_MAPPED,
    HP_ANSWERED,
    HP_GONE,
    HP_INTERRUPTED,
    HP_MALFORMED,
    HP_TIMED_OUT,
    MALFORMED_FLAGS,
    MALFORMED_HOLES,
    MALFORMED_LENGTH,
    MALFORMED_STATUS,
    MALFORMED_WAKES,
    MALFORMED_WORD,
    NOT_SENT,
    REPLY_TOO_LONG,
    STAGE_LOADED,
)

__tracebackhide__ = True  # pytest shows the call in the test, not these frames

_LARGEST, _HEAD, _LONGEST = 4 << 30, 32, 1 << 16
"""Bytes of the largest half, before the text of a reply, and of the reason why a plugin could not be loaded."""
_REASONS = {
    MALFORMED_WORD: "a wrong sequence number",
    MALFORMED_FLAGS: "unknown flags",
    MALFORMED_STATUS: "a status out of range",
    MALFORMED_LENGTH: "a length beyond its memory",
    MALFORMED_HOLES: "a text in memory that was never written",
    MALFORMED_WAKES: "a thousand wake-ups without an answer",
}


class Room(Fields):
    """The size of a channel, in bytes."""

    half: int
    text: int
    """The longest text of an answer."""
    bound: str
    """The limit that makes it no larger."""

    @property
    def mebibytes(self) -> int:
        """The room for arguments, which is that for a result."""
        return (self.text + _HEAD) >> 20

    @classmethod
    def of(cls, memory: int | None) -> Room:
        """The largest channel that this process can have, with `memory` bytes for arguments, and for a result."""
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        most = _LARGEST if limit == resource.RLIM_INFINITY else min(_LARGEST, limit // 2)
        wanted = most if memory is None else -(-memory // CHANNEL_MAPPED) * CHANNEL_MAPPED + CHANNEL_MAPPED
        half = min(most, wanted) // CHANNEL_MAPPED * CHANNEL_MAPPED
        if not half:
            raise lacking.small_files(2 * CHANNEL_MAPPED)
        text = half - _HEAD if memory is None else min(memory, half - _HEAD)
        if text == memory:
            return cls(half, text, "Isolation(memory=...)")
        return cls(half, text, "" if most == _LARGEST else "ulimit -f")


class Connection:
    """A channel, which is closed with its last reference. It is used by one caller at a time."""

    __slots__ = ("__weakref__", "address", "claim", "struct", "worker")

    def __init__(self, struct: Any, worker: Any) -> None:
        self.struct = struct
        self.address = int(ffi.cast("uintptr_t", struct))
        self.worker = worker
        self.claim: Any = None
        """The Claim of the call that uses it, in a pool; it ends with this object at the latest."""

    @classmethod
    def open(cls, worker: Any, room: Room) -> Connection:
        """Make a channel, which the worker does not have yet. OSError or LackingError if there can be none."""
        channels = library()
        error = ffi.new("int *")
        # In one call of C code, so that a signal handler's exception cannot lose it.
        opened = map(channels.hp_channel_open, (room.half,), (room.text,), (error,))
        made = next(map(ffi.gc, opened, (channels.hp_channel_close,)))
        if not made:
            raise lacking.no_channel(error[0], room.half)
        return cls(made, worker)

    @property
    def fd(self) -> int:
        """The descriptor of its memory."""
        return int(library().hp_channel_fd(self.struct))

    def write(self, offset: int, data: bytes) -> None:
        """Write to the request's half."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self.fd, view, offset)
            view, offset = view[written:], offset + written

    def send(self, method: int) -> None:
        """Send a request without arguments."""
        if number := library().hp_channel_send(self.struct, method, ffi.NULL, 0):
            raise GoneError if number == errno.EPIPE else OSError(number, os.strerror(number))

    def wait(self, deadline: int, *, is_load: bool = False) -> Answer:
        """Wait for the answer. Raises LateError, GoneError or MalformedError.

        A plugin's own reason can be long; an answer to a load that is another's has no reason to be.
        """
        channels = library()
        found = HP_INTERRUPTED
        while found == HP_INTERRUPTED:  # signal handlers run between two rounds
            found = channels.hp_channel_wait(self.struct, deadline)
        if found != HP_ANSWERED:
            raise error_of(found, channels.hp_channel_why(self.struct))
        head = ffi.new("hp_answer *")
        if why := channels.hp_channel_answer(self.struct, head):
            raise error_of(HP_MALFORMED, why)
        size = 0 if head.flags & REPLY_TOO_LONG else head.len
        if is_load and head.scalar & 0xFF != STAGE_LOADED and size > _LONGEST:
            raise error_of(HP_MALFORMED, MALFORMED_LENGTH)
        text = ffi.new("char[]", size)
        if number := channels.hp_channel_read(self.struct, 1, 0, text, len(text)):
            raise OSError(number, os.strerror(number))
        return Answer(head.status, head.flags, head.len, head.scalar, ffi.buffer(text)[:])

    def is_gone(self) -> bool:
        """True once the channel was abandoned."""
        return bool(library().hp_channel_is_gone(self.struct))

    def abandon(self) -> None:
        """End the wait of whoever uses it, now and later."""
        library().hp_channel_abandon(self.struct)

    def trim(self) -> None:
        """Give back memory after a large call."""
        library().hp_channel_trim(self.struct)


def error_of(code: int, detail: int) -> LateError | GoneError | MalformedError | OSError:
    """The error for a result of hp_channel_wait, or for NOT_SENT."""
    if code == HP_TIMED_OUT:
        return LateError()
    if code == HP_GONE or (code == NOT_SENT and detail == errno.EPIPE):
        return GoneError()
    if code == NOT_SENT and detail == errno.EPROTO:
        code, detail = HP_MALFORMED, MALFORMED_WORD
    if code == HP_MALFORMED:
        return MalformedError(_REASONS.get(detail, f"rule {detail}"))
    return OSError(detail, os.strerror(detail))
