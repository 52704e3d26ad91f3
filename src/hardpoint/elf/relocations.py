"""Check an ElfFile's relocations and start functions, and collect what they put into vtables."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NoReturn

from ..fields import Fields
from .constants import (
    DF_TEXTREL,
    DT_FINI,
    DT_FINI_ARRAY,
    DT_FINI_ARRAYSZ,
    DT_FLAGS,
    DT_INIT,
    DT_INIT_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_JMPREL,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELACOUNT,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_TEXTREL,
    EM_AARCH64,
    EM_X86_64,
    PF_W,
    PT_DYNAMIC,
    SHN_ABS,
    STB_WEAK,
    STT_TLS,
    SYMBOL,
)
from .reader import ElfError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .constants import Segment
    from .reader import ElfFile

TABLES = ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ))
"""Dynamic entries with the address and size in bytes of relocations with addends."""
_SIZES = {DT_INIT_ARRAY: DT_INIT_ARRAYSZ, DT_FINI_ARRAY: DT_FINI_ARRAYSZ}
_RELA = struct.Struct("<QQQ")  # offset, symbol << 32 | type, addend
_VTABLE_LIMIT, _WANTED_LIMIT = 4096, 1 << 20


class _Types(Fields):
    """The relocation types that linkers write into libraries, by purpose (psABI)."""

    relative: int
    indirect: int
    address: int
    """The address of a symbol, anywhere."""
    offset_table: frozenset[int]
    """The address of a symbol, in the global offset table: aligned, and each word once."""
    thread_local: frozenset[int]
    descriptor: int
    """The one of `thread_local` that fills two words."""


RELOCATION_TYPES = {
    EM_X86_64: _Types(8, 37, 1, frozenset({6, 7}), frozenset({16, 17, 18, 36}), 36),
    EM_AARCH64: _Types(1027, 1032, 257, frozenset({1025, 1026}), frozenset({1028, 1029, 1030, 1031}), 1031),
}

Filled = dict[int, "int | None"]
"""What relocations put into vtables and lists of start functions: the address of each word, and its value: an address
within the library, None for one in another library, NOWHERE for no address."""
NOWHERE = -1


def damaged(found: str) -> NoReturn:
    """Refuse the file as damaged."""
    raise ElfError("elf-damaged", found)


def inside(segment: Segment, address: int, size: int) -> bool:
    """True if `size` bytes at an address are in a segment's memory."""
    return segment.address <= address and address + size <= segment.address + segment.memory_size


def is_code(elf: ElfFile, address: int | None) -> bool:
    """True if an address is in the library's code, or None: an address in another library, which may be code."""
    if address is None:
        return True
    if elf.machine == EM_AARCH64 and address & 3:  # a jump there is SIGBUS
        return False
    for start, end in elf.code:  # noqa: SIM110 - any() takes three times as long, and this runs for every function
        if start <= address < end:
            return True
    return False


