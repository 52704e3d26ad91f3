"""The vtable as it stands in the file: its symbol, its numbers, and what the relocations will put into its slots."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..elf.constants import PT_NOTE, STT_OBJECT
from ..elf.integrity import is_code
from ..elf.reader import ElfError
from ..errors import Problem
from ..ffi.abi import HEAD_SIZE, SERIAL
from ..fields import Fields
from .platform import dotted, host_machine

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..elf.integrity import Filled
    from ..elf.reader import ElfFile, Symbol
    from .manifest import Manifest

_HEAD = struct.Struct("<IHH8xQ")  # size, ABI major and minor, (manifest) flags
_MUST_KNOW = 0xFFFFFFFF_00000000 & ~SERIAL
_OPTIONAL_SLOTS = {24: "create", 32: "destroy", 40: "query"}
REBUILD = "rebuild the plugin with the header of this contract (`hardpoint header`)"


class Vtable(Fields):
    """A vtable that was found, as the file has it."""

    address: int
    """Where it lies, counted from the library's base."""
    size: int
    abi: tuple[int, int]
    flags: int


def find_vtable(
    elf: ElfFile, manifest: Manifest, contract: Contract, filled: Filled
) -> tuple[Vtable | None, list[Problem]]:
    """The vtable that the library exports for the contract, and everything that is wrong with it."""
    problems: list[Problem] = []
    symbol = _find_symbol(elf, manifest, contract, problems)
    if symbol is None:
        return None, problems
    try:
        data = elf.read_at(symbol.address, symbol.size, contract.symbol)
    except ElfError:
        needs, found = f"{contract.symbol} to be a constant in the file", "memory that only running code would fill"
        return None, [Problem("vtable-empty", needs, found, "initialise it with constants alone")]
    size, major, minor, flags = _HEAD.unpack_from(data)
    vtable = Vtable(symbol.address, size, (major, minor), flags)
    problems += _check_numbers(vtable, symbol, manifest)
    if elf.machine == host_machine():  # else nothing is known of its relocations
        problems += _check_manifest_copy(elf, symbol, manifest, filled)
        problems += _check_slots(elf, symbol, contract, filled, data)
    return vtable, problems


def _check_numbers(vtable: Vtable, symbol: Symbol, manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    if behind := symbol.address % 8:
        fix = "align it to 8 bytes, as every compiler does that is not told otherwise"
        needs = f"{symbol.name} at a multiple of 8 bytes"
        problems.append(Problem("vtable-alignment", needs, f"an address {behind} bytes past one", fix))
    if vtable.size != symbol.size:
        needs = f"a vtable that says it has {symbol.size} bytes"
        problems.append(Problem("vtable-size", needs, f"{vtable.size}", REBUILD))
    if vtable.abi[0] != manifest.abi[0] or vtable.abi[1] < manifest.abi[1]:
        found = f"{dotted(vtable.abi)}, while its manifest says {dotted(manifest.abi)}"
        problems.append(Problem("vtable-abi", "a vtable of the manifest's ABI", found, REBUILD))
    if vtable.flags & _MUST_KNOW:
        fix = "use a newer hardpoint, or a plugin without that flag"
        problems.append(Problem("vtable-flags", "only flags that this host knows", f"{vtable.flags:#018x}", fix))
    return problems


def _find_symbol(elf: ElfFile, manifest: Manifest, contract: Contract, problems: list[Problem]) -> Symbol | None:
    symbols, wanted = elf.symbols("hardpoint_"), contract.symbol
    symbol = next((symbol for symbol in symbols if symbol.name == wanted), None)
    needs, size = f"the exported data symbol {wanted}", HEAD_SIZE + 8 * len(manifest.methods)
    if symbol is None:
        found = ", ".join(symbol.name for symbol in symbols) or "no hardpoint_* symbol"
        problems.append(
            Problem(
                "symbol-missing", needs, found, "export it: the contract's macro does, if no linker script hides it"
            )
        )
    elif not symbol.section:
        problems.append(
            Problem("symbol-missing", needs, "one that it wants from another library", "define it in this library")
        )
    elif symbol.type != STT_OBJECT:
        problems.append(Problem("symbol-type", needs, "a symbol of that name that is no data object", REBUILD))
    elif symbol.size != size:
        needs = f"{wanted} to have {size} bytes, for {len(manifest.methods)} methods"
        problems.append(Problem("symbol-size", needs, f"{symbol.size}", REBUILD))
    else:
        return symbol
    return None


def _check_manifest_copy(elf: ElfFile, symbol: Symbol, manifest: Manifest, filled: Filled) -> list[Problem]:
    copy = filled.get(symbol.address + 8, 0)
    if copy is None:  # through a symbol: the live check compares it
        return []
    try:
        text = elf.read_at(copy, len(manifest.text) + 1, "the manifest") if copy else b""
    except ElfError:
        text = b""
    if text != manifest.text + b"\0":
        return [Problem("vtable-manifest", "a vtable with the note's manifest", "another one", REBUILD)]
    notes = (segment for segment in elf.segments if segment.type == PT_NOTE)
    if any(note.address <= copy < note.address + note.memory_size for note in notes):
        needs, found = "a vtable with a copy of the manifest", "a pointer to the note itself"
        fix = "make a copy of it, as the contract's macro does: patchelf and auditwheel move the note, and leave the pointer"
        return [Problem("manifest-not-copied", needs, found, fix, fatal=False)]
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
            problems.append(
                Problem("slot-empty", f"the method {name}", "an empty slot", "fill it where the plugin's macro is used")
            )
        elif not is_code(elf, target):
            problems.append(Problem("slot-not-code", f"a function for {name}", "a pointer to something else", REBUILD))
    return problems
