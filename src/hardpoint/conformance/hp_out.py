"""The host's side of hp_out, as hostile as the ABI allows: minimal memory, and a grow that moves it or refuses."""

from __future__ import annotations

import threading
from ctypes import CFUNCTYPE, addressof, c_int32, c_size_t, c_void_p, cast, memmove

from ..binding.ctypes import OutStruct
from ..ffi.abi import NO_MEMORY, OK
from . import pages
from .pages import NONE, PAGE, READ_WRITE, Region, round_up

LEAST = 512
"""The capacity that the ABI promises a plugin."""
_MOST = 1 << 26
_CANARY = b"\xa5"
_GROW = CFUNCTYPE(c_int32, c_void_p, c_size_t)


class RoomyOut:
    """An hp_out with a capacity of 64 MiB from the start, between two writable pages."""

    def __init__(self) -> None:
        self.region = Region(_MOST + 2 * PAGE, self.protection())
        self.data, self.cap = self.region.start + PAGE, _MOST
        self.asked = 0
        """Calls of grow for more than there was."""
        self.strayed = False
        """True once grow was called on another thread than the method."""
        self._thread = 0
        self._function = _GROW(self._grow)
        self.struct = OutStruct(grow=cast(self._function, c_void_p).value)
        self.address = addressof(self.struct)

    def protection(self) -> int:
        """The initial protection of the memory, by mprotect(2)."""
        return READ_WRITE

    def reset(self) -> None:
        """Prepare for a call."""
        self.struct.data, self.struct.len, self.struct.cap = self.data, 0, self.cap
        self._thread = threading.get_ident()

    def _grow(self, _: int, need: int) -> int:
        """Implement grow. It must not raise: an exception cannot cross the plugin."""
        self.strayed |= threading.get_ident() != self._thread
        if need <= self.cap:
            return OK
        self.asked += 1
        return self.grow(need)

    def grow(self, need: int) -> int:
        """Provide more memory than there is; return a status. It must not raise, either."""
        del need
        return NO_MEMORY

    def is_intact(self) -> bool:
        """True if data, cap and grow are still those that the host wrote."""
        struct = self.struct
        mine = (self.data, self.cap, cast(self._function, c_void_p).value)
        return (struct.data, struct.cap, struct.grow) == mine

    def trespass(self) -> str | None:
        """Describe a write outside the memory; None if there was none."""
        return None


class TightOut(RoomyOut):
    """Exactly 512 bytes: access after the end faults, and the bytes before the start are checked. Grows in place."""

    def protection(self) -> int:
        """None at first: `reset` makes one page accessible."""
        return NONE

    def reset(self) -> None:
        """Make only the first page accessible; the memory is its last 512 bytes."""
        self.region.protect(NONE)
        first = self.region.start + PAGE
        self.region.protect(READ_WRITE, first)
        self.data, self.cap = first - LEAST, LEAST
        pages.write(self.region.start, _CANARY * (PAGE - LEAST))
        super().reset()

    def grow(self, need: int) -> int:
        """Make as many pages accessible as are needed."""
        end = self.region.start + round_up(PAGE - LEAST + need)
        if end > self.region.end:
            return NO_MEMORY
        self.region.protect(READ_WRITE, end)
        self.struct.cap = self.cap = end - self.data
        return OK

    def trespass(self) -> str | None:
        """Check the bytes before the start."""
        before = pages.read(self.region.start, PAGE - LEAST)
        return None if before == _CANARY * (PAGE - LEAST) else "wrote before the start of out->data"


class MovingOut(RoomyOut):
    """512 bytes. Every grow moves to new memory of exactly the needed size, and access to the old memory faults."""

    def __init__(self) -> None:
        super().__init__()
        self._first = self.data
        self._elsewhere: list[Region] = []

    def reset(self) -> None:
        """Return to the first memory."""
        self.region.protect(READ_WRITE)
        for region in self._elsewhere:
            region.free()
        self._elsewhere.clear()
        self.data, self.cap = self._first, LEAST
        super().reset()

    def grow(self, need: int) -> int:
        """Move."""
        if need > _MOST:
            return NO_MEMORY
        region = Region(need + 2 * PAGE)
        data = region.start + PAGE
        memmove(data, self.data, min(self.struct.len, self.cap))
        (self._elsewhere[-1] if self._elsewhere else self.region).protect(NONE)
        self._elsewhere.append(region)
        self.struct.data, self.struct.cap = self.data, self.cap = data, need
        return OK


class RefusingOut(RoomyOut):
    """512 bytes, and grow fails, at once or after some successes; the bytes after the end are checked."""

    _WATCHED = 1 << 16

    def __init__(self, successes: int = 0) -> None:
        super().__init__()
        self._successes = successes
        self.refused = False
        """True once grow was refused in this call."""

    def reset(self) -> None:
        """Mark the bytes after the first 512."""
        self.cap, self.asked, self.refused = LEAST, 0, False
        self._mark()
        super().reset()

    def grow(self, need: int) -> int:
        """Give exactly the needed size, or refuse."""
        if self.asked > self._successes or need + self._WATCHED > _MOST:
            self.refused = True
            return NO_MEMORY
        self.cap = self.struct.cap = need
        self._mark()
        return OK

    def _mark(self) -> None:
        pages.write(self.data + self.cap, _CANARY * self._WATCHED)

    def trespass(self) -> str | None:
        """Check the bytes after the end, if grow was refused in this call."""
        behind = pages.read(self.data + self.cap, self._WATCHED)
        return "wrote behind out->cap though grow had refused" if self.refused and behind.strip(_CANARY) else None
