"""Check the vtable in the file: its symbol, its numbers, and what the relocations will put into its slots."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..elf.constants import PT_NOTE, STT_OBJECT
from ..elf.integrity import is_code, is_function
from ..elf.reader import ElfError
from ..errors import Problem
from ..ffi.abi import HEAD_SIZE, SERIAL
from ..fields import Fields
from .platform import dotted, host_machine

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..elf.constants import Symbol
    from ..elf.integrity import Filled
    from ..elf.reader import ElfFile
    from .manifest import Manifest

_HEAD = struct.Struct("<IHH8xQ")  # size, ABI major and minor, (manifest) flags
_MUST_KNOW = 0xFFFFFFFF_00000000 & ~SERIAL
_OPTIONAL_SLOTS = {24: "create", 32: "destroy", 40: "query"}


class Vtable(Fields):
    """A vtable as it is in the file."""

    address: int
    """Its offset from the library's base."""
    size: int
    abi: tuple[int, int]
    flags: int


def find_vtable(
    elf: ElfFile, manifest: Manifest, contract: Contract, filled: Filled
) -> tuple[Vtable | None, list[Problem]]:
    """Find the vtable that the library exports for the contract, and check it."""
    problems: list[Problem] = []
    symbol = _find_symbol(elf, manifest, contract, problems)
    if symbol is None:
        return None, problems
    try:
        data = elf.read_at(symbol.address, symbol.size, contract.symbol)
    except ElfError:
        found = "memory that the file does not initialise (.bss)"
        return None, [Problem.of("vtable-empty", found, symbol=contract.symbol)]
    size, major, minor, flags = _HEAD.unpack_from(data)
    vtable = Vtable(symbol.address, size, (major, minor), flags)
    problems += _check_numbers(vtable, symbol, manifest)
    if elf.machine == host_machine():  # else its relocations were not read
        problems += _check_manifest_copy(elf, symbol, manifest, filled)
        problems += _check_slots(elf, symbol, contract, filled, data)
    return vtable, problems


def _check_numbers(vtable: Vtable, symbol: Symbol, manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    if past := symbol.address % 8:
        problems.append(Problem.of("vtable-alignment", f"an address {past} bytes past one", symbol=symbol.name))
    if vtable.size != symbol.size:
        problems.append(Problem.of("vtable-size", vtable.size, size=symbol.size))
    if vtable.abi[0] != manifest.abi[0] or vtable.abi[1] < manifest.abi[1]:
        found = f"{dotted(vtable.abi)}, while its manifest says {dotted(manifest.abi)}"
        problems.append(Problem.of("vtable-abi", found))
    if vtable.flags & _MUST_KNOW:
        problems.append(Problem.of("vtable-flags", f"{vtable.flags:#018x}"))
    return problems


def _find_symbol(elf: ElfFile, manifest: Manifest, contract: Contract, problems: list[Problem]) -> Symbol | None:
    symbols, wanted = elf.symbols("hardpoint_"), contract.symbol
    symbol = next((symbol for symbol in symbols if symbol.name == wanted), None)
    methods = len(manifest.methods)
    size = HEAD_SIZE + 8 * methods
    if symbol is None:
        found = ", ".join(symbol.name for symbol in symbols) or "no hardpoint_* symbol"
        problems.append(Problem.of("symbol-missing", found, symbol=wanted))
    elif not symbol.section:
        fix = "define it in this library"
        problems.append(Problem.of("symbol-missing", "an undefined symbol", fix=fix, symbol=wanted))
    elif symbol.type != STT_OBJECT:
        problems.append(Problem.of("symbol-type", "a symbol of another type", symbol=wanted))
    elif symbol.size != size:
        problems.append(Problem.of("symbol-size", symbol.size, symbol=wanted, size=size, methods=methods))
    else:
        return symbol
    return None


def _check_manifest_copy(elf: ElfFile, symbol: Symbol, manifest: Manifest, filled: Filled) -> list[Problem]:
    copy = filled.get(symbol.address + 8, 0)
    if copy is None:  # set through a symbol: compared once the library is loaded
        return []
    try:
        text = elf.read_at(copy, len(manifest.text) + 1, "the manifest") if copy else b""
    except ElfError:
        text = b""
    if text != manifest.text + b"\0":
        return [Problem.of("vtable-manifest", "another text")]
    notes = (segment for segment in elf.segments if segment.type == PT_NOTE)
    if any(note.address <= copy < note.address + note.memory_size for note in notes):
        return [Problem.of("manifest-not-copied", "a pointer to the note itself")]
    return []


def _check_slots(elf: ElfFile, symbol: Symbol, contract: Contract, filled: Filled, data: bytes) -> list[Problem]:
    problems: list[Problem] = []
    names = {HEAD_SIZE + 8 * index: method.text for index, method in enumerate(contract.methods)}
    for offset, name in (_OPTIONAL_SLOTS | names).items():
        target = filled.get(symbol.address + offset, 0)
        empty = target == 0 and not any(data[offset : offset + 8])
        optional = offset < HEAD_SIZE or contract.methods[(offset - HEAD_SIZE) // 8].since
        if offset >= len(data) or (empty and optional):
            continue
        if empty:
            problems.append(Problem.of("slot-empty", "an empty slot", method=name))
        elif not is_code(elf, target):
            problems.append(Problem.of("slot-not-code", "a pointer to something else", method=name))
        elif not is_function(elf, target):
            problems.append(Problem.of("slot-not-code", "a pointer into the middle of a function", method=name))
    return problems
