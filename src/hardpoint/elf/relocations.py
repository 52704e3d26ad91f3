"""Check an ElfFile's relocations and start functions, and collect what they put into vtables."""

from __future__ import annotations

import struct
from itertools import pairwise
from operator import lt
from typing import TYPE_CHECKING

from ..fields import Fields
from .constants import (
    DF_TEXTREL,
    DT_FINI_ARRAY,
    DT_FINI_ARRAYSZ,
    DT_FLAGS,
    DT_INIT_ARRAY,
    DT_INIT_ARRAYSZ,
    DT_JMPREL,
    DT_PLTGOT,
    DT_PLTRELSZ,
    DT_RELA,
    DT_RELACOUNT,
    DT_RELASZ,
    DT_RELR,
    DT_RELRSZ,
    DT_TEXTREL,
    DT_TLSDESC_GOT,
    EM_AARCH64,
    EM_X86_64,
    PF_W,
    PT_DYNAMIC,
    SHF_WRITE,
    SHN_ABS,
    SHT_NOBITS,
    STB_WEAK,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_SECTION,
    STT_TLS,
    SYMBOL,
)
from .functions import is_function, rank
from .image import damaged, limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import ElfFile

TABLES = ((DT_RELA, DT_RELASZ), (DT_JMPREL, DT_PLTRELSZ))
"""Dynamic entries with the address and size in bytes of relocations with addends."""
SIZES = {DT_INIT_ARRAY: DT_INIT_ARRAYSZ, DT_FINI_ARRAY: DT_FINI_ARRAYSZ}
_RELA = struct.Struct("<QQQ")  # offset, symbol << 32 | type, addend
_ALIGNED = bytes(range(0, 256, 8))
"""Lowest bytes of aligned addresses."""
_FEW = 32
"""Relative relocations that a loop checks faster than _read_relative does."""
_CALLABLE = {STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC}
_FUNCTIONS = {STT_FUNC, STT_GNU_IFUNC}
_VTABLE_LIMIT, _WANTED_LIMIT, _TLS_LIMIT, _MOST_OFFSETS = 4096, 1 << 20, 1 << 30, 1 << 22


class _Types(Fields):
    """The relocation types that linkers write into libraries, by purpose (psABI)."""

    relative: int
    indirect: int
    address: int
    """The address of a symbol, anywhere."""
    data_slot: int
    jump_slot: int
    """The address of a symbol, in the global offset table: aligned, and each word and symbol once."""
    thread_local: frozenset[int]
    descriptor: int
    """The one of `thread_local` that fills two words."""


RELOCATION_TYPES = {
    EM_X86_64: _Types(8, 37, 1, 6, 7, frozenset({16, 17, 18, 36}), 36),
    EM_AARCH64: _Types(1027, 1032, 257, 1025, 1026, frozenset({1028, 1029, 1030, 1031}), 1031),
}

Filled = dict[int, "int | None"]
"""What relocations put into vtables and lists of start functions: the address of each word, and its value: an address
within the library, None for one in another library, NOWHERE for no address."""
NOWHERE = -1


