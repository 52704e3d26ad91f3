"""Check the vtable in the file: its symbol, its numbers, and what the relocations will put into its slots."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..elf.constants import DT_VERDEF, PT_NOTE, SHN_ABS, STB_GNU_UNIQUE, STT_OBJECT
from ..elf.integrity import is_code, is_function
from ..elf.reader import ElfError
from ..elf.relocations import NOWHERE
from ..errors import Problem
from ..ffi.abi import ABI, HEAD_SIZE, SERIAL
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
_EMPTY = "an empty slot"
_NUMBERS = {0: "size and ABI", 16: "flags"}


class Vtable(Fields):
    """A vtable as it is in the file."""

    address: int
    """Its offset from the library's base."""
    size: int
    abi: tuple[int, int]
    flags: int
    slots: tuple[int | None, ...]
    """What its slots, from create on, point at: offsets from the base, 0 in an empty one, None if another library
    decides."""


def find_vtable(
    elf: ElfFile, manifest: Manifest, contract: Contract, filled: Filled, origin: str | None
) -> tuple[Vtable | None, list[Problem]]:
    """Find the vtable that the library exports for the contract, and check it. `origin` is the folder for $ORIGIN."""
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
    targets = (filled.get(symbol.address + offset, 0) for offset in range(_HEAD.size, symbol.size, 8))
    slots = (*(None if target == NOWHERE else target for target in targets),)
    vtable = Vtable(symbol.address, size, (major, minor), flags, slots)
    problems += _check_numbers(vtable, symbol, manifest)
    if elf.machine == host_machine():  # else its relocations were not read
        problems += _check_manifest_copy(elf, symbol, manifest, filled)
        problems += _check_constants(symbol, filled)
        problems += _check_slots(elf, symbol, contract, manifest, filled, data, origin)
    return vtable, problems


def _check_numbers(vtable: Vtable, symbol: Symbol, manifest: Manifest) -> list[Problem]:
    problems: list[Problem] = []
    if past := symbol.address % 8:
        problems.append(Problem.of("vtable-alignment", f"an address {past} bytes past one", symbol=symbol.name))
    if vtable.size != symbol.size:
        problems.append(Problem.of("vtable-size", f"{vtable.size} bytes", size=symbol.size))
    if manifest.abi[0] != ABI[0]:  # `abi-major` says all
        pass
    elif vtable.abi[0] != manifest.abi[0] or vtable.abi[1] < manifest.abi[1]:
        found = f"{dotted(vtable.abi)}, while its manifest says {dotted(manifest.abi)}"
        problems.append(Problem.of("vtable-abi", found))
    if vtable.flags & _MUST_KNOW:
        problems.append(Problem.of("vtable-flags", f"{vtable.flags:#018x}"))
    return problems


def _check_constants(symbol: Symbol, filled: Filled) -> list[Problem]:
    """Refuse relocations of the numbers: in memory they would differ from what was checked here."""
    changed = [what for offset, what in _NUMBERS.items() if symbol.address + offset in filled]
    return [Problem.of("vtable-relocated", f"a relocation of its {what}", symbol=symbol.name) for what in changed]


def _find_symbol(elf: ElfFile, manifest: Manifest, contract: Contract, problems: list[Problem]) -> Symbol | None:
    symbols, wanted = elf.symbols("hardpoint_"), contract.symbol
    symbol = next((symbol for symbol in symbols if symbol.name == wanted), None)
    if symbol and DT_VERDEF in elf.dynamic:  # of several versions, or none that is the default
        from ..elf.lookup import lookup  # 0.3 ms, and few libraries define versions

        symbol = lookup(elf, wanted)
        if symbol is None:
            problems.append(not_exported(wanted))
            return None
    methods = len(manifest.methods)
    size = HEAD_SIZE + 8 * methods
    if symbol is None:
        found = ", ".join(symbol.name for symbol in symbols) or "no hardpoint_* symbol"
        problems.append(Problem.of("symbol-missing", found, symbol=wanted))
    elif not symbol.section:
        fix = "define it in this library"
        problems.append(Problem.of("symbol-missing", "an undefined symbol", fix=fix, symbol=wanted))
    elif symbol.type != STT_OBJECT or symbol.section == SHN_ABS:
        problems.append(Problem.of("symbol-type", "a symbol of another type", symbol=wanted))
    elif symbol.binding == STB_GNU_UNIQUE:
        found = "a unique one (STB_GNU_UNIQUE), of which a process has one for all its libraries"
        fix = "make it a plain global variable, not an inline one or one of a template"
        problems.append(Problem.of("symbol-type", found, fix=fix, symbol=wanted))
    elif symbol.size != size:
        problems.append(Problem.of("symbol-size", f"{symbol.size} bytes", symbol=wanted, size=size, methods=methods))
    else:
        return symbol
    return None


def not_exported(name: str) -> Problem:
    """Make the problem of a symbol that is in the table of symbols, but that dlsym(3) does not find."""
    found = "one that dlsym does not find: its version is not the default, or the hash table leaves it out"
    fix = f"export it without a version, or as {name}@@VERSION, from a file that the linker wrote"
    return Problem.of("symbol-missing", found, fix=fix, symbol=name)


def _check_manifest_copy(elf: ElfFile, symbol: Symbol, manifest: Manifest, filled: Filled) -> list[Problem]:
    copy = filled.get(symbol.address + 8, 0)
    try:  # None is an address in another library
        text = elf.read_at(copy, len(manifest.text) + 1, "the manifest") if copy else b""
    except ElfError:
        text = b""
    if text != manifest.text + b"\0":
        return [Problem.of("vtable-manifest", "another text")]
    notes = (segment for segment in elf.segments if segment.type == PT_NOTE)
    if copy and any(note.address <= copy < note.address + note.memory_size for note in notes):
        return [Problem.of("manifest-not-copied", "a pointer to the note itself")]
    return []


def _check_slots(
    elf: ElfFile, symbol: Symbol, contract: Contract, manifest: Manifest, filled: Filled, data: bytes,
    origin: str | None,
) -> list[Problem]:  # fmt: skip
    """Check every slot, also those of methods that a newer plugin has and this host's contract has not."""
    problems: list[Problem] = []
    methods = [method.text for method in contract.methods]
    methods += manifest.methods[len(methods) :]
    slots = zip(range(HEAD_SIZE, len(data), 8), methods, strict=False)
    for offset, name in (*_OPTIONAL_SLOTS.items(), *slots):
        target = filled.get(symbol.address + offset, 0)
        if target and target != NOWHERE and is_function(elf, target):  # as most
            continue
        found = ""
        if target == 0 and not any(data[offset : offset + 8]):
            found = _EMPTY
        elif target is None or target == NOWHERE:
            from .outside import misfit_outside  # 1 ms, and compilers write no such slots

            found = misfit_outside(elf, symbol.address + offset, origin)
        elif not target or not is_code(elf, target):
            found = "a pointer to something else"
        else:
            found = "a pointer into the middle of a function"
        if found.startswith(_EMPTY):
            index = (offset - HEAD_SIZE) // 8
            if 0 <= index < len(contract.methods) and not contract.methods[index].since:
                from .growth import empty_slot  # for the error alone

                problems.append(empty_slot(found, name, offset, contract))
        elif found:
            problems.append(Problem.of("slot-not-code", found, method=name))
    return problems
