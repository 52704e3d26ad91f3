"""Check the dynamic symbols, their hash tables and their versions: the dynamic linker trusts all of them."""

from __future__ import annotations

import struct
from itertools import islice
from operator import mul
from typing import TYPE_CHECKING

from .constants import (
    DT_GNU_HASH,
    DT_HASH,
    DT_VERDEF,
    DT_VERNEED,
    DT_VERSYM,
    GNU_HASH,
    SHN_ABS,
    SHN_LORESERVE,
    STB_GLOBAL,
    STB_GNU_UNIQUE,
    STB_LOCAL,
    STB_WEAK,
    STT_COMMON,
    STT_FUNC,
    STT_GNU_IFUNC,
    STT_NOTYPE,
    STT_OBJECT,
    STT_SECTION,
    STT_TLS,
    SYMBOL,
)
from .functions import is_code, is_function, is_indirect, unwound
from .image import damaged

if TYPE_CHECKING:
    from .reader import ElfFile

_STARTING = {"__gmon_start__", "__cxa_finalize", "_ITM_registerTMCloneTable", "_ITM_deregisterTMCloneTable"}
"""Weak symbols that crti.o and crtbeginS.o call."""
_MOST_BINDINGS = 1024
"""References to own symbols that are checked: 5 to 10 us each."""
_BLOCK = 64
_POWERS = [33**power & 0xFFFFFFFF for power in range(_BLOCK, -1, -1)]
"""For the hash of a name, h = 33 * h + byte, by blocks: half the time of a loop over the bytes."""
_NAME = struct.Struct("<I")
_OPTIONAL = STB_WEAK << 4 | STT_NOTYPE
"""The kind of a symbol that no library had when it was linked, and that may be missing."""
_DEFINED = {
    *(
        binding << 4 | kind
        for binding in (STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE)
        for kind in (STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_COMMON, STT_TLS, STT_GNU_IFUNC)
    ),
    *(STB_LOCAL << 4 | kind for kind in (STT_NOTYPE, STT_SECTION, STT_TLS)),
}
"""Bindings and types of the symbols that linkers define; ld.so does not find those of other types."""
_FUNCTIONS = {STT_FUNC, STT_GNU_IFUNC}
_HIDDEN, _NUMBER = 0x8000, 0x7FFF
"""Bits of an entry of DT_VERSYM (LSB, "Symbol Version Table")."""


def check_symbols(elf: ElfFile) -> None:
    """Check the hash table that ld.so uses, and each symbol. ElfError for anything out of bounds."""
    if DT_GNU_HASH in elf.dynamic:
        _check_gnu_hash(elf, elf.dynamic[DT_GNU_HASH])
    elif DT_HASH in elf.dynamic:
        _check_hash(elf, elf.dynamic[DT_HASH])
    if any(elf.symbol_table[: SYMBOL.size]):
        damaged("a non-empty first symbol")
    _check_each(elf)


def _check_each(elf: ElfFile) -> None:
    strings, tls, start, end = len(elf.strings), elf.tls, 0, -1
    sections = len(elf.sections) or SHN_LORESERVE  # without section headers, their numbers mean nothing
    ends, texts = set[int](), elf.strings
    for name, info, other, section, value, size in SYMBOL.iter_unpack(elf.symbol_table[SYMBOL.size :]):
        if name >= strings:
            damaged(f"a symbol whose name is at {name} of {strings} bytes of strings")
        if texts[name - 1]:
            ends.add(name)
        if not section:
            # ld.so takes one that is local, hidden or has a value as defined here, at that value.
            if info >> 4 == STB_LOCAL or other & 3 or value:
                damaged(f"an undefined symbol {elf.string(name)} that is marked as defined")
        elif info not in _DEFINED:  # of any visibility: gold and ld export some that are hidden
            damaged(f"a symbol {elf.string(name)} of binding {info >> 4} and type {info & 15}")
        elif sections <= section != SHN_ABS and value:  # without: of a section that strip took (rustc's metadata)
            damaged(f"a symbol {elf.string(name)} in section {section} of {sections}")
        elif info & 15 == STT_TLS:
            if tls is None or value + size > tls.memory_size:
                damaged(f"a thread-local variable {elf.string(name)} outside of the thread-local storage")
        else:
            if not start <= value <= end and section != SHN_ABS:
                start, end = _segment_of(elf, name, value)
            if info & 15 == STT_GNU_IFUNC and not (is_function(elf, value) and is_indirect(elf, value)):
                damaged(f"an indirect function at {value:#x}, where none starts")
    _check_shared(elf, ends)
    _check_twins(elf)


