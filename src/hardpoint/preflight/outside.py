"""Say where a slot leads that is filled by a symbol of another library: only functions can be called."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from ..elf.constants import SHN_ABS, STB_WEAK, STT_FUNC, STT_GNU_IFUNC, SYMBOL
from ..elf.functions import is_code
from ..elf.lookup import lookup
from ..elf.needed import libraries
from ..elf.reader import ElfError, open_elf
from ..elf.relocations import TABLES
from ..ffi.libc import ffi, libc

if TYPE_CHECKING:
    from ..elf.reader import ElfFile

_RELOCATION = struct.Struct("<QQ8x")  # offset, symbol << 32 | type


def misfit_outside(elf: ElfFile, address: int, origin: str | None) -> str:
    """Say what is wrong with the symbol by which the slot at an address is relocated; "" for a function."""
    number = _symbol_of(elf, address)
    if not number:  # an indirect function of this library
        return ""
    offset, info, _, section, _, _ = SYMBOL.unpack_from(elf.symbol_table, SYMBOL.size * number)
    name = elf.string(offset)
    if section == SHN_ABS:
        return f"the number {name}, not an address"
    if section:  # thread-local
        return f"the variable {name}"
    code = _is_code_of_host(name)
    where = "the host"
    if code is None:
        code, where = _is_code_elsewhere(elf, name, origin)
    if code is None:  # the dynamic linker refuses it, unless it may be missing
        return f"an empty slot: {name}, which may be undefined (weak) and is" if info >> 4 == STB_WEAK else ""
    return "" if code else f"the variable {name} of {where}"


def _symbol_of(elf: ElfFile, address: int) -> int:
    """Return the number of the symbol by which a word is relocated, 0 if by none."""
    for table, size in TABLES:
        if table in elf.dynamic:
            data = elf.read_at(elf.dynamic[table], elf.dynamic[size], "the relocations")
            for offset, info in _RELOCATION.iter_unpack(data):
                if offset == address:
                    return int(info >> 32)
    return 0


def _is_code_of_host(name: str) -> bool | None:
    """True if this process's global scope has code of that name; None if it has nothing."""
    address = int(ffi.cast("uintptr_t", libc.dlsym(libc.dlopen(ffi.NULL, os.RTLD_LAZY), name.encode())))
    if not address:
        return None
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        for line in maps:
            span, flags, *_ = line.split(None, 2)
            start, _, end = span.partition("-")
            if int(start, 16) <= address < int(end, 16):
                return "x" in flags
    return False


def _is_code_elsewhere(elf: ElfFile, name: str, origin: str | None) -> tuple[bool | None, str]:
    """Look in the libraries that this one needs, in the dynamic linker's order."""
    for library, path in libraries(elf, origin):
        try:
            with open_elf(path) as other:
                found = lookup(other, name)
                if found is not None:
                    is_function = found.type in {STT_FUNC, STT_GNU_IFUNC} or not found.type
                    return is_function and is_code(other, found.address), library
        except (ElfError, OSError):
            continue
    return None, ""
