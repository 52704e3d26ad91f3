"""Shared memory of host and worker, for payloads that are too large for a frame; each connection has its own.

It is a memfd that can grow and not shrink: if a worker could shrink it, the host would die of SIGBUS when it reads.
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

_GRAIN = 1 << 16
"""The memory grows by multiples of this many bytes."""
_LARGE = 1 << 22
"""Bytes above which it isn't kept for the next call."""


def memory(name: str) -> FileIO:
    """Make shared memory of size 0."""
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
        """True if it takes too much memory to be kept for the next call."""
        return self._size > _LARGE

    def begin(self, at: int = 0) -> None:
        """Let `put` overwrite everything from an offset on."""
        self._used = at

    def put(self, data: Any) -> Any:
        """Append a payload to those since `begin`, and return what stands for it in a frame."""
        size, offset = len(data), self._used
        self.view(offset, size, grow=True)[:] = data
        self._used = offset + size
        return wire.payload(offset, size)

    def copy(self, content: Any) -> Any:
        """Return a copy of a payload, if it is in this memory; else the content of the frame itself."""
        return bytes(self.view(*wire.EXTENT.unpack(content.data))) if type(content) is wire.ExtType else content

    def view(self, offset: int, size: int, *, grow: bool = False) -> memoryview:
        """View a range of bytes. Raises FrameError if the memory ends before that, and `grow` is False."""
        end = offset + size
        if end > self._size or self._map is None:
            self._follow(end, grow=grow)
        assert self._map is not None  # noqa: S101 - _follow made it
        return memoryview(self._map)[offset:end]

    def _follow(self, end: int, *, grow: bool) -> None:
        """Map the memory again, at least up to `end`."""
        status = os.fstat(self.fd)
        size = status.st_size
        if end > size and grow:
            size = -(-max(end, 2 * size) // _GRAIN) * _GRAIN
            os.ftruncate(self.fd, size)
        # Count blocks, not size: a worker can make a huge hole at no cost, and reading it takes memory of this process.
        allocated = size if grow else min(size, status.st_blocks * 512)
        if end > allocated or not size:
            raise wire.FrameError(f"a payload that ends at byte {end} of {allocated}")
        # The whole may be too large to map, for the same reason.
        self._size = min(size, -(-2 * end // _GRAIN) * _GRAIN or _GRAIN)
        self._map = mmap.mmap(self.fd, self._size)

    def close(self) -> None:
        """Close the descriptor; the mapping goes with the last view of it."""
        self._file.close()
        self._map = None
