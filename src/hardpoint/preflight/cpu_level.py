"""Compare the level of x86-64 that a library was compiled for with the processor's, as ld.so does since glibc 2.33."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..elf.constants import EM_X86_64, PT_GNU_PROPERTY, PT_NOTE
from ..elf.processor import LEVELS, missing_features
from ..elf.reader import ElfError
from ..errors import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.reader import ElfFile

_PROPERTIES, _ISA_NEEDED = 5, 0xC0008002  # NT_GNU_PROPERTY_TYPE_0, GNU_PROPERTY_X86_ISA_1_NEEDED (x86-64 psABI)
_ENTRY = struct.Struct("<II")  # type, size of the data


def needed_levels(elf: ElfFile) -> int:
    """Return the levels that the library needs, a bit each from 1 for x86-64; 0 if it does not say.

    ld.so reads only notes that are aligned to 8 bytes, and ignores malformed ones.
    """
    aligned = [each.type for each in elf.segments if each.align == 8]
    for kind in (PT_GNU_PROPERTY, PT_NOTE):
        if kind in aligned and elf.machine == EM_X86_64:
            try:
                notes = elf.notes(kind)
            except ElfError:  # reported where the notes are checked
                return 0
            for note in notes:
                if note.owner == b"GNU" and note.type == _PROPERTIES:
                    return next((value for kind, value in _properties(note.description) if kind == _ISA_NEEDED), 0)
    return 0


def _properties(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the type and the value of each property that is a number of 4 bytes."""
    offset = 0
    while offset + _ENTRY.size + 4 <= len(data):
        kind, size = _ENTRY.unpack_from(data, offset)
        if size == 4:
            yield kind, int.from_bytes(data[offset + 8 : offset + 12], "little")
        offset += 8 + -(-size // 8) * 8


def check_level(elf: ElfFile, name: str = "") -> list[Problem]:
    """Check that the processor has the level that the library needs; `name` is that of one that a plugin needs."""
    needed = needed_levels(elf)
    missing = missing_features() if needed > 1 else None
    if missing is None:
        return []
    level = needed.bit_length()
    lacking = [feature for features in missing[:level] for feature in features]
    if level <= len(LEVELS) and not lacking:
        return []
    found = f"one without {', '.join(lacking)}" if lacking else "one whose levels end at v4"
    whose = f", for which {name} was compiled" if name else ""
    return [Problem.of("cpu-level", found, level=f"x86-64-v{level}", whose=whose)]
