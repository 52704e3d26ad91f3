"""Addresses of functions: is one in the code, and at the start of a function, as far as the file tells.

The standards are the LSB ("Exception Frames") for .eh_frame_hdr and .eh_frame, and DWARF 5, 6.4 and 7.7.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .constants import (
    EM_AARCH64,
    EM_X86_64,
    STT_FUNC,
    STT_GNU_IFUNC,
    SYMBOL,
)
from .image import ElfError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .reader import ElfFile

_X86_ENDS = tuple(map(bytes.fromhex, (
    "c3", "cc", "f4", "0f0b", "ffe0", "90", "0f1f00", "0f1f4000", "0f1f440000", "0f1f8000000000", "0f1f840000000000",
    "0000000000000000",
)))  # fmt: skip
"""Before a function: ret, int3, hlt, ud2, jmp *%rax, each nop that assemblers write, or padding of a section."""
_X86_JUMPS = ((2, b"\xeb"), (5, b"\xe9"), (6, b"\xff\x25"), (3, b"\xc2"))
"""How many bytes before it the jumps and returns begin that have an operand."""
_ENDBR64 = bytes.fromhex("f30f1efa")
_X86_STARTS = {_ENDBR64, bytes.fromhex("4883ec08")}
"""endbr64, and the first instruction of .init and .fini, which may follow any byte: sub $8, %rsp."""
_X86_PLT, _AARCH64_PLT = (b"\xff\x35", b"\xff\x25", b"\xf2\xff\x25", b"\x68"), bytes.fromhex("f07bbfa9")
"""push or jmp through the table, push of a number; stp x16, x30, [sp, #-16]!."""
_AARCH64_ENDS = ((0xFFFFFC1F, 0xD65F0000), (0xFC000000, 0x14000000), (0xFFFFFC1F, 0xD61F0000), (0xFFFFFFFF, 0xD503201F), (0xFFFFFFFF, 0),
                 (0xFFE0001F, 0xD4200000))  # fmt: skip
"""Mask and value: ret, b, br, nop, padding, brk."""
_ENTRY = struct.Struct("<II")  # of .eh_frame: size, distance to its common entry
_WIDTHS = {0x0B: 4, 0x03: 4, 0x0C: 8, 0x04: 8, 0: 8}
"""Bytes of a length, by the encoding of addresses."""
_NAMING = {STT_FUNC, STT_GNU_IFUNC}


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


def is_exact(elf: ElfFile, address: int) -> bool:
    """True if a function certainly starts at an address: a section's, one of the unwinding table, or a symbol's.

    Without sections, what is_function says.
    """
    if not is_function(elf, address):
        return False
    if address in elf.code_starts or not elf.sections or unwound(elf, address)[0] == address:
        return True
    return _named(elf, address, address) is True or _has_prologue(elf, address)


def _has_prologue(elf: ElfFile, address: int) -> bool:
    """True if the code there is that of .init and .fini, which BOLT moves; on AArch64, nothing tells."""
    return elf.machine == EM_AARCH64 or elf.start_of(address, 4) in _X86_STARTS


def is_function(elf: ElfFile, address: int | None) -> bool:
    """True if an address is in the code and not in the middle of a function, or None, as for is_code.

    The unwinding table has the bounds of nearly all functions. Of what it leaves out, such as the compiler's own start
    functions and assembly, symbols tell, and else the instruction before it.
    """
    if address is None:
        return True
    if not is_code(elf, address):
        return False
    if address in elf.code_starts:
        return not _is_plt(elf, address)
    start, end = unwound(elf, address)
    if start == address:
        return True
    named = _named(elf, address, end)
    if named is not None:
        return named
    return not start < address < end and (end == address or _looks_like_a_start(elf, address))


def _is_plt(elf: ElfFile, address: int) -> bool:
    """True if a section begins as a procedure linkage table does, with a jump through the global offset table."""
    code = elf.start_of(address, 12)
    if elf.machine == EM_X86_64:
        return code.removeprefix(_ENDBR64).startswith(_X86_PLT)
    return code.startswith(_AARCH64_PLT)


def unwound(elf: ElfFile, address: int) -> tuple[int, int]:
    """Return the bounds of the last function in the unwinding table that starts by an address; 0, 0 if none."""
    known = elf.unwound.get(address)
    if known is None:
        try:
            known = _unwound(elf, address)
        except ElfError:
            known = 0, 0
        elf.unwound[address] = known
    return known


def _unwound(elf: ElfFile, address: int) -> tuple[int, int]:
    base, starts, entries = elf.unwinding
    count = rank(starts, address - base + 1)
    if not count:
        return 0, 0
    start = base + starts[count - 1]
    return start, start + _length(elf, base + entries[count - 1])


def rank(numbers: Sequence[int], limit: int) -> int:
    """Count the sorted numbers that are below a limit, as bisect_left, whose module takes 0.2 ms to import."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if numbers[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


def _length(elf: ElfFile, entry: int) -> int:
    """Return the size of the function that an entry of .eh_frame describes, a multiple of its alignment."""
    what = "an unwinding entry"
    size, back = _ENTRY.unpack(elf.read_at(entry, _ENTRY.size, what))
    if not size or size == 0xFFFFFFFF:
        return 0
    common = entry + 4 - back
    width = elf.widths.get(common)
    if width is None:
        width = elf.widths[common] = _width(elf, common)
    return int.from_bytes(elf.read_at(entry + 8 + width, width, what), "little") if width else 0


def _width(elf: ElfFile, common: int) -> int:
    """Return the bytes of a length in the entries that have this common entry; 0 if unknown."""
    data = elf.read_at(common, min(elf.room_at(common), 64), "an unwinding entry")
    end = data.find(b"\0", 9)
    if end < 0 or not data.startswith(b"z", 9):
        return 0
    letters, at = data[9:end].decode("latin-1"), end + 1
    for _ in range(4):  # code and data alignment, return register, length: LEB128
        while at < len(data) and data[at] & 0x80:
            at += 1
        at += 1
    for letter in letters[1:]:
        if letter == "R":
            return _WIDTHS.get(data[at] & 15 if at < len(data) else 15, 0)
        if letter == "L":
            at += 1
        elif letter == "P":
            at += 1 + {0x0B: 4, 0x03: 4}.get(data[at] & 15 if at < len(data) else 0, 8)
    return 0


def _named(elf: ElfFile, address: int, behind: int) -> bool | None:
    """True if a symbol starts at an address, False if it is in the middle of one, None if no symbol tells.

    One without a size, such as the compiler's own functions have, ends where the next symbol or function begins, or its
    section. `behind` is the end of the last function before the address that the unwinding table has.
    """
    if behind <= address and _is_named(elf, address):
        return True
    section = max((start for start, end in elf.code if start <= address < end), default=0)
    nearest = (max(section, behind) - 1, 0)
    for table in elf.function_symbols:
        values, low = memoryview(table).cast("Q")[1::3].tolist(), nearest[0]
        for index in [index for index, value in enumerate(values) if low <= value <= address]:
            _, info, _, defined, value, size = SYMBOL.unpack_from(table, SYMBOL.size * index)
            if defined and info & 15 in _NAMING:
                nearest = max(nearest, (value, size))
    value, size = nearest
    if value == address:
        return True
    if value < max(section, behind):
        return None
    return False if size == 0 or address < value + size else None


def _is_named(elf: ElfFile, address: int) -> bool:
    """True if a function's symbol has this very address, as most have: found in the tables' bytes."""
    value = address.to_bytes(8, "little")
    for table in elf.function_symbols:
        at = table.find(value)
        while at >= 0:
            if at % SYMBOL.size == 8 and table[at - 4] & 15 in _NAMING and any(table[at - 2 : at]):
                return True
            at = table.find(value, at + 1)
    return False


def is_indirect(elf: ElfFile, address: int) -> bool:
    """True if a function is marked as indirect in .symtab, too, or is not there: ld.so calls it to get an address."""
    types = {
        info & 15
        for table in elf.function_symbols[1:]
        for _, info, _, _, value, _ in SYMBOL.iter_unpack(table)
        if value == address
    }
    return not types or STT_GNU_IFUNC in types


def _looks_like_a_start(elf: ElfFile, address: int) -> bool:
    """True if the instruction before an address ends a function or fills the room between two, or nothing tells."""
    try:
        before, after = elf.read_at(address - 8, 8, "code"), elf.read_at(address, 4, "code")
    except ElfError:
        return True
    if elf.machine == EM_X86_64:
        jumps = any(before.startswith(jump, 8 - by) for by, jump in _X86_JUMPS)
        padded = address % 16 == 0 and before.endswith(b"\0\0")  # as mold fills the room between two files
        return before.endswith(_X86_ENDS) or jumps or padded or after in _X86_STARTS
    instruction = int.from_bytes(before[4:], "little")
    return any(instruction & mask == value for mask, value in _AARCH64_ENDS)
