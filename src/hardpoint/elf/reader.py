"""Read an open file as an ELF64 shared object: it is never mapped or run, and no offset in it is trusted.

The standards are the ELF gABI (chapters 4 and 5), the LSB for symbol versions, and the psABIs of x86-64 and AArch64.
Like the dynamic linker, the reader goes by the program headers, not by the sections.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from ..errors import one_line
from .constants import (
    DF_1_PIE,
    DT_DEBUG,
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
    HEADER,
    MACHINES,
    MAGICS,
    NOTE,
    PF_X,
    PT_DYNAMIC,
    PT_LOAD,
    PT_NOTE,
    PT_TLS,
    SECTION,
    SEGMENT,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_NOBITS,
    SYMBOL,
    VER_FLG_WEAK,
    VERDAUX,
    VERDEF,
    VERNAUX,
    VERNEED,
    Note,
    Segment,
    Symbol,
    VersionDefined,
    VersionNeeded,
)

if TYPE_CHECKING:
    import struct
    from collections.abc import Iterator

WHOLE = 1 << 16
"""Files up to this many bytes are read at once, larger ones in parts as needed: with 1 << 20, reading 500 manifests
from files of 0.9 MB took twice the time, and all checks of a library in between a tenth more."""
# Limits that no linker reaches: each bounds the work that a small crafted file can cause.
_MOST_SEGMENTS, _MOST_ENTRIES, _MOST_VERSIONS, _MOST_NOTES = 128, 4096, 0x7FFF, 1 << 20


class ElfError(Exception):
    """The file is not a well-formed ELF64 shared object. The message is a problem's `found`, `code` its code."""

    def __init__(self, code: str, found: str) -> None:
        super().__init__(one_line(found))
        self.code = code


