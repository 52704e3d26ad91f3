"""The files that a worker may open -> a Landlock ruleset (landlock(7)) of the version that this kernel has.

The worker applies it. The package landlock knows paths alone, neither TCP nor scopes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...ffi.libc import libc
from ...fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE_RULESET = 444  # on every machine
_VERSION = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_MAKE_CHAR, _MAKE_BLOCK, _IOCTL_DEV, _RESOLVE_UNIX = 1 << 6, 1 << 11, 1 << 15, 1 << 16
_FIRST = (1 << 13) - 1
_ADDED = ((2, 1 << 13), (3, 1 << 14), (5, _IOCTL_DEV), (9, _RESOLVE_UNIX))
"""Rights over files that came with later versions: link or rename between folders, truncate, and those named above."""
_NEVER = _EXECUTE | _MAKE_CHAR | _MAKE_BLOCK | _IOCTL_DEV | _RESOLVE_UNIX
_TCP, _TCP_SINCE = 0b11, 4
_SCOPES, _SCOPES_SINCE = 0b11, 6  # abstract Unix sockets and signals


class Ruleset(Fields):
    """A ruleset, as the system calls take it; all is empty where the kernel has no Landlock."""

    abi: int = 0
    handled: int = 0
    """Rights over files that are given up, except where a rule has them."""
    tcp: int = 0
    scopes: int = 0
    rules: tuple[tuple[int, str], ...] = ()
    """Rights and path. The rights are those of a folder; the kernel takes fewer for a file."""


def version() -> int:
    """The version of Landlock's ABI; 0 where the kernel has none, has it turned off, or refuses the question."""
    return max(0, int(libc.syscall(_CREATE_RULESET, 0, 0, _VERSION, 0, 0)))


def ruleset(abi: int, read: Iterable[str], write: Iterable[str], *, network: bool, processes: bool) -> Ruleset:
    """Make the ruleset that leaves these paths, and no others."""
    if not abi:
        return Ruleset()
    handled = _FIRST | sum(right for since, right in _ADDED if abi >= since)
    reading = _READ_FILE | _READ_DIR | (_EXECUTE if processes else 0)
    writing = handled & ~_NEVER | reading
    rules = (*((reading, path) for path in read), *((writing, path) for path in write))
    tcp = _TCP if abi >= _TCP_SINCE and not network else 0
    return Ruleset(abi, handled, tcp, _SCOPES if abi >= _SCOPES_SINCE else 0, rules)
