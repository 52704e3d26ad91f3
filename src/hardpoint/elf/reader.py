"""An open file, read as an ELF64 shared object: never mapped, never run, and no offset in it is trusted.

The standards are the ELF gABI (chapters 4 and 5), the LSB for symbol versions, and the psABIs of x86-64 and AArch64.
What the dynamic loader would find is read as the loader finds it: through the program headers, not the sections.
"""

from __future__ import annotations

import os
import struct
from contextlib import contextmanager
from functools import cached_property
from itertools import takewhile
from operator import itemgetter
from typing import TYPE_CHECKING

from ..fields import Fields
from .constants import (
    DF_1_PIE,
    DF_STATIC_TLS,
    DT_DEBUG,
    DT_FLAGS,
    DT_FLAGS_1,
    DT_GNU_HASH,
    DT_HASH,
    DT_NEEDED,
    DT_RELA,
    DT_RELASZ,
    DT_RPATH,
    DT_RUNPATH,
    DT_SONAME,
    DT_STRSZ,
    DT_STRTAB,
    DT_SYMTAB,
    DT_VERDEF,
    DT_VERNEED,
    EM_AARCH64,
    ET_DYN,
    ET_EXEC,
    FILE_TYPES,
    MACHINES,
    PF_X,
    PT_DYNAMIC,
    PT_GNU_STACK,
    PT_LOAD,
    PT_NOTE,
    PT_TLS,
    R_AARCH64_TLS_TPREL,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_NOBITS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # ident type machine version entry phoff shoff flags ehsize phentsize
#                                               phnum shentsize shnum shstrndx
_SEGMENT = struct.Struct("<IIQQQQQQ")  # type flags offset vaddr paddr filesz memsz align
_SECTION = struct.Struct("<4xIQQQQ24x")  # (name) type flags addr offset size (link info addralign entsize)
_DYNAMIC = struct.Struct("<QQ")  # tag value
SYMBOL = struct.Struct("<IBBHQQ")  # name info other shndx value size
GNU_HASH = struct.Struct("<IIII")  # buckets, first symbol, filter words, shift
_NOTE = struct.Struct("<III")  # name size, description size, type
_VERNEED = struct.Struct("<HHIII")  # version cnt file aux next
_VERNAUX = struct.Struct("<IHHII")  # hash flags other name next
_VERDEF = struct.Struct("<HHHHIII")  # version flags ndx cnt hash aux next
_VERDAUX = struct.Struct("<II")  # name next

WHOLE = 1 << 16
"""Bytes up to which a file is read in one go; of a larger one only what is needed is read: with 1 << 20, 500 manifests in
files of 0.9 MB took twice the time, and all checks of libraries in between a tenth more."""
# What no linker writes and only a crafted file has: each bounds what a small file can make the reader do.
_MOST_SEGMENTS, _MOST_ENTRIES, _MOST_VERSIONS, _MOST_NOTES = 128, 4096, 0x7FFF, 1 << 20


class ElfError(Exception):
    """The file is not a whole ELF64 shared object. The message says what was found, as an error's *found* does."""

    def __init__(self, code: str, found: str) -> None:
        super().__init__(found)
        self.code = code


class Segment(Fields):
    """A program header (gABI, Elf64_Phdr); `align` is a number of bytes."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


class Note(Fields):
    """One note (gABI, "Note Section"): its owner without the NUL, its type, its description."""

    owner: bytes
    type: int
    description: bytes


class Symbol(Fields):
    """One dynamic symbol (gABI, Elf64_Sym); `section` is 0 if it is undefined here."""

    name: str
    type: int
    binding: int
    section: int
    address: int
    size: int


class VersionNeeded(Fields):
    """A version of a library's symbols that is needed, and its number in the table of versions."""

    file: str
    version: str
    number: int


class VersionDefined(Fields):
    """A version of its own symbols, and its number in the table of versions."""

    version: str
    number: int


class ElfFile:
    """One shared object, or a program. `fd` must stay open while the object is used; ElfError if it is neither."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.size = os.fstat(fd).st_size
        self._whole = os.pread(fd, self.size, 0) if self.size <= WHOLE else b""
        header = _HEADER.unpack(self._identify())
        self.type: int = header[1]
        self.machine: int = header[2]
        if self.type not in {ET_EXEC, ET_DYN}:
            raise ElfError("elf-type", FILE_TYPES.get(self.type, f"an ELF file of type {self.type}"))
        self.headers_at: int = header[5]
        segments, sections = header[10], header[12]
        if (segments and header[9] != _SEGMENT.size) or (sections and header[11] != _SECTION.size):
            raise ElfError("elf-damaged", "an ELF header whose tables have entries of another size than the ABI's")
        if segments > _MOST_SEGMENTS:  # the loader copies them to its stack
            raise ElfError("elf-damaged", f"{segments} program headers")
        data = self.read(header[6], _SECTION.size * sections, "the table of section headers")
        self.sections = list(_SECTION.iter_unpack(data))
        """Type, flags, address, offset, size of each (gABI, Elf64_Shdr). A library works without any."""
        data = self.read(self.headers_at, _SEGMENT.size * segments, "the table of program headers")
        self.segments = list(map(Segment._make, _SEGMENT.iter_unpack(data)))
        self.loads = [segment for segment in self.segments if segment.type == PT_LOAD]
        self.tls = next((segment for segment in self.segments if segment.type == PT_TLS and segment.memory_size), None)
        """The thread-local storage, if it has any; an empty one the loader passes over."""
        self.code = self._code()
        """Where code starts and ends."""
        self._check_code()  # of a .debug companion, empty segments may be said to lie beyond the end of the file
        for load in self.loads:
            self._within(load.offset, load.file_size, "a segment")
        self.dynamic: dict[int, int] = {}
        """The dynamic section's entries by tag; as the loader does: of two with one tag the last counts."""
        self._names: dict[int, str] = {}
        self._named = 0
        self.needed = [self.string(offset) for offset in self._read_dynamic()]
        for tag in (DT_SONAME, DT_RPATH, DT_RUNPATH):  # what is named here can be asked for without a surprise
            self.text(tag)
        self._versions_needed = self._read_versions_needed()

    # -- bytes ---------------------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int, what: str) -> bytes:
        """`size` bytes at `offset` of the file; ElfError naming `what` if the file ends before that."""
        self._within(offset, size, what)
        data = self._whole[offset : offset + size] if self._whole else os.pread(self._fd, size, offset)
        if len(data) != size:
            raise ElfError("elf-truncated", f"a file that ends within {what}")
        return data

    def read_at(self, address: int, size: int, what: str) -> bytes:
        """`size` bytes that the file puts at `address` in memory; ElfError naming `what` if it puts none there."""
        for load in self.loads:
            if load.address <= address and address + size <= load.address + load.file_size:
                return self.read(load.offset + address - load.address, size, what)
        raise ElfError("elf-damaged", f"{what} at address {address:#x}, where the file has nothing")

    def room_at(self, address: int) -> int:
        """How many bytes the file puts in memory from `address` to the end of its segment."""
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
            if self._named > 8 * len(strings):  # linkers share the ends of names, as with "bar" in "foobar", but not so
                raise ElfError("elf-damaged", f"names that overlap all over a string table of {len(strings)} bytes")
            name = self._names[offset] = strings[offset:end].decode("utf-8", "backslashreplace")
        return name

    def _within(self, offset: int, size: int, what: str) -> None:
        if offset + size > self.size:
            raise ElfError("elf-truncated", f"{self.size} bytes, while {what} would end at {offset + size}")

    # -- the parts -----------------------------------------------------------------------------------------------------

    def _identify(self) -> bytes:
        start = self._whole[: _HEADER.size] if self._whole else os.pread(self._fd, _HEADER.size, 0)
        if not start:
            raise ElfError("elf-magic", "an empty file")
        if not start.startswith(b"\x7fELF"):
            raise ElfError("elf-magic", _describe(start))
        if len(start) < _HEADER.size:
            raise ElfError("elf-truncated", f"an ELF file of {len(start)} bytes, shorter than its own header")
        machine = int.from_bytes(start[18:20], "big" if start[5] == 2 else "little")
        if start[4:6] != b"\x02\x01":
            bits, order = {1: "32-bit", 2: "64-bit"}.get(start[4], "?"), {1: "little", 2: "big"}.get(start[5], "?")
            raise ElfError(
                "elf-class", f"a {bits} {order}-endian ELF file for {MACHINES.get(machine, f'machine {machine}')}"
            )
        return start

    def _code(self) -> list[tuple[int, int]]:
        """The executable sections, or segments if there are none: for AArch64, linkers put constants into these as well."""
        segments = [(load.address, load.address + load.memory_size) for load in self.loads if load.flags & PF_X]
        sections = [(address, address + size) for _, flags, address, _, size in self.sections if flags & SHF_EXECINSTR]
        if not sections:
            return segments
        if len(sections) > _MOST_SEGMENTS:  # each function is looked for in all of them
            raise ElfError("elf-damaged", f"{len(sections)} sections of code")
        return [(at, to) for at, to in sections if any(start <= at and to <= end for start, end in segments)]

    def _check_code(self) -> None:
        """A .debug companion (objcopy --only-keep-debug) has every header of the library and none of its contents."""
        if {kind for kind, flags, _, _, _ in self.sections if flags & SHF_EXECINSTR} == {SHT_NOBITS}:
            raise ElfError("elf-debug", "debug information without the code")
        if not any(load.flags & PF_X and load.file_size for load in self.loads):
            raise ElfError("elf-no-code", "a shared object without any code")

    def _read_dynamic(self) -> list[int]:
        """Fill `dynamic`, and give where the names of the needed libraries are."""
        tables = [segment for segment in self.segments if segment.type == PT_DYNAMIC]
        if not tables:
            raise (
                ElfError("elf-damaged", "no dynamic section")
                if self.type == ET_DYN
                else ElfError("elf-type", FILE_TYPES[ET_EXEC])
            )
        size = min(tables[-1].file_size // 16, _MOST_ENTRIES) * 16
        data = self.read_at(tables[-1].address, size, "the dynamic section")
        entries = list(takewhile(itemgetter(0), _DYNAMIC.iter_unpack(data)))  # up to the tag 0
        if len(entries) == size // 16:
            raise ElfError("elf-damaged", "a dynamic section without an end")
        self.dynamic.update(entries)
        if DT_STRTAB not in self.dynamic or DT_SYMTAB not in self.dynamic:
            raise ElfError("elf-damaged", "a dynamic section without strings or symbols")
        return [value for tag, value in entries if tag == DT_NEEDED]

    def text(self, tag: int) -> str | None:
        """The string that a dynamic entry (DT_SONAME, DT_RPATH, DT_RUNPATH) names, or None."""
        return self.string(self.dynamic[tag]) if tag in self.dynamic else None

    @property
    def executable(self) -> bool:
        """Whether it is a program and no library; a position-independent one has a flag, or what only programs have."""
        return self.type == ET_EXEC or bool(self.dynamic.get(DT_FLAGS_1, 0) & DF_1_PIE) or DT_DEBUG in self.dynamic

    def fits_pages(self, size: int) -> bool:
        """Whether its segments can be mapped by whole pages of `size` bytes, of which none belongs to two.

        Others the loader refuses, or maps over each other, and dies.
        """
        end = 0
        for load in self.loads:
            if (load.address - load.offset) % size or load.address // size * size < end:
                return False
            end = -(-(load.address + load.memory_size) // size) * size
        return True

    @property
    def executable_stack(self) -> bool:
        """Whether loading it would make the process's stacks executable (no PT_GNU_STACK means yes)."""
        return all(segment.flags & PF_X for segment in self.segments if segment.type == PT_GNU_STACK)

    @property
    def static_tls(self) -> bool:
        """Whether it needs thread-local storage that is in short supply once the process runs."""
        return bool(self.dynamic.get(DT_FLAGS, 0) & DF_STATIC_TLS) or self._has_thread_offsets()

    def _has_thread_offsets(self) -> bool:
        """Whether a relocation asks for static storage: for AArch64, GNU ld sets no flag."""
        if self.machine != EM_AARCH64 or DT_RELA not in self.dynamic:
            return False
        try:
            table = self.read_at(self.dynamic[DT_RELA], self.dynamic.get(DT_RELASZ, 0), "the relocations")
        except ElfError:  # which is for those to say who look at every relocation
            return False
        return R_AARCH64_TLS_TPREL in {low | high << 8 for low, high in zip(table[8::24], table[9::24], strict=False)}

    def notes(self, kind: int = PT_NOTE) -> list[Note]:
        """Every note of every segment of that kind; ElfError if one is cut short."""
        found: list[Note] = []
        segments = [segment for segment in self.segments if segment.type == kind]
        if sum([segment.file_size for segment in segments]) > _MOST_NOTES:
            raise ElfError("elf-damaged", f"more than {_MOST_NOTES} bytes of notes")
        for segment in segments:
            data = self.read_at(segment.address, segment.file_size, "a note")
            step, offset = (8 if segment.align == 8 else 4), 0
            while offset + _NOTE.size <= len(data):
                name_size, size, type_ = _NOTE.unpack_from(data, offset)
                name = offset + _NOTE.size
                start = -(-(name + name_size) // step) * step
                if start + size > len(data):
                    raise ElfError("elf-damaged", f"a note of {size} bytes in a segment of {len(data)}")
                owner = data[name : name + name_size].rstrip(b"\0")
                found.append(Note(owner, type_, data[start : start + size]))
                offset = -(-(start + size) // step) * step
        return found

    @cached_property
    def symbol_count(self) -> int:
        """How many dynamic symbols there are, by their section, or else by the hash table that the loader uses."""
        for kind, _, address, _, size in self.sections:
            if kind == SHT_DYNSYM and address == self.dynamic[DT_SYMTAB]:
                return int(size) // SYMBOL.size
        if DT_GNU_HASH in self.dynamic:
            return self.count_by_gnu_hash(self.dynamic[DT_GNU_HASH])
        if DT_HASH in self.dynamic:
            return int.from_bytes(self.read_at(self.dynamic[DT_HASH] + 4, 4, "the hash table"), "little")
        return 0

    def count_by_gnu_hash(self, table: int) -> int:
        """How many symbols the GNU hash table at `table` reaches; ElfError if it has no end.

        Its parts: 16 bytes of header, 8 a filter word, 4 a bucket (the first symbol of each), 4 a symbol (its hash, and
        an odd one ends a bucket).
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
        raise ElfError("elf-damaged", "a GNU hash table without an end")

    @cached_property
    def symbol_table(self) -> bytes:
        """The dynamic symbols as they stand in the file, 24 bytes each."""
        return self.read_at(self.dynamic[DT_SYMTAB], SYMBOL.size * self.symbol_count, "the symbol table")

    def symbols(self, prefix: str = "") -> list[Symbol]:
        """The dynamic symbols whose name starts with `prefix`, in their order; never the empty first one."""
        strings, text = self.strings, prefix.encode()
        if text not in strings:
            return []
        return [
            Symbol(self.string(name), info & 15, info >> 4, section, address, size)
            for name, info, _, section, address, size in SYMBOL.iter_unpack(self.symbol_table[SYMBOL.size :])
            if strings.startswith(text, name)
        ]

    def _chain(self, layout: struct.Struct, start: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Entries that each say where the next one is, with their addresses; as the loader does, until one says 0."""
        for _ in range(_MOST_VERSIONS):
            entry = layout.unpack(self.read_at(start, layout.size, "the symbol versions"))
            yield start, entry
            if not entry[-1]:
                return
            start += entry[-1]
        raise ElfError("elf-damaged", "symbol versions that have no end")

    def _read_versions_needed(self) -> list[VersionNeeded]:
        found: list[VersionNeeded] = []
        for address, need in self._chain(_VERNEED, self.dynamic[DT_VERNEED]) if DT_VERNEED in self.dynamic else ():
            for _, aux in self._chain(_VERNAUX, address + need[3]):
                found.append(VersionNeeded(self.string(need[2]), self.string(aux[3]), aux[2] & 0x7FFF))
                if len(found) > _MOST_VERSIONS:
                    raise ElfError("elf-damaged", "more symbol versions than there are numbers for")
        return found

    def versions_needed(self) -> list[VersionNeeded]:
        """Symbol versions that it needs of other libraries, in the file's order (LSB, "Version Requirements")."""
        return self._versions_needed

    def versions_defined(self) -> list[VersionDefined]:
        """Symbol versions that it has to offer (LSB, "Version Definitions"); the first is its own name."""
        if DT_VERDEF not in self.dynamic:
            return []
        what = "the defined versions"
        return [
            VersionDefined(
                self.string(_VERDAUX.unpack(self.read_at(address + entry[5], 8, what))[0]), entry[2] & 0x7FFF
            )
            for address, entry in self._chain(_VERDEF, self.dynamic[DT_VERDEF])
        ]


@contextmanager
def open_elf(path: str) -> Iterator[ElfFile]:
    """Open the file at a path for the length of a `with` block. OSError or ElfError if it cannot be read."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield ElfFile(fd)
    finally:
        os.close(fd)


def _describe(start: bytes) -> str:
    """What a file that is not ELF seems to be, by how it starts."""
    for magic, what in {
        b"!<arch>\n": "a static library (.a)",
        b"#!": "a script",
        b"MZ": "a Windows DLL or program",
        b"\xcf\xfa\xed\xfe": "a macOS library or program",
        b"\xca\xfe\xba\xbe": "a macOS universal file or a Java class",
        b"\x1f\x8b": "a gzip file",
        b"PK\x03\x04": "a zip file or wheel",
        b"\0asm": "a WebAssembly module",
        b"BC\xc0\xde": "LLVM bitcode",
    }.items():
        if start.startswith(magic):
            return what
    return f"a file that starts with {start[:8]!r}"
