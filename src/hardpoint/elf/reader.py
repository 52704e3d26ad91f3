"""Read an open file as an ELF64 shared object: it is never mapped or run, and no offset in it is trusted.

The standards are the ELF gABI (chapters 4 and 5), the LSB for symbol versions, and the psABIs of x86-64 and AArch64.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from .constants import (
    DF_1_PIE,
    DT_AUXILIARY,
    DT_DEBUG,
    DT_FILTER,
    DT_FLAGS_1,
    DT_GNU_HASH,
    DT_HASH,
    DT_NEEDED,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERDEF,
    DT_VERNEED,
    DYNAMIC,
    ET_DYN,
    ET_EXEC,
    FILE_TYPES,
    GNU_HASH,
    NOTE,
    PT_DYNAMIC,
    PT_GNU_EH_FRAME,
    PT_NOTE,
    SHT_DYNSYM,
    SHT_SYMTAB,
    SYMBOL,
    VER_FLG_WEAK,
    VERDAUX,
    VERDEF,
    VERNAUX,
    VERNEED,
    Note,
    Symbol,
    VersionDefined,
    VersionNeeded,
)
from .image import Cached, ElfError, Image, limit

if TYPE_CHECKING:
    import struct
    from collections.abc import Iterator
    from functools import cached_property
else:
    cached_property = Cached

__all__ = ["ElfError", "ElfFile", "open_elf"]

# Limits that no linker reaches: each bounds the work that a small crafted file can cause.
_MOST_ENTRIES, _MOST_NEEDED, _MOST_VERSIONS, _MOST_NOTES = 4096, 512, 0x7FFF, 1 << 20
_LIBRARIES = {DT_NEEDED, DT_FILTER, DT_AUXILIARY}
_MOST_NAMED, _MOST_SYMBOLS = 1 << 26, 1 << 21
_MOST_LOCAL = 1 << 16
"""Symbols up to which a table is searched for functions, in 10 ms; larger libraries are judged without it."""
_UNWINDING = bytes((1, 0x1B, 0x03, 0x3B))
"""Version and encodings of .eh_frame_hdr that linkers write: 32-bit numbers, and a sorted table."""


class ElfFile(Image):
    """The dynamic section of a shared object or a program, and what it leads to; else ElfError."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.dynamic: dict[int, int] = {}
        """The dynamic section's entries by tag; of two with one tag the last counts, as for the dynamic linker."""
        self._names: dict[int, str] = {}
        self._named = 0
        self._symbols: dict[str, list[Symbol]] = {}
        self.unwound: dict[int, tuple[int, int]] = {}
        """Bounds of functions that were looked up in the unwinding table, by the addresses they were looked up for."""
        self.widths: dict[int, int] = {}
        """Bytes of a function's length in the entries of .eh_frame, by their common entry's address."""
        entries = self._read_dynamic()
        libraries = [(tag, self.string(offset)) for tag, offset in entries if tag in _LIBRARIES]
        self.needed = [name for tag, name in libraries if tag == DT_NEEDED]
        self.filters = [name for tag, name in libraries if tag == DT_FILTER]
        """Names of libraries in which its symbols are looked up first; they are needed, too."""
        self.auxiliary = [name for tag, name in libraries if tag == DT_AUXILIARY]
        """The same of libraries that may be missing (NVIDIA's libnvtx3interop names one that nobody has)."""
        for tag in (DT_SONAME, DT_RPATH, DT_RUNPATH):  # which then cannot raise later
            self.text(tag)
        self._versions_needed = self._read_versions_needed()
        self.named = set(self._names)
        """Offsets of the strings that are not symbols' names."""

    @cached_property
    def strings(self) -> bytes:
        """The dynamic string table."""
        return self.read_at(self.dynamic[DT_STRTAB], self.dynamic.get(DT_STRSZ, 0), "the string table")

    def string(self, offset: int) -> str:
        """The string at `offset` of the dynamic string table."""
        name = self._names.get(offset)
        if name is None:
            strings = self.strings
            end = strings.find(b"\0", offset)
            if end < 0:
                raise ElfError("elf-damaged", f"a name at {offset} in a string table of {len(strings)} bytes")
            self._named += end - offset
            # Linkers share ends of names ("bar" in "foobar") only now and then.
            if self._named > min(8 * len(strings), _MOST_NAMED):
                raise ElfError("elf-damaged", f"too many overlapping names in a string table of {len(strings)} bytes")
            name = self._names[offset] = strings[offset:end].decode("utf-8", "backslashreplace")
        return name

    def _read_dynamic(self) -> list[tuple[int, int]]:
        """Fill `dynamic`, and return its entries in order."""
        tables = [segment for segment in self.segments if segment.type == PT_DYNAMIC]
        if not tables:
            raise (
                ElfError("elf-damaged", "no dynamic section")
                if self.type == ET_DYN
                else ElfError("elf-type", FILE_TYPES[ET_EXEC])
            )
        size = min(tables[-1].file_size // 16, _MOST_ENTRIES) * 16
        data = self.read_at(tables[-1].address, size, "the dynamic section")
        entries = list(takewhile(itemgetter(0), DYNAMIC.iter_unpack(data)))  # up to the tag 0
        if len(entries) == size // 16:
            raise ElfError("elf-damaged", "an unterminated dynamic section")
        self.dynamic.update(entries)
        if DT_STRTAB not in self.dynamic or DT_SYMTAB not in self.dynamic:
            raise ElfError("elf-damaged", "a dynamic section without strings or symbols")
        limit("needed libraries", len([tag for tag, _ in entries if tag in _LIBRARIES]), _MOST_NEEDED)
        return entries

    def text(self, tag: int) -> str | None:
        """Return the string of a dynamic entry (DT_SONAME, DT_RPATH, DT_RUNPATH), or None."""
        return self.string(self.dynamic[tag]) if tag in self.dynamic else None

    @property
    def executable(self) -> bool:
        """True for a program. A position-independent one has DF_1_PIE, or with old linkers DT_DEBUG."""
        return self.type == ET_EXEC or bool(self.dynamic.get(DT_FLAGS_1, 0) & DF_1_PIE) or DT_DEBUG in self.dynamic

    def notes(self, kind: int = PT_NOTE) -> list[Note]:
        """Return the notes of all segments of this type. ElfError if one is cut short or not where it can be found."""
        segments = [segment for segment in self.segments if segment.type == kind and segment.file_size]
        if sum([segment.file_size for segment in segments]) > _MOST_NOTES:
            raise ElfError("elf-too-large", f"more than {_MOST_NOTES} bytes of notes")
        found: list[Note] = []
        for segment in segments:
            if kind == PT_NOTE and (segment.align not in {4, 8} or segment.address % segment.align):
                raise ElfError("note-alignment", f"notes at {segment.address:#x}, aligned to {segment.align}")
            data = self.read_at(segment.address, segment.file_size, "a note")
            found += _split_notes(data, 8 if segment.align == 8 else 4)
        return found

    @cached_property
    def symbol_count(self) -> int:
        """The number of dynamic symbols, from their section or else from the hash table that ld.so uses."""
        count = self._count_symbols()
        limit("symbols", count, _MOST_SYMBOLS)
        return count

    def _count_symbols(self) -> int:
        for kind, _, address, _, size in self.sections:
            if kind == SHT_DYNSYM and address == self.dynamic[DT_SYMTAB]:
                return int(size) // SYMBOL.size
        if DT_GNU_HASH in self.dynamic:
            return self.count_by_gnu_hash(self.dynamic[DT_GNU_HASH])
        if DT_HASH in self.dynamic:
            return int.from_bytes(self.read_at(self.dynamic[DT_HASH] + 4, 4, "the hash table"), "little")
        return 0

    def count_by_gnu_hash(self, table: int) -> int:
        """Count the symbols that the GNU hash table at `table` reaches. ElfError if it is unterminated.

        It has a header of 16 bytes, 8 bytes for each filter word, 4 for each bucket (its first symbol), and 4 for each
        symbol (its hash; an odd one ends the bucket).
        """
        what = "the GNU hash table"
        buckets, first, blooms, _ = GNU_HASH.unpack(self.read_at(table, GNU_HASH.size, what))
        limit("buckets in the GNU hash table", buckets, _MOST_SYMBOLS)
        start = table + 16 + 8 * blooms
        last = max(memoryview(self.read_at(start, 4 * buckets, what)).cast("I"), default=0)
        if last < first:
            return int(first)
        chain = start + 4 * (buckets + last - first)
        while room := self.room_at(chain) // 4:
            limit("symbols", last, _MOST_SYMBOLS)
            hashes = self.read_at(chain, 4 * min(room, 64), what)[::4]
            for index, byte in enumerate(hashes):
                if byte & 1:
                    return last + index + 1
            last, chain = last + len(hashes), chain + 4 * len(hashes)
        raise ElfError("elf-damaged", "an unterminated GNU hash table")

    @cached_property
    def symbol_table(self) -> bytes:
        """The bytes of the dynamic symbols, 24 for each."""
        return self.read_at(self.dynamic[DT_SYMTAB], SYMBOL.size * self.symbol_count, "the symbol table")

    @cached_property
    def function_symbols(self) -> list[bytes]:
        """The tables of symbols that may name functions, each unless it is large: the dynamic symbols, and .symtab."""
        local = [
            self.read(offset, size // SYMBOL.size * SYMBOL.size, "the symbol table")
            for kind, _, _, offset, size in self.sections
            if kind == SHT_SYMTAB and size <= _MOST_LOCAL * SYMBOL.size
        ]
        return [self.symbol_table if self.symbol_count <= _MOST_LOCAL else b"", *local]

    @cached_property
    def unwinding(self) -> tuple[int, memoryview, memoryview]:
        """The address of .eh_frame_hdr and the two columns of its sorted table, empty if it has none.

        They have 32-bit offsets of each function's start and of its entry in .eh_frame, from that address.
        """
        nothing = 0, memoryview(b""), memoryview(b"")
        for segment in self.segments:
            if segment.type == PT_GNU_EH_FRAME and segment.file_size >= 12:
                data = self.read_at(segment.address, segment.file_size, "the unwinding table")
                end = 12 + 8 * int.from_bytes(data[8:12], "little")
                if not data.startswith(_UNWINDING) or end > len(data):
                    return nothing
                table = memoryview(data)[12:end].cast("i")
                return segment.address, table[::2], table[1::2]
        return nothing

    def symbols(self, prefix: str = "") -> list[Symbol]:
        """Return the dynamic symbols whose name starts with `prefix`, in order, without the empty first one."""
        found = self._symbols.get(prefix)
        if found is None:
            found = self._symbols[prefix] = self._find_symbols(prefix.encode())
        return found

    def _find_symbols(self, text: bytes) -> list[Symbol]:
        strings = self.strings
        if text not in strings:
            return []
        return [
            Symbol(self.string(name), info & 15, info >> 4, section, address, size)
            for name, info, _, section, address, size in SYMBOL.iter_unpack(self.symbol_table[SYMBOL.size :])
            if strings.startswith(text, name)
        ]

    def _chain(self, layout: struct.Struct, start: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield a linked list's entries with their addresses, until one has 0 for the offset of the next."""
        for _ in range(_MOST_VERSIONS):
            entry = layout.unpack(self.read_at(start, layout.size, "the symbol versions"))
            yield start, entry
            if not entry[-1]:
                return
            start += entry[-1]
        raise ElfError("elf-damaged", "unterminated symbol versions")

    def _read_versions_needed(self) -> list[VersionNeeded]:
        found: list[VersionNeeded] = []
        for address, need in self._chain(VERNEED, self.dynamic[DT_VERNEED]) if DT_VERNEED in self.dynamic else ():
            for _, aux in self._chain(VERNAUX, address + need[3]):
                weak = bool(aux[1] & VER_FLG_WEAK)
                found.append(VersionNeeded(self.string(need[2]), self.string(aux[3]), aux[2] & 0x7FFF, weak))
                if len(found) > _MOST_VERSIONS:
                    raise ElfError("elf-damaged", "more symbol versions than there are numbers for")
        return found

    def versions_needed(self) -> list[VersionNeeded]:
        """Return the symbol versions that it needs from other libraries, in order (LSB, "Version Requirements")."""
        return self._versions_needed

    def versions_defined(self) -> list[VersionDefined]:
        """Return the symbol versions that it defines (LSB, "Version Definitions"); the first is its own name."""
        if DT_VERDEF not in self.dynamic:
            return []
        what = "the defined versions"
        return [
            VersionDefined(self.string(VERDAUX.unpack(self.read_at(address + entry[5], 8, what))[0]), entry[2] & 0x7FFF)
            for address, entry in self._chain(VERDEF, self.dynamic[DT_VERDEF])
        ]


@contextmanager
def open_elf(path: str) -> Iterator[ElfFile]:
    """Open the file at a path for the length of a `with` block. OSError or ElfError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        yield ElfFile(fd)
    finally:
        os.close(fd)


def _split_notes(data: bytes, step: int) -> Iterator[Note]:
    """Split a segment into notes, each at a multiple of `step` bytes. A gap before a note would hide it: ElfError."""
    offset = 0
    while offset + NOTE.size <= len(data):
        name_size, size, type_ = NOTE.unpack_from(data, offset)
        if not name_size:
            break
        name = offset + NOTE.size
        start = -(-(name + name_size) // step) * step
        if start + size > len(data):
            raise ElfError("elf-damaged", f"a note of {size} bytes in a segment of {len(data)}")
        yield Note(data[name : name + name_size].rstrip(b"\0"), type_, data[start : start + size])
        offset = -(-(start + size) // step) * step
    if any(data[offset:]):
        raise ElfError("elf-damaged", f"{len(data) - offset} bytes after the last note that are not 0")
