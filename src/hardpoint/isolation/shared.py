"""Memory that host and worker both map, for payloads that are too large for a frame; each connection has its own.

It is a memfd that can grow and not shrink: a worker that made it smaller would have the host die of SIGBUS.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any

from . import wire
from .descriptors import own

if TYPE_CHECKING:
    from io import FileIO

_GRAIN, _KEPT = 1 << 16, 1 << 22


def memory(name: str) -> FileIO:
    """New memory, of no size yet."""
    file = own(os.memfd_create, name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    return file


class Shared:
    """A mapping of the memory behind a descriptor, which follows it when it grows. It closes the descriptor."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.fd = file.fileno()
        self._map: mmap.mmap | None = None
        self._size = 0
        self._used = 0

    @property
    def is_large(self) -> bool:
        """Whether it takes more memory than should be kept for the next call."""
        return self._size > _KEPT

    def put(self, data: Any) -> Any:
        """Copy bytes behind those that were put since `begin`, and give what stands for them in a frame."""
        size, offset = len(data), self._used
        self.view(offset, size, grow=True)[:] = data
        self._used = offset + size
        return wire.place(offset, size)

    def copy(self, placed: Any) -> Any:
        """A copy of what was put there, or what stands in a frame itself."""
        return bytes(self.view(*wire.PLACED.unpack(placed.data))) if type(placed) is wire.ExtType else placed

    def begin(self, at: int = 0) -> None:
        """Forget what was put behind `at`."""
        self._used = at

    def view(self, offset: int, size: int, *, grow: bool = False) -> memoryview:
        """So many bytes at an offset. FrameError if the memory ends before that, unless it is to grow."""
        end = offset + size
        if end > self._size or self._map is None:
            self._follow(end, grow=grow)
        assert self._map is not None  # noqa: S101 - _follow made it
        return memoryview(self._map)[offset:end]

    def _follow(self, end: int, *, grow: bool) -> None:
        status = os.fstat(self.fd)
        size = status.st_size
        if end > size and grow:
            size = -(-max(end, 2 * size) // _GRAIN) * _GRAIN
            os.ftruncate(self.fd, size)
        # To read a hole would take its memory of this process.
        there = size if grow else min(size, status.st_blocks * 512)
        if end > there or not size:
            raise wire.FrameError(f"a payload that ends at byte {end} of {there}")
        # The other side may have made it too large to map.
        self._size = min(size, -(-2 * end // _GRAIN) * _GRAIN or _GRAIN)
        self._map = mmap.mmap(self.fd, self._size)

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view of it."""
        self._file.close()
        self._map = None