def _check_twins(elf: ElfFile) -> None:
    """Require that no two symbols have one name and one version, and none both is defined and comes from elsewhere.

    Only a definition that is an old version, as libattr's, may have the name of an undefined symbol.
    """
    names = memoryview(elf.symbol_table).cast("I")[::6].tolist()
    if len(set(names)) == len(names):
        return
    numbers = [0] * len(names)
    if DT_VERSYM in elf.dynamic:
        data = elf.read_at(elf.dynamic[DT_VERSYM], 2 * elf.symbol_count, "the symbols' versions")
        numbers = memoryview(data).cast("H").tolist()
    seen, defined, undefined = set[tuple[int, int]](), set[int](), set[int]()
    sections = memoryview(elf.symbol_table).cast("H")[3::12]
    for name, number, section in zip(names, numbers, sections, strict=True):
        if (name, number & _NUMBER) in seen:
            damaged("two symbols of one name and version")
        if name:
            seen.add((name, number & _NUMBER))
        if not section:
            undefined.add(name)
        elif name and not number & _HIDDEN:
            defined.add(name)
    if both := undefined & defined:
        damaged(f"a symbol {elf.string(min(both))} that is both defined and undefined")


def _check_shared(elf: ElfFile, ends: set[int]) -> None:
    """Require that a name which is the end of another one ("exit" in "__cxa_atexit") shares it with a name in use.

    patchelf leaves names without a use, but no new end of one.
    """
    if not ends:
        return
    used = set(memoryview(elf.symbol_table).cast("I")[::6]) | elf.named
    for end in ends:
        start = elf.strings.rfind(b"\0", 0, end) + 1
        if used.isdisjoint(range(start, end)):
            damaged(f"a symbol {elf.string(end)} whose name is the end of one that nothing has")


def check_bindings(elf: ElfFile, own: set[int], referred: set[int]) -> None:
    """Check the symbols of its own that relocations refer to, by number: their values, and that ld.so finds them.

    Of those of others, require that a relocation refers to each that the compiler's start functions call if it is not
    0, such as `__gmon_start__`. Linkers leave other weak symbols in the table without a use, as mold does for Rust.

    One that is weak and not found is 0, without an error. Libraries with many are not plugins, and checked in part.
    """
    kinds = elf.symbol_table[4 :: SYMBOL.size]
    number = kinds.find(_OPTIONAL)
    while number > 0:
        name, _, _, section, _, _ = SYMBOL.unpack_from(elf.symbol_table, SYMBOL.size * number)
        if not section and number not in referred and elf.string(name) in _STARTING:
            damaged(f"a weak symbol {elf.string(name)} of another library that nothing refers to")
        number = kinds.find(_OPTIONAL, number + 1)
    table = GnuHash(elf) if own and DT_GNU_HASH in elf.dynamic else None
    for number in islice(own, _MOST_BINDINGS):
        name, info, other, section, value, size = SYMBOL.unpack_from(elf.symbol_table, SYMBOL.size * number)
        if info & 15 in _FUNCTIONS:
            start, end = unwound(elf, value)
            if start < value < end or not is_code(elf, value) or section == SHN_ABS:
                damaged(f"a function {elf.string(name)} at {value:#x}, where none starts")
            if start == value and 0 < size < end - start:  # one in assembly may be padded
                damaged(f"a function {elf.string(name)} of {size} bytes, where one of {end - start} is")
            if unwound(elf, value + max(size, 1) - 1)[0] > value:
                damaged(f"a function {elf.string(name)} at {value:#x} that reaches over the start of another")
        if table and info >> 4 == STB_WEAK and not other & 3 and not table.has(name):
            damaged(f"a weak symbol {elf.string(name)} that is not in the hash table")


