"""The host's side of hp_out, in the forms that the ABI allows: with much room, with just enough, moving, refusing."""

from __future__ import annotations

from ctypes import CFUNCTYPE, addressof, c_int32, c_size_t, c_void_p, cast, memmove

from ..binding.ctypes import OutStruct
from ..ffi.abi import NO_MEMORY, OK
from . import pages
from .pages import NONE, PAGE, READ_WRITE, Region, round_up

LEAST = 512
"""Bytes of room that a plugin can count on."""
_MOST = 1 << 26
_CANARY = b"\xa5"
_GROW = CFUNCTYPE(c_int32, c_void_p, c_size_t)


class Out:
    """One hp_out with room for 64 MiB from the start, and memory behind and before it that bears being written to."""

    def __init__(self) -> None:
        self.region = Region(_MOST + 2 * PAGE, self.protection())
        self.data, self.cap = self.region.start + PAGE, _MOST
        self.asked = 0
        """How often more room was wanted."""
        self._function = _GROW(lambda _, need: self.grow(need))
        self.struct = OutStruct(grow=cast(self._function, c_void_p).value)
        self.address = addressof(self.struct)

    def protection(self) -> int:
        """What may be done with the memory at first."""
        return READ_WRITE

    def reset(self) -> None:
        """Before a call."""
        self.struct.data, self.struct.len, self.struct.cap = self.data, 0, self.cap

    def grow(self, need: int) -> int:
        """What the plugin calls; a status. Nothing may be raised in it, since it could not cross the plugin."""
        self.asked += 1
        return OK if need <= self.cap else NO_MEMORY

    def is_intact(self) -> bool:
        """Whether data, cap and grow are still what the host wrote."""
        struct = self.struct
        mine = (self.data, self.cap, cast(self._function, c_void_p).value)
        return (struct.data, struct.cap, struct.grow) == mine

    def trespass(self) -> str | None:
        """What of the memory around was written to, in words; None if nothing was."""
        return None


class TightOut(Out):
    """512 bytes and not one more: what lies behind cannot be touched, and what lies before is looked at. Grows in place."""

    def protection(self) -> int:
        """None: `reset` opens a page."""
        return NONE

    def reset(self) -> None:
        """Close all but the first page; the room is its last 512 bytes."""
        self.region.protect(NONE)
        first = self.region.start + PAGE
        self.region.protect(READ_WRITE, first)
        self.data, self.cap = first - LEAST, LEAST
        pages.write(self.region.start, _CANARY * (PAGE - LEAST))
        super().reset()

    def grow(self, need: int) -> int:
        """Open as many pages as it takes."""
        self.asked += 1
        end = self.region.start + round_up(PAGE - LEAST + need)
        if end > self.region.end:
            return NO_MEMORY
        self.region.protect(READ_WRITE, end)
        self.struct.cap = self.cap = end - self.data
        return OK

    def trespass(self) -> str | None:
        """Whether the bytes before the room are as they were."""
        before = pages.read(self.region.start, PAGE - LEAST)
        return None if before == _CANARY * (PAGE - LEAST) else "wrote before the start of out->data"


class MovingOut(Out):
    """512 bytes, and memory elsewhere at every grow, of the size that is asked for; the old can no longer be touched."""

    def __init__(self) -> None:
        super().__init__()
        self._first = self.data
        self._elsewhere: list[Region] = []

    def reset(self) -> None:
        """Go back to the first memory."""
        self.region.protect(READ_WRITE)
        for region in self._elsewhere:
            region.free()
        self._elsewhere.clear()
        self.data, self.cap = self._first, LEAST
        super().reset()

    def grow(self, need: int) -> int:
        """Move, if more is needed than there is."""
        self.asked += 1
        if need <= self.cap:
            return OK
        if need > _MOST:
            return NO_MEMORY
        region = Region(need + 2 * PAGE)
        data = region.start + PAGE
        memmove(data, self.data, min(self.struct.len, self.cap))
        (self._elsewhere[-1] if self._elsewhere else self.region).protect(NONE)
        self._elsewhere.append(region)
        self.struct.data, self.struct.cap = self.data, self.cap = data, need
        return OK


class RefusingOut(Out):
    """512 bytes, and no more for anybody; the bytes behind are looked at."""

    _WATCHED = 1 << 16

    def reset(self) -> None:
        """Set 512 bytes apart."""
        self.cap, self.asked = LEAST, 0
        pages.write(self.data + LEAST, _CANARY * self._WATCHED)
        super().reset()

    def trespass(self) -> str | None:
        """Whether the bytes behind the room are as they were; only said of a call whose grow was refused."""
        behind = pages.read(self.data + LEAST, self._WATCHED)
        return "wrote behind out->cap though grow had refused" if self.asked and behind.strip(_CANARY) else None
