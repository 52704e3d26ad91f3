"""Memory between guard pages: mmap(2) and mprotect(2)."""

from __future__ import annotations

import ctypes
import mmap
import os

PAGE = mmap.PAGESIZE
NONE, READ, READ_WRITE = 0, mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE
_NO_RESERVE = 0x4000  # mmap.MAP_NORESERVE, new in Python 3.13; the same number on x86-64 and AArch64

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_mprotect = _libc.mprotect
_mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


def round_up(size: int) -> int:
    """Round a size up to whole pages."""
    return -(-size // PAGE) * PAGE


class Region:
    """At least `size` bytes of zeros between two guard pages. It takes no memory until it is written to."""

    def __init__(self, size: int, protection: int = READ_WRITE) -> None:
        whole = max(round_up(size), PAGE)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE
        base = _mmap(None, whole + 2 * PAGE, NONE, flags, -1, 0)
        if base == ctypes.c_void_p(-1).value:
            raise MemoryError(f"no room for {whole} bytes: {os.strerror(ctypes.get_errno())}")
        self.start: int = base + PAGE
        self.end: int = self.start + whole
        self.protect(protection)

    def protect(self, protection: int, end: int | None = None) -> None:
        """Set the protection of the memory up to `end`, the address of a page."""
        if _mprotect(self.start, (end or self.end) - self.start, protection):
            raise MemoryError(f"memory cannot be protected: {os.strerror(ctypes.get_errno())}")

    def free(self) -> None:
        """Unmap it, guard pages included."""
        _munmap(self.start - PAGE, self.end - self.start + 2 * PAGE)


def write(address: int, data: bytes) -> None:
    """Copy bytes to an address."""
    ctypes.memmove(address, data, len(data))


def read(address: int, size: int) -> bytes:
    """The bytes at an address."""
    return ctypes.string_at(address, size)
