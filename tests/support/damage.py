"""Fuzz libraries: damage one place at a time, and load each result in a separate process.

As a program it prints the outcomes: `python damage.py LIBRARY CONTRACT SEED COUNT`; a COUNT of 0 tries all cases.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import random
import signal
import struct
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from elftools.elf.elffile import ELFFile

import hardpoint
from hardpoint.definition.decorators import contract_of
from hardpoint.elf.constants import STT_GNU_IFUNC
from hardpoint.file import open_library
from hardpoint.preflight.checks import Misfit, preflight

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 10
"""Time limit of the checks, and of loading, in seconds."""
FIELDS = {
    **dict.fromkeys((".dynstr", ".eh_frame_hdr"), 1),
    ".gnu.version": 2,
    **dict.fromkeys((".gnu.hash", ".hash", ".gnu.version_r", ".gnu.version_d"), 4),
    **dict.fromkeys((".dynamic", ".dynsym", ".rela.dyn", ".rela.plt", ".relr.dyn", ".init_array", ".fini_array"), 8),
    **dict.fromkeys((".got", ".got.plt", ".data.rel.ro", ".data"), 8),
}
"""The sections that are damaged, and the size of a field in them."""
ENTRY = struct.Struct("<QQQ")  # a relocation: offset, type and symbol, addend; a symbol: name to section, value, size
INDIRECT = {37, 1032}  # R_X86_64_IRELATIVE, R_AARCH64_IRELATIVE


class Case(NamedTuple):
    """One change: the part of the file, the offsets in the part and in the file, and the new bytes."""

    part: str
    within: int
    offset: int
    new: bytes


def parts(elf: Any) -> Iterator[tuple[str, int, int, int]]:
    """Yield the structures that the loader and hardpoint read: name, offset, size, and the size of a field."""
    yield "ELF header", 0, 64, 8
    yield "program headers", elf["e_phoff"], elf["e_phnum"] * 56, 8
    yield "section headers", elf["e_shoff"], elf["e_shnum"] * 64, 8
    for section in elf.iter_sections():
        if section.name in FIELDS or section.name.startswith(".note"):
            yield section.name, section["sh_offset"], section["sh_size"], FIELDS.get(section.name, 4)


def cases(elf: Any, data: bytes, rng: random.Random) -> Iterator[Case]:
    """Yield changes: every byte with several values, and every field with numbers that differ by little and by much."""
    for part, start, size, width in parts(elf):
        for offset in range(start, start + size):
            old = data[offset]
            for byte in {0, 0xFF, old ^ 1, old ^ 0x80, rng.randrange(256)} - {old}:
                yield Case(part, offset - start, offset, bytes([byte]))
        for step in {width, 4, 2} if width > 1 else ():
            for offset in range(start, start + size - step + 1, step):
                value, most = int.from_bytes(data[offset : offset + step], "little"), (1 << 8 * step) - 1
                near = {value + by for by in (1, -1, 8, -8, 24, -24, 0x1000, -0x1000)}
                for number in near | {0, most, most >> 1, rng.randrange(8), rng.randrange(0x5000), rng.randrange(most)}:
                    if number & most != value:
                        yield Case(part, offset - start, offset, (number & most).to_bytes(step, "little"))


def could_be_meant(data: bytes, damaged: bytes, case: Case) -> bool:
    """True if a linker could have written the change, so that only code tells that it is wrong.

    These are the function that an indirect relocation calls; the symbol that a relocation refers to, and the place that
    a defined symbol has, where the checks found nothing else; and a function that became an indirect one. Nor can a
    change of code be detected, which is why no code is changed.
    """
    if case.part != ".dynsym" and not case.part.startswith(".rela"):
        return False
    start = case.offset - case.within % 24
    before, after = ENTRY.unpack_from(data, start), ENTRY.unpack_from(damaged, start)
    changed = [old != new for old, new in zip(before, after, strict=True)]
    if case.part.startswith(".rela"):
        return (changed == [False, False, True] and (after[1] & 0xFFFFFFFF) in INDIRECT) or (
            changed == [False, True, False] and not (before[1] ^ after[1]) & 0xFFFFFFFF and before[1] >> 32 > 0
        )
    moved = changed == [False, True, False]
    others = (before[0] ^ after[0]) & ~(0xFF << 32)  # than the binding and the type
    marked = changed[1:] == [False, False] and not others and after[0] >> 32 & 15 == STT_GNU_IFUNC
    return bool(before[0] >> 48) and (moved or marked)  # it is defined


def check(path: str, contract: type) -> str | None:
    """Run hardpoint's checks on a file. Return the name of the error's class, or None if the file may be loaded."""
    signal.alarm(SECONDS)
    try:
        with open_library(path) as file:
            return "IncompatibleError" if isinstance(preflight(file, contract_of(contract)), Misfit) else None
    except hardpoint.HardpointError as error:
        return type(error).__name__
    finally:
        signal.alarm(0)


def load(path: str, contract: type) -> str:
    """Load the file in a child, which also runs the library's termination functions. Return the outcome."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        status = 99
        try:
            hardpoint.load(path, contract)
            status = 0
        except hardpoint.HardpointError:
            status = 1
        finally:
            ctypes.CDLL(None).exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return {0: "loaded", 1: "LoadError"}.get(status, f"died ({status})")


def main(library: str, where: str, seed: int, count: int) -> dict[str, Any]:
    """Try `count` cases, or all. Return the number of each outcome, and the cases that killed the process."""
    module, _, name = where.partition(":")
    contract = getattr(importlib.import_module(module), name)
    data, rng = Path(library).read_bytes(), random.Random(seed)
    outcomes, deaths = Counter[str](), list[str]()
    with open(library, "rb") as file:
        elf = ELFFile(file)
        chosen = list(cases(elf, data, rng))
        for case in rng.sample(chosen, count) if count else chosen:
            damaged = data[: case.offset] + case.new + data[case.offset + len(case.new) :]
            Path("damaged.so").write_bytes(damaged)
            outcome = check("damaged.so", contract)
            outcome = outcome or load("damaged.so", contract)
            if outcome.startswith("died") and could_be_meant(data, damaged, case):
                outcome = "could be meant"
            outcomes[outcome] += 1
            if outcome.startswith("died"):
                deaths.append(f"{outcome}: {case.part} +{case.within:#x} (at {case.offset:#x}) = {case.new.hex()}")
    return {"outcomes": outcomes, "deaths": deaths}


if __name__ == "__main__":
    json.dump(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])), sys.stdout)
