"""Compare the static thread-local storage (TLS) that a library takes with a process's reserve (dl-tls.c of glibc)."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from ..elf.constants import DT_RELA, DT_RELASZ, EM_X86_64, R_AARCH64_TLS_TPREL, SYMBOL
from ..elf.search_path import at_start

if TYPE_CHECKING:
    from ..elf.reader import ElfFile

_R_X86_64_TPOFF64 = 18
_RELOCATION = struct.Struct("<QQ8x")  # offset, symbol << 32 | type
_TUNABLE = re.compile(r"(?:^|:)glibc\.rtld\.(optional_static_tls|nns)=(0[xX][0-9a-fA-F]+|[0-9]+)")
_OPTIONAL, _NAMESPACES, _EACH = 512, 4, 384
"""Defaults of the tunables, and more than the bytes for each namespace: 2048 are allowed where glibc has 1664, as it
rounds up."""


def most_static_tls() -> int:
    """Return a number of bytes that the reserve of this process cannot exceed, by the tunables of its start."""
    tunables = {name: int(value, 0) for name, value in _TUNABLE.findall(at_start("GLIBC_TUNABLES"))}
    return tunables.get("optional_static_tls", _OPTIONAL) + _EACH * tunables.get("nns", _NAMESPACES)


def takes_static_tls(elf: ElfFile) -> bool:
    """True if a relocation needs its own thread-local storage at a fixed offset, and not another library's."""
    kind = _R_X86_64_TPOFF64 if elf.machine == EM_X86_64 else R_AARCH64_TLS_TPREL
    if DT_RELA not in elf.dynamic:
        return False
    table = elf.read_at(elf.dynamic[DT_RELA], elf.dynamic.get(DT_RELASZ, 0) // 24 * 24, "the relocations")
    numbers = {info >> 32 for _, info in _RELOCATION.iter_unpack(table) if info & 0xFFFFFFFF == kind}
    symbols = [*SYMBOL.iter_unpack(elf.symbol_table)] if any(numbers) else []
    return 0 in numbers or any(number < len(symbols) and symbols[number][3] for number in numbers)
