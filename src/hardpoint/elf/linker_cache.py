"""Read the cache of ldconfig(8), /etc/ld.so.cache, format 1.1: a header of 48 bytes, entries of 24, strings."""

from __future__ import annotations

import os
import struct
from operator import itemgetter

from .constants import EM_AARCH64, EM_X86_64
from .processor import variants

_CACHE = "/etc/ld.so.cache"
_LARGEST_CACHE = 64 << 20
"""Bytes; a system with 5,000 libraries has 0.4 MB."""
_MAGIC = b"glibc-ld.so.cache1.1"
_ENTRY = struct.Struct("<IIIIQ")  # flags, key, value, OS version, hwcap
_EXTENSIONS, _EXTENSION = 0xEAA42174, struct.Struct("<IIII")  # magic; tag, flags, offset, size
_HWCAPS, _HAS_VARIANT = 1, 1 << 62  # the extension with names of variants; in `hwcap`, with such a name's number
_FLAGS = {EM_X86_64: 0x0303, EM_AARCH64: 0x0A03}  # FLAG_ELF_LIBC6, and the machine


def without_blocking(path: str, flags: int) -> int:
    """An opener that does not wait for a FIFO that was put in a file's place."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)


def cached(name: str, machine: int) -> list[str]:
    """Return the paths of a library in the cache, in the order in which the dynamic linker prefers them."""
    try:
        with open(_CACHE, "rb", opener=without_blocking) as file:
            cache = file.read(_LARGEST_CACHE)
    except OSError:
        return []
    key, start = b"\0" + os.fsencode(name) + b"\0", cache.find(_MAGIC)
    if start < 0 or key not in cache:
        return []
    count = int.from_bytes(cache[start + 20 : start + 24], "little")
    found: list[tuple[int, str]] = []
    for flags, at, value, _, hwcap in _ENTRY.iter_unpack(cache[start + 48 : start + 48 + 24 * count]):
        if flags == _FLAGS.get(machine) and cache.startswith(key[1:], start + at):
            rank = _rank(cache, start, hwcap)
            path = _text(cache, start + value)
            if rank is not None:
                found.append((rank, path))
        elif found:  # entries of one name are adjacent
            break
    return [path for _, path in sorted(found, key=itemgetter(0))]


def _rank(cache: bytes, start: int, hwcap: int) -> int | None:
    """Return an entry's place in the order of this processor's variants, the plain file last; None if not for it."""
    if not hwcap & _HAS_VARIANT:
        return len(variants())
    names = _variant_names(cache, start)
    number = hwcap & 0xFFFFFFFF
    return variants().index(names[number]) if number < len(names) and names[number] in variants() else None


def _variant_names(cache: bytes, start: int) -> list[str]:
    """Return the names of the extension `glibc-hwcaps` of the cache (dl-cache.h of glibc)."""
    at = start + int.from_bytes(cache[start + 32 : start + 36], "little")
    magic, count = int.from_bytes(cache[at : at + 4], "little"), int.from_bytes(cache[at + 4 : at + 8], "little")
    if magic != _EXTENSIONS:
        return []
    table = cache[at + 8 : at + 8 + min(count, 64) * _EXTENSION.size]
    for tag, _, offset, size in _EXTENSION.iter_unpack(table[: len(table) // 16 * 16]):
        if tag == _HWCAPS:
            offsets = memoryview(cache[start + offset : start + offset + min(size, 256) // 4 * 4]).cast("I")
            return [_text(cache, start + each) for each in offsets]
    return []


def _text(cache: bytes, start: int) -> str:
    return cache[start : cache.find(b"\0", start)].decode("utf-8", "surrogateescape")
