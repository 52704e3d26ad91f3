"""An ElfFile -> what its relocations fill, after a look at everything that the dynamic loader follows blindly.

dlopen trusts a file: an index out of range, a table without an end or an entry size that it asserts on kills the
process (seen, one by one, with glibc 2.36 and damaged files). So each of them is looked at here first.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .elf import (
    DT_FLAGS,
    DT_GNU_HASH,
    DT_HASH,
    DT_VERDEF,
    DT_VERNEED,
    EM_AARCH64,
    EM_X86_64,
    PF_W,
    PF_X,
    PT_DYNAMIC,
    PT_GNU_RELRO,
    PT_NOTE,
    PT_TLS,
    SYMBOL,
    ElfError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .elf import ElfFile, Segment

PT_GNU_PROPERTY = 0x6474E553
DT_PLTRELSZ, DT_RELA, DT_RELASZ, DT_RELAENT, DT_SYMENT, DT_INIT, DT_FINI, DT_REL = 2, 7, 8, 9, 11, 12, 13, 17
DT_PLTREL, DT_TEXTREL, DT_JMPREL, DT_INIT_ARRAY, DT_FINI_ARRAY = 20, 22, 23, 25, 26
DT_INIT_ARRAYSZ, DT_FINI_ARRAYSZ, DT_RELRSZ, DT_RELR, DT_RELRENT = 27, 28, 35, 36, 37
DT_VERSYM, DT_RELACOUNT, DF_TEXTREL, STT_GNU_IFUNC = 0x6FFFFFF0, 0x6FFFFFF9, 4, 10
_PAIRS = {DT_RELA: DT_RELASZ, DT_JMPREL: DT_PLTRELSZ, DT_RELR: DT_RELRSZ,
          DT_INIT_ARRAY: DT_INIT_ARRAYSZ, DT_FINI_ARRAY: DT_FINI_ARRAYSZ}  # fmt: skip
_ASSERTED = {DT_RELAENT: 24, DT_SYMENT: 24, DT_PLTREL: DT_RELA, DT_RELRENT: 8}
_RELA = struct.Struct("<QQQ")  # offset, symbol << 32 | type, addend
_ADDRESS_LIMIT = 1 << 47


class _Types(NamedTuple):
    """The relocation types that matter here, by machine (psABI)."""

    relative: int
    irelative: int
    copy: int


_TYPES = {EM_X86_64: _Types(8, 37, 5), EM_AARCH64: _Types(1027, 1032, 1024)}

Filled = dict[int, "int | None"]
"""What relocations fill: address -> the address within the library that is put there, None if it comes from a symbol."""


def examine(elf: ElfFile) -> Filled:
    """What the relocations fill; ElfError (`elf-damaged`) for anything that could kill the process in dlopen."""
    _check_segments(elf)
    _check_dynamic(elf)
    count = _check_symbols(elf)
    _check_versions(elf, count)
    filled = _read_relocations(elf, count)
    _check_code_pointers(elf, filled)
    return filled


def _damaged(found: str) -> NoReturn:
    raise ElfError("elf-damaged", found)


def _inside(segment: Segment, address: int, size: int) -> bool:
    return segment.address <= address and address + size <= segment.address + segment.memory_size


def is_code(elf: ElfFile, address: int | None) -> bool:
    """Whether an address is in executable memory of the library; None, an address of elsewhere, may be."""
    return address is None or any(load.flags & PF_X and _inside(load, address, 1) for load in elf.loads)


def _check_segments(elf: ElfFile) -> None:
    end = 0
    for load in elf.loads:
        if load.address < end or load.file_size > load.memory_size or load.align & (load.align - 1):
            _damaged(f"segments that overlap, are out of order or badly sized, at {load.address:#x}")
        end = load.address + load.memory_size
    if end >= _ADDRESS_LIMIT:
        _damaged(f"segments that reach to {end:#x}, more than an address space holds")
    for segment in elf.segments:
        # The loader rounds the read-only part to pages, and the last page of a segment is all its own.
        page = 0xFFFF if segment.type == PT_GNU_RELRO else 0
        home = next(
            (load for load in elf.loads if load.address <= segment.address < load.address + load.memory_size), None
        )
        if segment.type in {PT_DYNAMIC, PT_GNU_RELRO, PT_NOTE, PT_GNU_PROPERTY} or (
            segment.type == PT_TLS and segment.file_size
        ):
            size = segment.file_size if segment.type == PT_TLS else segment.memory_size
            if home is None or segment.address + size > home.address + home.memory_size + page:
                _damaged(f"a program header of type {segment.type:#x} that points out of the file's segments")
            if segment.type == PT_DYNAMIC and segment.flags & PF_W and not home.flags & PF_W:
                _damaged("a writable dynamic section in a segment that is not")
        if segment.type == PT_TLS and (
            segment.align & (segment.align - 1) or not segment.file_size <= segment.memory_size < _ADDRESS_LIMIT
        ):
            _damaged(f"thread-local storage of {segment.memory_size} bytes aligned to {segment.align}")
    elf.notes(PT_GNU_PROPERTY)  # the loader reads these, and trusts their sizes


def _check_dynamic(elf: ElfFile) -> None:
    dynamic = elf.dynamic
    for tag, value in _ASSERTED.items():
        if dynamic.get(tag, value) != value:
            _damaged(f"a dynamic entry {tag} of {dynamic[tag]}, which has to be {value}")
    if DT_REL in dynamic:
        _damaged("relocations of a kind (DT_REL) that 64-bit machines do not have")
    for table, size in _PAIRS.items():
        if table in dynamic and size not in dynamic:
            _damaged(f"a dynamic entry {table} without its size, entry {size}")
    if DT_JMPREL in dynamic and DT_PLTREL not in dynamic:
        _damaged("relocations of a procedure linkage table without their kind")
    if not elf.strings.endswith(b"\0"):
        _damaged("a string table without an end")


def _check_symbols(elf: ElfFile) -> int:
    """Names, indirect functions and hash tables; gives the number of symbols."""
    if DT_GNU_HASH in elf.dynamic:
        _check_gnu_hash(elf, elf.dynamic[DT_GNU_HASH])
    elif DT_HASH in elf.dynamic:
        _check_hash(elf, elf.dynamic[DT_HASH])
    table = elf.symbol_table()
    for name, info, _, section, address, _ in SYMBOL.iter_unpack(table):
        if name >= len(elf.strings):
            _damaged(f"a symbol whose name is at {name} of {len(elf.strings)} bytes of strings")
        if info & 15 == STT_GNU_IFUNC and section and not is_code(elf, address):
            _damaged(f"an indirect function at {address:#x}, where there is no code")
    return len(table) // SYMBOL.size


def _check_gnu_hash(elf: ElfFile, table: int) -> None:
    buckets, first, blooms, _ = struct.unpack("<IIII", elf.read_at(table, 16, "the GNU hash table"))
    if not buckets or not blooms or blooms & (blooms - 1):
        _damaged(f"a GNU hash table of {buckets} buckets and {blooms} filter words")
    starts = struct.unpack(f"<{buckets}I", elf.read_at(table + 16 + 8 * blooms, 4 * buckets, "the GNU hash table"))
    if any(0 < start < first for start in starts):
        _damaged("a GNU hash table that points before its first symbol")
    if elf.count_by_gnu_hash(table) > elf.symbol_count():
        _damaged("a GNU hash table that points behind the last symbol")


def _check_hash(elf: ElfFile, table: int) -> None:
    buckets, count = struct.unpack("<II", elf.read_at(table, 8, "the hash table"))
    data = elf.read_at(table + 8, 4 * (buckets + count), "the hash table")
    links = struct.unpack(f"<{buckets + count}I", data)
    if not buckets or max(links) >= elf.symbol_count():
        _damaged("a hash table that points behind the last symbol")
    chains = links[buckets:]
    for start in links[:buckets]:
        at, steps = start, 0
        while at and steps <= count:
            at, steps = chains[at] if at < count else 0, steps + 1
        if steps > count:
            _damaged("a hash table with a chain that has no end")


def _check_versions(elf: ElfFile, count: int) -> None:
    dynamic = elf.dynamic
    if DT_VERSYM not in dynamic:
        if DT_VERNEED in dynamic or DT_VERDEF in dynamic:
            _damaged("symbol versions without the table that uses them")
        return
    needed = elf.versions_needed()
    for version in needed:
        if version.file not in elf.needed:
            _damaged(f"a version {version.version} of {version.file}, which is not among the needed libraries")
    known = max([1, *(need.number for need in needed), *(own.number for own in elf.versions_defined())])
    numbers = struct.unpack(f"<{count}H", elf.read_at(dynamic[DT_VERSYM], 2 * count, "the symbols' versions"))
    used = max((number & 0x7FFF for number in numbers), default=0)
    if used > known and (DT_VERNEED in dynamic or DT_VERDEF in dynamic):
        _damaged("a symbol of a version that is not in the table of versions")


def _read_relocations(elf: ElfFile, count: int) -> Filled:
    filled: Filled = {}
    types = _TYPES.get(elf.machine)
    if types is None:  # refused by its machine; its relocations mean nothing here
        return filled
    text_too = DT_TEXTREL in elf.dynamic or elf.dynamic.get(DT_FLAGS, 0) & DF_TEXTREL
    homes = [load for load in elf.loads if load.flags & PF_W or text_too]
    for table in (DT_RELA, DT_JMPREL):
        if table not in elf.dynamic:
            continue
        size = elf.dynamic[_PAIRS[table]]
        data = elf.read_at(elf.dynamic[table], size // 24 * 24, "the relocations")
        relative_first = elf.dynamic.get(DT_RELACOUNT, 0) if table == DT_RELA else 0
        for index, (address, info, addend) in enumerate(_RELA.iter_unpack(data)):
            kind = info & 0xFFFFFFFF
            if kind and not any(_inside(load, address, 8) for load in homes):
                _damaged(f"a relocation of {address:#x}, which cannot be written to")
            if info >> 32 >= count and info >> 32:
                _damaged(f"a relocation by symbol {info >> 32} of {count}")
            if (kind != types.relative and index < relative_first) or kind == types.copy:
                _damaged(f"a relocation of type {kind} where there can be none")
            if kind == types.irelative and not is_code(elf, addend):
                _damaged(f"an indirect function at {addend:#x}, where there is no code")
            filled[address] = addend if kind == types.relative else None
    for address in _relative_addresses(elf):
        if not any(_inside(load, address, 8) for load in homes):
            _damaged(f"a relocation of {address:#x}, which cannot be written to")
        filled[address] = int.from_bytes(elf.read_at(address, 8, "a relocation"), "little")
    return filled


def _relative_addresses(elf: ElfFile) -> Iterator[int]:
    """What DT_RELR says, unpacked: an even word is an address, an odd one the bitmap of the 63 words behind it."""
    if DT_RELR not in elf.dynamic:
        return
    address = 0
    for (word,) in struct.iter_unpack(
        "<Q", elf.read_at(elf.dynamic[DT_RELR], elf.dynamic[DT_RELRSZ] // 8 * 8, "relocations")
    ):
        if not word & 1:
            yield word
            address = word + 8
        else:
            yield from (address + 8 * bit for bit in range(63) if word >> (bit + 1) & 1)
            address += 8 * 63


def _check_code_pointers(elf: ElfFile, filled: Filled) -> None:
    for tag in (DT_INIT, DT_FINI):
        if tag in elf.dynamic and not is_code(elf, elf.dynamic[tag]):
            _damaged(f"a start or end function at {elf.dynamic[tag]:#x}, where there is no code")
    for table in (DT_INIT_ARRAY, DT_FINI_ARRAY):
        if table not in elf.dynamic:
            continue
        start, size = elf.dynamic[table], elf.dynamic[_PAIRS[table]]
        if not any(_inside(load, start, size) for load in elf.loads):
            _damaged("a list of start or end functions that points out of the file")
        for address in range(start, start + size // 8 * 8, 8):
            if elf.machine in _TYPES and (address not in filled or not is_code(elf, filled[address])):
                _damaged(f"a start or end function that is not in the file, listed at {address:#x}")
