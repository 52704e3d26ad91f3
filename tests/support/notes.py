"""The smallest library that a reader of notes takes: headers, an empty dynamic section, and segments of notes."""

from __future__ import annotations

import os
import struct

MACHINE = {"x86_64": 62, "aarch64": 183}[os.uname().machine]
_TABLES = struct.pack("<QQQQQQQQ", 5, 0x400, 10, 1, 6, 0x408, 0, 0)  # DT_STRTAB, DT_STRSZ, DT_SYMTAB, DT_NULL


def note(description: bytes, *, owner: bytes = b"hardpoint\0", kind: int = 1, step: int = 4) -> bytes:
    """A note, its parts padded with zeros to multiples of `step`."""
    head = struct.pack("<III", len(owner), len(description), kind) + owner
    head += bytes(-len(head) % step)
    return head + description + bytes(-len(description) % step)


def library(*segments: bytes, align: int = 4, shift: int = 0) -> bytes:
    """A library with these segments of notes, each `shift` bytes after a multiple of 64. It cannot be loaded."""
    data = bytearray(0x440)
    data[0x380:0x3C0] = _TABLES
    headers = [struct.pack("<IIQQQQQQ", 2, 4, 0x380, 0x380, 0x380, 64, 64, 8)]
    for segment in segments:
        data += bytes(-len(data) % 64 + shift)
        at, size = len(data), len(segment)
        headers.append(struct.pack("<IIQQQQQQ", 4, 4, at, at, at, size, size, align))
        data += segment
    headers.insert(0, struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, len(data), len(data), 0x1000))
    data[64 : 64 + 56 * len(headers)] = b"".join(headers)
    identity = b"\x7fELF\2\1\1" + bytes(9)
    data[:64] = identity + struct.pack("<HHIQQQIHHHHHH", 3, MACHINE, 1, 0, 64, 0, 0, 64, 56, len(headers), 64, 0, 0)
    return bytes(data)
