"""What a worker can open, by Landlock (landlock(7)): the files that the library and the loader need, and no others.

Best effort by the version of the kernel's Landlock ABI. The package landlock knows paths alone, neither TCP nor scopes,
and its imports cost a zygote 15 ms; what is needed of it is three system calls.
"""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

from ...ffi.libc import ffi, libc

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # on every machine
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
_MAKE_CHAR, _MAKE_BLOCK, _IOCTL_DEV, _RESOLVE_UNIX = 1 << 6, 1 << 11, 1 << 15, 1 << 16
_FIRST = (1 << 13) - 1
_ADDED = ((2, 1 << 13), (3, _TRUNCATE), (5, _IOCTL_DEV), (9, _RESOLVE_UNIX))
"""Rights over files that came with later versions; 1 << 13 is to link or rename between folders."""
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract Unix sockets and signals


def version() -> int:
    """The version of Landlock's ABI; 0 where the kernel has none, or has it turned off."""
    return max(0, int(libc.syscall(_CREATE_RULESET, 0, 0, _VERSION, 0, 0)))


def restrict(abi: int, read: Iterable[str], write: Iterable[str], *, network: bool, processes: bool) -> str | None:
    """Give up all files but these, which are passed over if they are not there; the reason if that cannot be."""
    handled = _FIRST | sum(right for since, right in _ADDED if abi >= since)
    reading = _READ_FILE | _READ_DIR | (_EXECUTE if processes else 0)
    writing = handled & ~(_EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV | _RESOLVE_UNIX) | reading
    tcp = _TCP if abi >= _TCP_SINCE and not network else 0
    scopes = _SCOPES if abi >= _SCOPES_SINCE else 0
    attributes = struct.pack("=QQQ", handled, tcp, scopes)[: 24 if scopes else 16 if abi >= _TCP_SINCE else 8]
    ruleset = libc.syscall(_CREATE_RULESET, _address(attributes), len(attributes), 0, 0, 0)
    if ruleset < 0:
        return _failed()
    try:
        for paths, rights in ((read, reading), (write, writing)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0, 0, 0, 0):
            return _failed()
    finally:
        os.close(ruleset)
    return None


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _ON_FILES
        rule = struct.pack("=Qi", rights, fd)
        libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, _address(rule), 0, 0)
    finally:
        os.close(fd)


def _address(data: bytes) -> int:
    """Where bytes lie, for as long as the caller keeps them."""
    return int(ffi.cast("uintptr_t", ffi.from_buffer(data)))


def _failed() -> str:
    return f"the kernel refuses a Landlock ruleset here ({os.strerror(ffi.errno)})"
