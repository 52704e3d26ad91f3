"""Where the inputs of a call lie: with room around them, or as unpleasantly as the ABI allows."""

from __future__ import annotations

from typing import Literal

from . import pages
from .pages import PAGE, READ, Region

_KEPT = 2000
"""Regions that stay after their call: a plugin that keeps a pointer is found by the one check that looks for it."""
_KEPT_BYTES = 1 << 28


class Places:
    """Puts buffers into memory of their own. As it comes: aligned to 64 bytes, with a page of zeros on both sides."""

    def __init__(
        self,
        *,
        edge: Literal["", "start", "end"] = "",
        offset: int = 0,
        readonly: bool = False,
        shared: bool = False,
    ) -> None:
        self._edge = edge
        """Which end of the buffer has memory behind it that cannot be touched."""
        self._offset = offset
        """Bytes from an aligned address."""
        self._readonly = readonly
        """Whether what the plugin may only read cannot be written to."""
        self._shared: dict[bytes, int] | None = {} if shared else None
        """With it, equal buffers are one and the same memory."""
        self._regions: list[Region] = []
        self._bytes = 0

    def put(self, data: bytes, *, writable: bool) -> int:
        """The address of a copy of the bytes."""
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

    def take_away(self) -> None:
        """Make everything untouchable: after a call it is no longer the plugin's."""
        for region in self._regions:
            region.protect(pages.NONE)

    def _keep(self, region: Region) -> None:
        self._regions.append(region)
        self._bytes += region.end - region.start
        while len(self._regions) > _KEPT or (self._bytes > _KEPT_BYTES and len(self._regions) > 16):
            oldest = self._regions.pop(0)
            self._bytes -= oldest.end - oldest.start
            oldest.free()