class ElfFile:
    """A shared object or a program, else ElfError. `fd` must stay open while the object is used."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._whole = os.pread(fd, self.size, 0) if self.size <= WHOLE else b""
        header = HEADER.unpack(self._identify())
        self.type: int = header[1]
        self.machine: int = header[2]
        if self.type not in {ET_EXEC, ET_DYN}:
            raise ElfError("elf-type", FILE_TYPES.get(self.type, f"an ELF file of type {self.type}"))
        self.headers_at: int = header[5]
        segments, sections = header[10], header[12]
        if (segments and header[9] != SEGMENT.size) or (sections and header[11] != SECTION.size):
            raise ElfError("elf-damaged", "an ELF header whose tables have entries of another size than the ABI's")
        if segments > _MOST_SEGMENTS:  # the loader copies them to its stack
            raise ElfError("elf-damaged", f"{segments} program headers")
        data = self.read(header[6], SECTION.size * sections, "the table of section headers")
        self.sections = list(SECTION.iter_unpack(data))
        """Type, flags, address, offset, size of each (gABI, Elf64_Shdr). A library works without any."""
        data = self.read(self.headers_at, SEGMENT.size * segments, "the table of program headers")
        self.segments = list(map(Segment._make, SEGMENT.iter_unpack(data)))
        self.loads = [segment for segment in self.segments if segment.type == PT_LOAD]
        self.tls = next((segment for segment in self.segments if segment.type == PT_TLS and segment.memory_size), None)
        """The segment of thread-local storage, or None; an empty one is ignored, as by the dynamic linker."""
        self.code = self._code()
        """The address ranges of code."""
        self._check_code()  # before the segments: those of a .debug companion may lie beyond the end of the file
        for load in self.loads:
            self._within(load.offset, load.file_size, "a segment")
        self.dynamic: dict[int, int] = {}
        """The dynamic section's entries by tag; of two with one tag the last counts, as for the dynamic linker."""
        self._names: dict[int, str] = {}
        self._named = 0
        self.needed = [self.string(offset) for offset in self._read_dynamic()]
        for tag in (DT_SONAME, DT_RPATH, DT_RUNPATH):  # which then cannot raise later
            self.text(tag)
        self._versions_needed = self._read_versions_needed()

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int, what: str) -> bytes:
        """Read `size` bytes at `offset` of the file. ElfError naming `what` if the file ends before that."""
        self._within(offset, size, what)
        data = self._whole[offset : offset + size] if self._whole else os.pread(self._fd, size, offset)
        if len(data) != size:
            raise ElfError("elf-truncated", f"a file that ends within {what}")
        return data

    def read_at(self, address: int, size: int, what: str) -> bytes:
        """Read the `size` bytes that the file maps at `address`. ElfError naming `what` if it maps none there."""
        for load in self.loads:
            if load.address <= address and address + size <= load.address + load.file_size:
                return self.read(load.offset + address - load.address, size, what)
        raise ElfError("elf-damaged", f"{what} at address {address:#x}, outside of the file")

    def room_at(self, address: int) -> int:
        """Count the bytes that the file maps from `address` to the end of its segment."""
        for load in self.loads:
            if load.address <= address < load.address + load.file_size:
                return load.address + load.file_size - address
        return 0

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
            if self._named > 8 * len(strings):  # linkers share ends of names ("bar" in "foobar") only now and then
                raise ElfError("elf-damaged", f"too many overlapping names in a string table of {len(strings)} bytes")
            name = self._names[offset] = strings[offset:end].decode("utf-8", "backslashreplace")
        return name

    def _within(self, offset: int, size: int, what: str) -> None:
        if offset + size > self.size:
            raise ElfError("elf-truncated", f"{self.size} bytes, while {what} would end at {offset + size}")

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _identify(self) -> bytes:
        start = self._whole[: HEADER.size] if self._whole else os.pread(self._fd, HEADER.size, 0)
        if not start:
            raise ElfError("elf-magic", "an empty file")
        if not start.startswith(b"\x7fELF"):
            raise ElfError("elf-magic", _describe(start))
        if len(start) < HEADER.size:
            raise ElfError("elf-truncated", f"an ELF file of {len(start)} bytes, shorter than its own header")
        machine = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
        if start[4:6] != b"\x02\x01":
            bits, order = {1: "32-bit", 2: "64-bit"}.get(start[4], "?"), {1: "little", 2: "big"}.get(start[5], "?")
            raise ElfError(
                "elf-class", f"a {bits} {order}-endian ELF file for {MACHINES.get(machine, f'machine {machine}')}"
            )
        return start

    def _code(self) -> list[tuple[int, int]]:
        """Return the executable sections, or else segments: on AArch64, these also hold constants."""
        segments = [(load.address, load.address + load.memory_size) for load in self.loads if load.flags & PF_X]
        sections = [(address, address + size) for _, flags, address, _, size in self.sections if flags & SHF_EXECINSTR]
        if not sections:
            return segments
        if len(sections) > _MOST_SEGMENTS:  # each function is looked for in all of them
            raise ElfError("elf-damaged", f"{len(sections)} sections of code")
        return [(at, to) for at, to in sections if any(start <= at and to <= end for start, end in segments)]

    def _check_code(self) -> None:
        """Refuse a file without code, such as a .debug companion (objcopy --only-keep-debug): only headers."""
        if {kind for kind, flags, _, _, _ in self.sections if flags & SHF_EXECINSTR} == {SHT_NOBITS}:
            raise ElfError("elf-debug", "debug information without the code")
        if not any(load.flags & PF_X and load.file_size for load in self.loads):
            raise ElfError("elf-no-code", "a shared object without any code")

    def _read_dynamic(self) -> list[int]:
        """Fill `dynamic`, and return the offsets of the names of the needed libraries."""
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
        return [value for tag, value in entries if tag == DT_NEEDED]

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
            raise ElfError("elf-damaged", f"more than {_MOST_NOTES} bytes of notes")
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
        start = table + 16 + 8 * blooms
        last = max(memoryview(self.read_at(start, 4 * buckets, what)).cast("I"), default=0)
        if last < first:
            return int(first)
        chain = start + 4 * (buckets + last - first)
        while room := self.room_at(chain) // 4:
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

    def symbols(self, prefix: str = "") -> list[Symbol]:
        """Return the dynamic symbols whose name starts with `prefix`, in order, without the empty first one."""
        strings, text = self.strings, prefix.encode()
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


def _describe(start: bytes) -> str:
    """Name the format of a file that is not ELF, by its first bytes."""
    for magic, name in MAGICS.items():
        if start.startswith(magic):
            return name
    return f"a file that starts with {start[:8]!r}"