class GnuHash:
    """The GNU hash table, which was checked (https://flapenguin.me/elf-dt-gnu-hash; dl-lookup.c in glibc)."""

    def __init__(self, elf: ElfFile) -> None:
        self.elf, start, what = elf, elf.dynamic[DT_GNU_HASH], "the GNU hash table"
        buckets, self.first, blooms, self.shift = GNU_HASH.unpack(elf.read_at(start, GNU_HASH.size, what))
        self.blooms = memoryview(elf.read_at(start + 16, 8 * blooms, what)).cast("Q")
        start += 16 + 8 * blooms
        count = max(elf.symbol_count - self.first, 0)
        self.buckets = memoryview(elf.read_at(start, 4 * buckets, what)).cast("I")
        self.hashes = memoryview(elf.read_at(start + 4 * buckets, 4 * count, what)).cast("I")

    def has(self, name: int) -> bool:
        """True if the dynamic linker finds a symbol by its name, given by its offset in the strings."""
        strings = self.elf.strings
        text = strings[name : strings.index(b"\0", name) + 1]
        value = 5381
        for at in range(0, len(text) - 1, _BLOCK):
            block = text[at : min(at + _BLOCK, len(text) - 1)]
            value = (value * _POWERS[-len(block) - 1] + sum(map(mul, block, _POWERS[-len(block) :]))) & 0xFFFFFFFF
        word = self.blooms[value // 64 % len(self.blooms)]
        if not word >> value % 64 & word >> (value >> self.shift) % 64 & 1:
            return False
        at = self.buckets[value % len(self.buckets)] - self.first
        while 0 <= at < len(self.hashes):
            if self.hashes[at] | 1 == value | 1:
                (found,) = _NAME.unpack_from(self.elf.symbol_table, SYMBOL.size * (at + self.first))
                if strings.startswith(text, found):
                    return True
            if self.hashes[at] & 1:
                break
            at += 1
        return False


def _segment_of(elf: ElfFile, name: int, value: int) -> tuple[int, int]:
    """Return the bounds of the segment that a symbol's value is in or right behind, as `_end` is."""
    for load in elf.loads:
        if load.address <= value <= load.address + load.memory_size:
            return load.address, load.address + load.memory_size
    return damaged(f"a symbol {elf.string(name)} at {value:#x}, outside of the library")


def _check_gnu_hash(elf: ElfFile, table: int) -> None:
    buckets, first, blooms, _ = GNU_HASH.unpack(elf.read_at(table, GNU_HASH.size, "the GNU hash table"))
    if not buckets or not blooms or blooms & (blooms - 1):
        damaged(f"a GNU hash table of {buckets} buckets and {blooms} filter words")
    count = elf.count_by_gnu_hash(table)
    if count > elf.symbol_count:
        damaged("a GNU hash table that points past the last symbol")
    size = 16 + 8 * blooms + 4 * buckets
    starts = memoryview(elf.read_at(table, size, "the GNU hash table")[-4 * buckets :]).cast("I")
    if min(filter(None, starts), default=first) < first:
        damaged("a GNU hash table that points before its first symbol")
    if elf.room_at(table) < size + 4 * (elf.symbol_count - first):  # a word for each symbol, in one piece
        damaged("a GNU hash table that points out of its segment")


def _check_hash(elf: ElfFile, table: int) -> None:
    buckets, count = struct.unpack("<II", elf.read_at(table, 8, "the hash table"))
    links = memoryview(elf.read_at(table + 8, 4 * (buckets + count), "the hash table")).cast("I")
    if not buckets or max(links) >= min(count, elf.symbol_count):
        damaged("a hash table that points past the last symbol")
    chains, seen = links[buckets:], bytearray(count)
    for at in links[:buckets]:
        while at:
            if seen[at]:  # each symbol has one name, so it is in one chain
                damaged("a hash table with a circular chain")
            seen[at] = 1
            at = chains[at]  # noqa: PLW2901 - follow the chain


def check_versions(elf: ElfFile) -> None:
    """Require that each symbol's version is in one of the tables, and each needed one's library is needed."""
    dynamic, size = elf.dynamic, 2 * elf.symbol_count
    if DT_VERSYM not in dynamic:
        if DT_VERNEED in dynamic or DT_VERDEF in dynamic:
            damaged("symbol versions without the table that uses them")
        return
    needed, libraries = elf.versions_needed(), set(elf.needed)
    for version in needed:
        if version.file not in libraries:
            damaged(f"a version {version.version} of {version.file}, which is not among the needed libraries")
    known = max([0, *(need.number for need in needed), *(own.number for own in elf.versions_defined())])
    numbers = memoryview(elf.read_at(dynamic[DT_VERSYM], size, "the symbols' versions")).cast("H")
    if max((number & 0x7FFF for number in numbers), default=0) > known:
        damaged("a symbol of a version that is not in the table of versions")
