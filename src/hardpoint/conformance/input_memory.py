"""Memory for the inputs of a call: with space around them, or as hostile as the ABI allows."""

from __future__ import annotations

from typing import Literal

from . import pages
from .pages import PAGE, READ, Region

_KEPT = 2000
"""Regions that are not freed after their call: only one check looks for a plugin that uses a pointer after the call."""
_KEPT_BYTES = 1 << 28


class InputMemory:
    """Copies each input into a region of its own: by default aligned to 64 bytes, between two pages of zeros."""

    def __init__(
        self,
        *,
        edge: Literal["", "start", "end"] = "",
        offset: int = 0,
        readonly: bool = False,
        shared: bool = False,
    ) -> None:
        self._edge = edge
        """The end of the buffer beyond which access faults."""
        self._offset = offset
        """Bytes from an aligned address."""
        self._readonly = readonly
        """True to make read-only inputs fault when they are written to."""
        self._shared: dict[bytes, int] | None = {} if shared else None
        """The address of each input, so that equal inputs share memory; None to copy each."""
        self._regions: list[Region] = []
        self._bytes = 0

    def put(self, data: bytes, *, writable: bool) -> int:
        """Copy an input; return the address of the copy."""
        if self._shared is not None and data in self._shared:
            return self._shared[data]
        if self._edge:
            region = Region(len(data))
            address: int = region.start if self._edge == "start" else region.end - len(data)
        else:
            region = Region(len(data) + 2 * PAGE + self._offset)
            address = region.start + PAGE + self._offset
        pages.write(address, data)
        if self._readonly and not writable:
            region.protect(READ)
        if self._shared is not None:
            self._shared[data] = address
        self._keep(region)
        return address

    def revoke(self) -> None:
        """Make all access fault: after a call the inputs are no longer valid."""
        for region in self._regions:
            region.protect(pages.NONE)

    def _keep(self, region: Region) -> None:
        self._regions.append(region)
        self._bytes += region.end - region.start
        while len(self._regions) > _KEPT or (self._bytes > _KEPT_BYTES and len(self._regions) > 16):
            oldest = self._regions.pop(0)
            self._bytes -= oldest.end - oldest.start
            oldest.free()
