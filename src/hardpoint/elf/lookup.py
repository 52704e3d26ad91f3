"""Look a symbol up as dlsym(3) does: by the hash table that ld.so uses, and by the symbol's version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .constants import DT_GNU_HASH, DT_HASH, DT_VERSYM, GNU_HASH, SHN_ABS, STB_LOCAL, STT_TLS, SYMBOL, Symbol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .reader import ElfFile

_HIDDEN, _NUMBER, _FIRST_VERSION = 0x8000, 0x7FFF, 2
"""Bits of an entry of DT_VERSYM; numbers below 2 are no versions (LSB, "Symbol Version Table")."""


def lookup(elf: ElfFile, name: str) -> Symbol | None:
    """Return the definition that dlsym gives for a name in this library, or None.

    Of definitions with versions it takes the default one (`name@@VERSION`), if there is exactly one.
    """
    versions = (
        elf.read_at(elf.dynamic[DT_VERSYM], 2 * elf.symbol_count, "versions") if DT_VERSYM in elf.dynamic else b""
    )
    defaults: list[Symbol] = []
    for index in _named(elf, name):
        offset, info, _, section, value, size = SYMBOL.unpack_from(elf.symbol_table, SYMBOL.size * index)
        symbol = Symbol(elf.string(offset), info & 15, info >> 4, section, value, size)
        unset = not value and section != SHN_ABS and symbol.type != STT_TLS
        if symbol.name != name or not section or unset or symbol.binding == STB_LOCAL:
            continue
        version = int.from_bytes(versions[2 * index : 2 * index + 2], "little")
        if version & _NUMBER < _FIRST_VERSION:
            return symbol
        if not version & _HIDDEN:
            defaults.append(symbol)
    return defaults[0] if len(defaults) == 1 else None


def _named(elf: ElfFile, name: str) -> Iterator[int]:
    """Yield the symbols in the chain of a name's hash, of the table that ld.so prefers."""
    if DT_GNU_HASH in elf.dynamic:
        return _by_gnu_hash(elf, elf.dynamic[DT_GNU_HASH], name.encode())
    return _by_hash(elf, elf.dynamic[DT_HASH], name.encode()) if DT_HASH in elf.dynamic else iter(())


def _by_gnu_hash(elf: ElfFile, table: int, name: bytes) -> Iterator[int]:
    value = 5381
    for byte in name:
        value = (value * 33 + byte) & 0xFFFFFFFF
    buckets, first, blooms, shift = GNU_HASH.unpack(elf.read_at(table, GNU_HASH.size, "the GNU hash table"))
    filters = table + GNU_HASH.size
    word = _number(elf, filters + 8 * (value // 64 % blooms), 8)
    if not word >> value % 64 & word >> (value >> shift) % 64 & 1:
        return
    chains = filters + 8 * blooms + 4 * buckets
    index = _number(elf, filters + 8 * blooms + 4 * (value % buckets), 4)
    while first <= index < elf.symbol_count:
        found = _number(elf, chains + 4 * (index - first), 4)
        if (found ^ value) >> 1 == 0:
            yield index
        if found & 1:
            return
        index += 1


def _by_hash(elf: ElfFile, table: int, name: bytes) -> Iterator[int]:
    value = 0
    for byte in name:
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    buckets = _number(elf, table, 4)
    index = _number(elf, table + 8 + 4 * (value % buckets), 4)
    for _ in range(elf.symbol_count):
        if not 0 < index < elf.symbol_count:
            return
        yield index
        index = _number(elf, table + 8 + 4 * (buckets + index), 4)


def _number(elf: ElfFile, address: int, size: int) -> int:
    return int.from_bytes(elf.read_at(address, size, "the hash table"), "little")