class Relocations:
    """Checks every relocation, and keeps those of vtables and start functions."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf, self.tls, self.types = elf, elf.tls, RELOCATION_TYPES[elf.machine]
        self.filled: Filled = {}
        self.count = max(elf.symbol_count, 1)
        self.bounds = elf.loads[0].address, elf.loads[-1].address + elf.loads[-1].memory_size
        self.sorted: list[int] = []
        """The addresses of the relative relocations, if their table is sorted."""
        self.places: list[int] = []
        """Those of all others in tables with addends."""
        self.slots: dict[int, dict[int, int]] = {kind: {} for kind in (self.types.data_slot, self.types.jump_slot)}
        """Addresses in the global offset table, by relocation type and symbol."""
        self.symbols = set[int]()
        """Numbers of the symbols whose addresses are filled in."""
        self.referred = set[int]()
        """The same, with the symbols of other libraries."""
        self.pairs = {elf.dynamic.get(DT_TLSDESC_GOT, 0)}
        """Words of the global offset table without a relocation: each after a thread-local one, and one for ld.so."""
        self.odd: list[int] = []
        """Those of `places` that are misaligned, as in packed structs."""
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
                data = self.elf.read_at(dynamic[table], dynamic[size], "the relocations")
                if table == DT_JMPREL:
                    self._check_plt(data)
                self._read_plain(data, relative_first)
        self._check_places()
        return self.filled

    def _read_plain(self, data: bytes, relative_first: int) -> None:
        relative, wanted = self.types.relative, self.wanted
        start = end = nothing = 0
        low, high = self.bounds
        if relative_first * _RELA.size > len(data):
            damaged(f"{relative_first} relative relocations in a shorter table")
        done = self._read_relative(data, relative_first) if relative_first > _FEW else 0
        rest = memoryview(data)[done * _RELA.size :]
        for index, (address, info, addend) in enumerate(_RELA.iter_unpack(rest), start=done):
            value = addend
            if info == relative:  # as most are
                if not low <= addend <= high:
                    damaged(f"a relocation that refers to {addend:#x}, outside of the library")
            elif not info:
                if address or addend or index < relative_first:
                    damaged(f"a relocation of {address:#x} without a type")
                nothing += 1
                continue
            elif index < relative_first:
                damaged(f"a relocation of type {info & 0xFFFFFFFF} among the relative ones")
            else:
                value = self._symbolic(address, info, addend)
            if address < start or end < address + 8:
                start, end = self._home(address, 8)
            if address & 7:
                self.odd.append(address)
                self._check_neighbours(address, 8)
            if address in wanted:
                self._keep(address, value)
        places = rest.cast("Q")[::3].tolist()
        self.places += filter(None, places) if nothing else places

    def _read_relative(self, data: bytes, count: int) -> int:
        """Check the relative relocations of a sorted table at once, in a third of the time of a loop.

        Return how many were checked: all, or none if one of them is damaged or they are not sorted.
        """
        words = memoryview(data)[: count * _RELA.size].cast("Q")
        places, infos, addends = (words[at::3].tolist() for at in range(3))
        home = sum([rank(places, end - 7) - rank(places, start) for start, end in self.homes])
        if (
            not places
            or set(infos) != {self.types.relative}
            or data[: count * _RELA.size : _RELA.size].translate(None, _ALIGNED)
            or not all(map(lt, places, places[1:]))
            or home != count
            or not self.bounds[0] <= min(addends) <= max(addends) <= self.bounds[1]
        ):
            return 0
        self.sorted = places
        for place in self.wanted.intersection(places):
            self._keep(place, addends[rank(places, place)])
        return count

    def _symbolic(self, address: int, info: int, addend: int) -> int | None:
        """Check a relocation that is not relative, and return what it puts in its place, as in Filled."""
        kind, number, types = info & 0xFFFFFFFF, info >> 32, self.types
        if number >= self.count:
            damaged(f"a relocation by symbol {number} of {self.count}")
        nothing = (0, 0, 0, 0, 0, 0)
        entry = SYMBOL.unpack_from(self.elf.symbol_table, SYMBOL.size * number) if number else nothing
        info_, section, value = int(entry[1]), int(entry[3]), int(entry[4])
        type_ = info_ & 15
        slots = self.slots.get(kind)
        if slots is not None:
            # On x86-64, ld.so ignores the addend, in which -z mark-plt keeps the function's address in the PLT. lld's
            # --icf gives two words to one symbol, but not in the PLT.
            twice = number in slots and kind == types.jump_slot
            if address & 7 or twice or (addend and self.elf.machine == EM_AARCH64):
                damaged(f"a relocation of {address:#x} that is misaligned or repeats another")
            slots[number] = address
        if (slots is not None or kind == types.address) and number and type_ != STT_TLS:
            self.referred.add(number)
            if addend and slots is None and type_ in _FUNCTIONS:
                damaged(f"a relocation of {address:#x} that refers {addend} bytes into a function")
            if not section:
                return NOWHERE if info_ >> 4 == STB_WEAK else None
            self.symbols.add(number)
            if section == SHN_ABS:
                return None
            target = (value + addend) % (1 << 64)
            if not self.bounds[0] <= target <= self.bounds[1]:
                damaged(f"a relocation that refers to {target:#x}, outside of the library")
            return target
        if kind in types.thread_local and (not number or type_ in {STT_TLS, STT_SECTION}):
            self._check_variable(kind, address, addend + value * (type_ == STT_TLS), own=bool(section or not number))
        elif kind != types.indirect or number:
            damaged(f"a relocation of type {kind} by a symbol of type {type_}, which no linker writes")
        elif not is_function(self.elf, addend):
            damaged(f"an indirect function at {addend:#x}, where none starts")
        else:
            return None
        return NOWHERE

    def _check_variable(self, kind: int, address: int, offset: int, *, own: bool) -> None:
        """Check a thread-local relocation, by a section's symbol too: gold's, for a module's own variables."""
        self.pairs.add(address + 8)
        if kind == self.types.descriptor:
            self._check_neighbours(address, 16)
            self.places.append(address + 8)
            if address & 7:
                damaged(f"a thread-local descriptor at {address:#x}, which is misaligned")
        if own and self.tls is None:  # ld.so divides by its alignment
            damaged("a relocation of missing thread-local storage")
        if offset > (self.tls.memory_size if own and self.tls else _TLS_LIMIT):
            damaged(f"a relocation of type {kind} that refers to {offset:#x} in the thread-local storage")

    def _check_plt(self, data: bytes) -> None:
        """Require that the table of the PLT fills a row of words, each once: code jumps to each of them."""
        types, table, words = self.types, self.elf.symbol_table, memoryview(data).cast("Q")
        infos = words[1::3].tolist()
        if infos and max(infos) >> 32 >= self.count:
            damaged(f"a relocation by symbol {max(infos) >> 32} of {self.count}")
        for kind in {info & 0xFFFFFFFF if info >> 32 else -(info & 0xFFFFFFFF) for info in infos}:
            if kind not in {types.jump_slot, -types.indirect, types.descriptor, -types.descriptor}:
                damaged(f"a relocation of type {abs(kind)} among those of functions")
        for found in {
            table[SYMBOL.size * (info >> 32) + 4] & 15 for info in infos if info & 0xFFFFFFFF == types.jump_slot
        }:
            if found not in _CALLABLE:
                damaged(f"a function that is a symbol of type {found}")
        places = zip(words[::3].tolist(), infos, strict=True)
        row = sorted(place for place, info in places if info & 0xFFFFFFFF != types.descriptor)
        if row and row != list(range(row[0], row[0] + 8 * len(row), 8)):
            damaged("functions of other libraries that are out of line")

    def _read_packed(self, data: bytes) -> None:
        """Read DT_RELR: an even word is an address, an odd one a bitmap of the next 63 words.

        mold writes a list for each section, in any order of the sections.
        """
        blocks = {word >> 9 for word in self.wanted}
        address = start = end = 0
        spans = list[tuple[int, int]]()
        for (word,) in struct.iter_unpack("<Q", data):
            bitmap = word >> 1 if word & 1 else 1
            at, address = (address, address + 8 * 63) if word & 1 else (word, word + 8)
            first = at + 8 * ((bitmap & -bitmap).bit_length() - 1) if bitmap else at
            behind = at + 8 * bitmap.bit_length()
            if not bitmap:
                continue
            spans.append((first, behind))
            if first & 7:
                self.odd.append(first)
                self._check_neighbours(first, behind - first)
            if first < start or end < behind:
                start, end = self._home(first, behind - first)
            if first >> 9 in blocks or behind - 1 >> 9 in blocks:
                for spot in (at + 8 * bit for bit in range(bitmap.bit_length()) if bitmap >> bit & 1):
                    if spot in self.wanted:
                        self._keep(spot, int.from_bytes(self.elf.read_at(spot, 8, "a relocation"), "little"))
        spans.sort()
        if any(behind > first for (_, behind), (first, _) in pairwise(spans)):
            damaged("packed relocations that overlap")

    def _check_places(self) -> None:
        """Require that no relocation overlaps another, and that no word of the global offset table is left out."""
        others = set(self.places)
        if len(others) < len(self.places) or others.intersection(self.sorted):
            damaged("two relocations of one address")
        for place in self.odd:
            if any(place + by in others or place + by in self.sorted for by in range(-7, 8) if by):
                damaged(f"a relocation of {place:#x} that overlaps another")
        slots = self.slots[self.types.data_slot].values()
        if not slots:
            return
        low, high = min(slots), max(slots)
        # Without a relocation: ld.so's own three words, and the first of the table, which mold leaves empty.
        header = self.elf.dynamic.get(DT_PLTGOT, 0)
        filled = others | self.pairs | {header, header + 8, header + 16}
        for kind, flags, start, _, size in self.elf.sections:
            if not flags & SHF_WRITE or kind == SHT_NOBITS or high < start or low >= start + size:
                continue
            if any(start <= slot < start + size for slot in slots):
                limit("bytes in the global offset table", size, _MOST_OFFSETS)
                table = self.elf.read_at(start, size, "the global offset table")
                for word in set(range(start + 8, start + size - 7, 8)).difference(filled, self.sorted):
                    if not any(table[word - start : word - start + 8]):
                        damaged(f"a word of the global offset table at {word:#x} without its relocation")

    def _home(self, address: int, size: int) -> tuple[int, int]:
        for start, end in self.homes:
            if start <= address and address + size <= end:
                return start, end
        return damaged(f"a relocation of {address:#x}, which is not writable")

    def _check_neighbours(self, address: int, size: int) -> None:
        self._home(address, size)
        if not self.wanted.isdisjoint(range(address & ~7, address + size, 8)):
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
            start, size = elf.dynamic[table], elf.dynamic[SIZES[table]]
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