class Relocations:
    """Checks every relocation, and keeps those of vtables and start functions."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf, self.tls, self.types = elf, elf.tls, RELOCATION_TYPES[elf.machine]
        self.filled: Filled = {}
        self.slots = set[int]()
        self.wanted = {word for start, size in _wanted(elf) for word in range(start, start + size, 8)}
        self.homes = list(_writable(elf))

    def read(self) -> Filled:
        """Read the tables in the dynamic linker's order. ElfError for anything out of bounds."""
        dynamic = self.elf.dynamic
        if DT_RELR in dynamic:
            self._read_packed(self.elf.read_at(dynamic[DT_RELR], dynamic[DT_RELRSZ], "the relocations"))
        for table, size in TABLES:
            if table in dynamic:
                relative_first = dynamic.get(DT_RELACOUNT, 0) if table == DT_RELA else 0
                self._read_plain(self.elf.read_at(dynamic[table], dynamic[size], "the relocations"), relative_first)
        return self.filled

    def _read_plain(self, data: bytes, relative_first: int) -> None:
        relative, descriptor, offset_table = self.types.relative, self.types.descriptor, self.types.offset_table
        wanted, start, end = self.wanted, 0, 0
        count = max(self.elf.symbol_count, 1)
        if relative_first * _RELA.size > len(data):
            damaged(f"{relative_first} relative relocations in a shorter table")
        for index, (address, info, addend) in enumerate(_RELA.iter_unpack(data)):
            kind, value = info, addend
            if info != relative:  # as most are, without a symbol
                kind, symbol = info & 0xFFFFFFFF, info >> 32
                if symbol >= count:
                    damaged(f"a relocation by symbol {symbol} of {count}")
                if kind != relative and index < relative_first:
                    damaged(f"a relocation of type {kind} among the relative ones")
                if not kind:
                    continue
                value = addend if kind == relative else self._value(kind, symbol, addend)
            if kind in offset_table:
                if address & 7 or address in self.slots:
                    damaged(f"a relocation of {address:#x} that is misaligned or overlaps another")
                self.slots.add(address)
            if address < start or end < address + 8:
                start, end = self._home(address, 8)
            if kind == descriptor or address & 7:
                self._check_neighbours(address, 16 if kind == descriptor else 8)
            if address in wanted:
                self._keep(address, value)

    def _read_packed(self, data: bytes) -> None:
        """Read DT_RELR: an even word is an address, an odd one a bitmap of the next 63 words."""
        first, last = min(self.wanted, default=0), max(self.wanted, default=0)
        address = start = end = 0
        for (word,) in struct.iter_unpack("<Q", data):
            bitmap = word >> 1 if word & 1 else 1
            if not word & 1 and word < address:
                damaged(f"packed relocations out of order, at {word:#x}")
            at, address = (address, address + 8 * 63) if word & 1 else (word, word + 8)
            behind = at + 8 * bitmap.bit_length()
            if start <= at and behind <= end and (behind <= first or last < at):
                continue  # checked at once: a few bytes can stand for very many relocations
            for spot in (at + 8 * bit for bit in range(bitmap.bit_length()) if bitmap >> bit & 1):
                start, end = self._home(spot, 8)
                if spot & 7:
                    self._check_neighbours(spot, 8)
                value = int.from_bytes(self.elf.read_at(spot, 8, "a relocation"), "little")
                if spot in self.wanted:
                    self._keep(spot, value)

    def _value(self, kind: int, number: int, addend: int) -> int | None:
        """Return what a relocation that is not relative puts in its place, as in Filled."""
        info = section = value = 0
        if number:
            _, info, _, section, value, _ = SYMBOL.unpack_from(self.elf.symbol_table, SYMBOL.size * number)
        if (kind == self.types.address or kind in self.types.offset_table) and number and info & 15 != STT_TLS:
            if section:
                return None if section == SHN_ABS else (value + addend) % (1 << 64)
            return NOWHERE if info >> 4 == STB_WEAK else None
        if kind in self.types.thread_local and (not number or info & 15 == STT_TLS):
            if self.tls is None and (section or not number):  # ld.so divides by its alignment
                damaged("a relocation of missing thread-local storage")
            return NOWHERE
        if kind != self.types.indirect:
            damaged(f"a relocation of type {kind} by a symbol of type {info & 15}, which no linker writes")
        if not is_code(self.elf, addend):
            damaged(f"an indirect function at {addend:#x}, outside of the code")
        return None

    def _home(self, address: int, size: int) -> tuple[int, int]:
        for start, end in self.homes:
            if start <= address and address + size <= end:
                return start, end
        damaged(f"a relocation of {address:#x}, which is not writable")

    def _check_neighbours(self, address: int, size: int) -> None:
        self._home(address, size)
        if not self.wanted.isdisjoint((address & ~7, address + size - 1 & ~7)):
            damaged(f"a relocation of {address:#x} that spoils a vtable or a start function")

    def _keep(self, address: int, value: int | None) -> None:
        if address in self.filled:
            damaged(f"two relocations of {address:#x}")
        self.filled[address] = value


def _writable(elf: ElfFile) -> Iterator[tuple[int, int]]:
    """Yield the address ranges that may be relocated: all writable memory except the dynamic section."""
    text_too = DT_TEXTREL in elf.dynamic or elf.dynamic.get(DT_FLAGS, 0) & DF_TEXTREL
    table = next(segment for segment in elf.segments if segment.type == PT_DYNAMIC)
    for load in elf.loads:
        if load.flags & PF_W or text_too:
            end = load.address + load.memory_size
            yield load.address, max(min(end, table.address), load.address)
            yield max(min(end, table.address + table.memory_size), load.address), end


def _wanted(elf: ElfFile) -> list[tuple[int, int]]:
    """Return the addresses and sizes of lists of start and end functions, and of possible vtables."""
    total, spans = 0, list[tuple[int, int]]()
    for table in (DT_INIT_ARRAY, DT_FINI_ARRAY):
        if table in elf.dynamic:
            start, size = elf.dynamic[table], elf.dynamic[_SIZES[table]]
            if start & 7 or elf.room_at(start) < size:
                damaged("a list of start or end functions that points out of the file")
            total += size
            spans.append((start, size // 8 * 8))
    for symbol in elf.symbols("hardpoint_"):
        if symbol.section and symbol.size <= _VTABLE_LIMIT:
            total += symbol.size
            spans.append((symbol.address, symbol.size))
    if total > _WANTED_LIMIT:
        damaged(f"{total} bytes of start functions and vtables")
    return spans


def check_code_pointers(elf: ElfFile, filled: Filled) -> None:
    """Refuse a library whose start or end functions are not code."""
    for tag in (DT_INIT, DT_FINI):
        if tag in elf.dynamic and not is_code(elf, elf.dynamic[tag]):
            damaged(f"a start or end function at {elf.dynamic[tag]:#x}, outside of the code")
    for table in (DT_INIT_ARRAY, DT_FINI_ARRAY):
        if table in elf.dynamic:
            start, size = elf.dynamic[table], elf.dynamic[_SIZES[table]]
            for address in range(start, start + size // 8 * 8, 8):
                if not is_code(elf, filled.get(address, NOWHERE)):
                    damaged(f"a start or end function that is not in the file, listed at {address:#x}")
