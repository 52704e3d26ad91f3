"""Edges of the checks of a library's structure: the first value that is refused, where a fuzzer seldom comes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from forge import Forge
from test_elf_bytes import GNU_HASH, STRINGS, SYMBOLS, _crafted, opened
from test_elf_refusals import AARCH64, ADDRESS, DATA_SLOT, PLAIN, RELATIVE, fits, loads, refused
from test_integrity import THREAD_LOCAL

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.elf.integrity import examine
from hardpoint.elf.reader import ElfError, ElfFile

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Compiler

MANY = """
#include "greeter.h"
static const char *const words[] = {WORDS, "a", "b", "c", "d", "e", "f", "g", "h"};
static const char *volatile chosen;
static hp_status greet(void *self, const char *name, size_t size, hp_out *out) {
    chosen = words[size % (sizeof words / sizeof words[0])];
    return (void)self, hp_write(out, name, size);
}
static hp_status lang(void *self, hp_out *out) { return (void)self, hp_puts(out, "Many"); }
GREETER_PLUGIN("many", "1.0.0", .greet = greet, .lang = lang);
""".replace("WORDS", ", ".join(f'"word {number}"' for number in range(60)))
FREE = """
#include "greeter.h"
static hp_status greet(void *self, const char *name, size_t size, hp_out *out) {
    return (void)self, (void)name, (void)size, (void)out, HP_FAILED;
}
static hp_status lang(void *self, hp_out *out) {
    out->data[0] = 'F';
    out->len = 1;
    return (void)self, HP_OK;
}
GREETER_PLUGIN("free", "1.0.0", .greet = greet, .lang = lang);
"""


@pytest.fixture
def forge(compiler: Compiler, tmp_path: Path) -> Forge:
    return Forge(compiler.library("english/english.c", *PLAIN), tmp_path / "damaged.so")


@pytest.fixture
def many(compiler: Compiler, tmp_path: Path) -> Forge:
    """A library with so many relative relocations that they are checked together."""
    return Forge(compiler.text("many", MANY, *PLAIN), tmp_path / "damaged.so")


@pytest.fixture
def free(compiler: Compiler, tmp_path: Path) -> Forge:
    """A library that needs no other: all of its relocations are relative, and no symbol has a version."""
    return Forge(compiler.text("free", FREE, *PLAIN, "-nostdlib", "-nostartfiles"), tmp_path / "damaged.so")


# -- segments and sections -------------------------------------------------------------------------------------------


def test_a_segment_with_one_byte_more_in_the_file_than_in_memory(forge: Forge) -> None:
    forge.segment("PT_LOAD", 40, forge.field("PT_LOAD", 32) - 1)
    refused(forge, "^segments that overlap, are out of order or badly sized, at 0x0$")


def test_segments_that_reach_to_the_end_of_the_address_space(forge: Forge) -> None:
    limit = 1 << 47
    forge.segment("PT_LOAD", 40, limit - forge.field("PT_LOAD", 16, index=-1), index=-1)
    refused(forge, f"^segments that reach to {limit:#x}, more than an address space holds$")


def test_segments_that_share_one_byte_of_the_file(forge: Forge) -> None:
    forge.without_section_headers()
    for field in (32, 40):
        forge.segment("PT_LOAD", field, forge.field("PT_LOAD", 8, index=1))
    loads(forge)
    for field in (32, 40):
        forge.segment("PT_LOAD", field, forge.field("PT_LOAD", 8, index=1) + 1)
    refused(forge, "^segments that (share bytes of the file|overlap).*$")


def test_two_segments_whose_last_and_first_byte_of_the_file_are_one(forge: Forge) -> None:
    forge.without_section_headers()
    start, size = (forge.field("PT_LOAD", field, index=1) for field in (8, 32))
    forge.segment("PT_LOAD", 8, start + size - 1, index=2)
    refused(forge, f"^segments that share bytes of the file, at offset {start + size - 1:#x}$")


def test_a_program_header_that_begins_where_its_segment_ends(forge: Forge) -> None:
    end = forge.field("PT_LOAD", 16) + forge.field("PT_LOAD", 40)
    assert end % 0x1000
    forge.segment("PT_GNU_EH_FRAME", 16, end)
    forge.segment("PT_GNU_EH_FRAME", 40, 4)
    refused(forge, "^a program header of type 0x6474e550 that points out of its segment$")


def test_notes_with_more_in_memory_than_in_the_file(forge: Forge) -> None:
    size = forge.field("PT_NOTE", 32)
    forge.segment("PT_NOTE", 40, size + 4)
    refused(forge, f"^a program header of type 0x4 with {size} bytes in the file, {size + 4} in memory$")


def test_a_writable_dynamic_section_in_a_segment_that_is_not(forge: Forge) -> None:
    forge.segment("PT_LOAD", 4, 4, index=-1)
    forge.segment("PT_LOAD", 40, forge.field("PT_LOAD", 32, index=-1), index=-1)
    refused(forge, "^a writable dynamic section in a segment that is not$")


def test_limits_of_thread_local_storage(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("local", THREAD_LOCAL, *PLAIN), tmp_path / "damaged.so")
    size, align = forge.field("PT_TLS", 40), forge.field("PT_TLS", 48)
    for field, value in ((40, forge.field("PT_TLS", 32) - 1), (40, (1 << 30) + 1), (48, 1 << 17)):
        forge.segment("PT_TLS", field, value)
        refused(forge, "^thread-local storage of [0-9]+ bytes aligned to [0-9]+$")
        forge.segment("PT_TLS", 40, size)
        forge.segment("PT_TLS", 48, align)
    forge.segment("PT_TLS", 48, 1 << 16)
    fits(forge)


def test_a_section_of_the_file_in_memory_that_is_not_in_the_file(forge: Forge) -> None:
    forge.header(".bss", 4, 1)
    refused(forge, f"^a section at {forge.addresses['.bss']:#x} outside of every segment$")


@pytest.mark.parametrize("by", [8, -8])
def test_a_section_whose_offset_is_not_its_segments(forge: Forge, by: int) -> None:
    forge.header(".rodata", 24, forge.sections[".rodata"] + by)
    refused(forge, f"^a section at {forge.addresses['.rodata']:#x} outside of every segment$")


def test_properties_that_are_no_note(compiler: Compiler, tmp_path: Path) -> None:
    """ld.so reads these by their own program header, which need not be one of notes as well."""
    words = (*PLAIN, "-nostdlib", "-nostartfiles", *([] if AARCH64 else ["-fcf-protection"]))
    forge = Forge(compiler.text("properties", FREE, *words), tmp_path / "damaged.so")
    if "PT_GNU_PROPERTY" not in forge.segments:
        pytest.skip("the linker writes no properties")
    start = forge.field("PT_GNU_PROPERTY", 16)
    [index] = [at for at in range(forge.segments.count("PT_NOTE")) if forge.field("PT_NOTE", 16, index=at) == start]
    forge.segment("PT_NOTE", 0, 0, index=index)
    loads(forge)
    forge.put(".note.gnu.property", 4, "<I", forge.get(".note.gnu.property", 4, "<I") + 8)
    refused(forge, "^a note of [0-9]+ bytes in a segment of [0-9]+$")


@pytest.mark.parametrize(
    ("at", "value", "sentence"), [(56, 129, "^129 program headers$"), (60, 4097, "^4097 section ")]
)
def test_one_header_more_than_is_read(forge: Forge, at: int, value: int, sentence: str) -> None:
    forge.data[at : at + 2] = value.to_bytes(2, "little")
    refused(forge, sentence, code="elf-damaged" if at == 56 else "elf-too-large")


@pytest.mark.parametrize(
    ("entry", "value", "sentence"),
    [
        ("PLTRELSZ", 25, "^a dynamic entry 0x2 of 25, not a multiple of 24$"),
        ("RELACOUNT", 1 << 40, "^1099511627776 relative relocations in a shorter table$"),
    ],
)
def test_a_dynamic_entry(forge: Forge, entry: str, value: int, sentence: str) -> None:
    forge.entry(entry, value=value)
    refused(forge, sentence)


# -- relocations -----------------------------------------------------------------------------------------------------


def test_one_relative_relocation_more_than_there_are(free: Forge) -> None:
    count = free.sizes[".rela.dyn"] // 24
    assert {free.get(".rela.dyn", at + 8, "<Q") for at in range(0, 24 * count, 24)} == {RELATIVE}
    loads(free)
    free.entry("RELACOUNT", value=count + 1)
    refused(free, f"^{count + 1} relative relocations in a shorter table$")


def relative(many: Forge, number: int) -> int:
    """The offset of one of the relative relocations that are checked together."""
    kinds = [many.get(".rela.dyn", at + 8, "<Q") for at in range(0, many.sizes[".rela.dyn"], 24)]
    assert kinds[:40] == [RELATIVE] * 40
    return 24 * number


@pytest.mark.parametrize(
    ("field", "change", "sentence"),
    [
        (0, lambda many, at: many.get(".rela.dyn", at - 24, "<Q"), "^two relocations of one address$"),
        (0, lambda many, _: many.addresses[".rodata"], "^a relocation of 0x[0-9a-f]+, which is not writable$"),
        (
            0,
            lambda many, at: many.get(".rela.dyn", at, "<Q") + 4,
            "^a relocation of 0x[0-9a-f]+ that (overlaps|spoils)",
        ),
        (8, lambda _, __: ADDRESS, f"^a relocation of type {ADDRESS} among the relative ones$"),
        (16, lambda many, _: end_of(many) + 1, "^a relocation that refers to 0x[0-9a-f]+, outside of the library$"),
    ],
    ids=["twice", "not writable", "misaligned", "type", "outside"],
)
def test_one_of_many_relative_relocations(many: Forge, field: int, change: object, sentence: str) -> None:
    at = relative(many, 20)
    many.put(".rela.dyn", at + field, "<Q", change(many, at))  # type: ignore[operator]
    refused(many, sentence)


def end_of(forge: Forge) -> int:
    """The end of the library in memory."""
    return forge.field("PT_LOAD", 16, index=-1) + forge.field("PT_LOAD", 40, index=-1)


def test_many_relative_relocations_up_to_the_end(many: Forge) -> None:
    loads(many)
    many.put(".rela.dyn", relative(many, 20) + 16, "<Q", end_of(many))
    fits(many)


def test_a_relocation_of_a_word_that_has_a_relative_one(many: Forge) -> None:
    at = many.relocation(".rela.dyn", DATA_SLOT)
    many.put(".rela.dyn", at, "<Q", many.get(".rela.dyn", relative(many, 20), "<Q"))
    refused(many, "^two relocations of one address$")


def test_a_relocation_without_a_type_that_has_an_addend(forge: Forge) -> None:
    at = forge.relocation(".rela.dyn", DATA_SLOT)
    forge.put(".rela.dyn", at, "<QQQ", 0, 0, 8)
    refused(forge, "^a relocation of 0x0 without a type$")


def test_a_relocation_that_ends_past_what_is_writable(forge: Forge) -> None:
    at = forge.sizes[".rela.dyn"] - 24
    forge.put(".rela.dyn", at, "<QQQ", end_of(forge) - 4, RELATIVE, 0)
    refused(forge, f"^a relocation of {end_of(forge) - 4:#x}, which is not writable$")


@pytest.mark.parametrize("offset", [1, 4, 17, 20])
def test_a_relocation_across_the_numbers_of_a_vtable(forge: Forge, offset: int) -> None:
    """They would differ in memory from what was checked."""
    at = forge.sizes[".rela.dyn"] - 24
    forge.put(".rela.dyn", at, "<QQQ", forge.vtable() + offset, RELATIVE, 0)
    refused(forge, "^a relocation of 0x[0-9a-f]+ that spoils a vtable or a start function$")


@pytest.mark.parametrize("by", [-7, 7])
def test_a_relocation_that_overlaps_another_by_one_byte(many: Forge, by: int) -> None:
    before, at, after = (relative(many, number) for number in (19, 20, 21))
    place = many.get(".rela.dyn", at, "<Q")
    many.put(".rela.dyn", before, "<QQQ", 0, 0, 0)
    many.put(".rela.dyn", after, "<QQQ", place + by, RELATIVE, 0)
    many.entry("RELACOUNT", value=0)
    refused(many, f"^a relocation of {place + by:#x} that overlaps another$")


@pytest.mark.skipif(AARCH64, reason="there, a slot has no addend")
def test_a_slot_that_refers_past_the_library(forge: Forge) -> None:
    at = forge.relocation(".rela.dyn", DATA_SLOT)
    forge.put(".rela.dyn", at + 12, "<I", forge.symbols.index("hardpoint_greeter_v1"))
    for past, sentence in (
        (1, "^a relocation that refers to 0x[0-9a-f]+, outside"),
        (0, "^a weak symbol .* refers to$"),
    ):
        forge.put(".rela.dyn", at + 16, "<Q", end_of(forge) + past - forge.vtable())
        refused(forge, sentence)


def test_a_function_by_the_symbol_after_the_last(forge: Forge) -> None:
    count = forge.sizes[".dynsym"] // 24
    forge.put(".rela.plt", 12, "<I", count)
    refused(forge, f"^a relocation by symbol {count} of {count}$")


@pytest.fixture
def packed(compiler: Compiler, tmp_path: Path) -> Forge:
    forge = Forge(compiler.library("english/english.c", *PLAIN, "-Wl,-z,pack-relative-relocs"), tmp_path / "damaged.so")
    if ".relr.dyn" not in forge.sections:
        pytest.skip("the linker packs no relocations")
    return forge


def test_packed_relocations_of_one_word(packed: Forge) -> None:
    first = packed.get(".relr.dyn", 0, "<Q")
    packed.put(".relr.dyn", 8, "<Q", first)
    refused(packed, "^(packed relocations that overlap|two relocations of 0x[0-9a-f]+)$")


def test_packed_relocations_of_one_word_of_data(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("many", MANY, *PLAIN, "-Wl,-z,pack-relative-relocs"), tmp_path / "damaged.so")
    if forge.sizes.get(".relr.dyn", 0) < 24:
        pytest.skip("the linker packs no relocations")
    place = forge.addresses[".data.rel.ro"] + forge.sizes[".data.rel.ro"] - 8
    forge.put(".relr.dyn", 8, "<QQ", place, place)
    for at in range(24, forge.sizes[".relr.dyn"], 8):
        forge.put(".relr.dyn", at, "<Q", 1)  # a bitmap of nothing
    refused(forge, "^packed relocations that overlap$")


def test_a_packed_relocation_that_is_misaligned(packed: Forge) -> None:
    packed.put(".relr.dyn", 0, "<Q", packed.vtable() - 4)
    refused(packed, "^a relocation of 0x[0-9a-f]+ that (spoils a vtable or a start function|overlaps another)$")


def test_a_slot_that_is_packed_and_has_a_relocation_besides(packed: Forge) -> None:
    at = packed.relocation(".rela.dyn", DATA_SLOT)
    packed.put(".rela.dyn", at, "<QQQ", packed.vtable() + 48, RELATIVE, 0)
    refused(packed, "^two relocations of 0x[0-9a-f]+$")


def test_the_size_of_packed_relocations(packed: Forge) -> None:
    packed.entry("RELRENT", value=16)
    refused(packed, "^a dynamic entry 0x25 of 16, which has to be 8$")


def test_a_descriptor_whose_second_word_has_a_relocation(compiler: Compiler, tmp_path: Path) -> None:
    kind, words = (1031, [*PLAIN]) if AARCH64 else (36, [*PLAIN, "-mtls-dialect=gnu2"])
    forge = Forge(compiler.text("local", THREAD_LOCAL, *words), tmp_path / "damaged.so")
    table = next(name for name in (".rela.plt", ".rela.dyn") if has(forge, name, kind))
    loads(forge)
    place = forge.get(table, forge.relocation(table, kind), "<Q")
    forge.put(".rela.dyn", forge.relocation(".rela.dyn", DATA_SLOT), "<QQQ", place + 8, RELATIVE, 0)
    refused(forge, "^two relocations of one address$")


def has(forge: Forge, section: str, kind: int) -> bool:
    return any(forge.get(section, at + 8, "<I") == kind for at in range(0, forge.sizes.get(section, 0), 24))


def test_large_data_whose_name_begins_as_a_vtables(compiler: Compiler, tmp_path: Path) -> None:
    """It is no vtable, and its words are not looked at."""
    code = FREE + '__attribute__((visibility("default"))) char hardpoint_table[3 << 20] = {1};\n'
    loads(Forge(compiler.text("large", code, *PLAIN), tmp_path / "large.so"))


# -- symbols and code ------------------------------------------------------------------------------------------------


def test_a_symbol_whose_name_is_behind_the_strings(forge: Forge) -> None:
    size = forge.sizes[".dynstr"]
    forge.put(".dynsym", 24 * forge.locals, "<I", size)
    refused(forge, f"^a symbol whose name is at {size} of {size} bytes of strings$")


def test_a_gnu_hash_table_with_one_symbol_more_than_there_are(forge: Forge) -> None:
    size = forge.sizes[".dynsym"]
    forge.header(".dynsym", 32, size - 24)
    refused(forge, "^a (GNU hash table that points past the last symbol|relocation by symbol [0-9]+ of [0-9]+)$")


def test_a_hash_table_that_points_at_the_symbol_after_the_last(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.library("english/english.c", *PLAIN, "-Wl,--hash-style=sysv"), tmp_path / "damaged.so")
    forge.put(".hash", 8, "<I", forge.get(".hash", 4, "<I"))
    refused(forge, "^a hash table that points past the last symbol$")


def test_a_gnu_hash_table_that_ends_one_byte_past_its_segment(tmp_path: Path) -> None:
    symbols = bytes(24) + b"\0\0\0\0\x12" + bytes(19) + (b"\0\0\0\0\x12" + bytes(19)) * 3
    table = (
        bytes((1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0))
        + bytes(8)
        + bytes((1, 0, 0, 0))
        + bytes((1, 0, 0, 0)) * 3
    )
    body = bytes(0x100) + symbols.ljust(0x700, b"\0") + table
    for size, found in ((len(body), True), (len(body) - 1, False)):
        target = _crafted(tmp_path, [STRINGS, SYMBOLS, (10, 9), GNU_HASH], body[:size], symbols=4)
        with opened(target) as fd:
            if found:
                examine(ElfFile(fd))
            else:
                with pytest.raises(ElfError, match=r"^a GNU hash table that points out of its segment$"):
                    examine(ElfFile(fd))


WEAK = (
    FREE
    + "".join(f'__attribute__((weak, visibility("default"), noinline)) int own_{at}(int x) {{ return x + {at}; }}\n'
              for at in range(12))
    + "int (*volatile kept[])(int) = {" + ", ".join(f"own_{at}" for at in range(12)) + "};\n"
)  # fmt: skip


def test_weak_symbols_are_found_wherever_they_stand_in_the_table(compiler: Compiler, tmp_path: Path) -> None:
    forge = Forge(compiler.text("weak", WEAK, *PLAIN), tmp_path / "damaged.so")
    loads(forge)
    forge.put(".gnu.hash", 16, "<Q", 0)
    refused(forge, "^a weak symbol own_[0-9]+ that is not in the hash table$")


def test_versions_that_are_defined_without_the_table_that_uses_them(compiler: Compiler, tmp_path: Path) -> None:
    script = tmp_path / "versions.map"
    script.write_text("FREE_1 { global: hardpoint_*; local: *; };\n")
    words = (*PLAIN, "-nostdlib", "-nostartfiles", f"-Wl,--version-script={script}")
    forge = Forge(compiler.text("versions", FREE, *words), tmp_path / "damaged.so")
    assert "DT_VERNEED" not in forge.tags
    loads(forge)
    forge.without_section_headers()
    forge.entry("VERSYM", tag=0x6FFFFEF0)
    refused(forge, "^symbol versions without the table that uses them$")


def test_a_slot_that_leads_right_behind_the_code(forge: Forge) -> None:
    at = next(at for at in range(0, 24 * 9, 24) if forge.get(".rela.dyn", at, "<Q") - 48 == forge.vtable())
    forge.put(".rela.dyn", at + 16, "<Q", forge.addresses[".fini"] + forge.sizes[".fini"])
    refused(forge, "^a pointer to something else$", code="slot-not-code")


def test_reading_a_library_leaves_no_descriptor(forge: Forge) -> None:
    before = len(os.listdir("/proc/self/fd"))
    path = forge.write()
    for _ in range(3):
        with pytest.raises(hardpoint.HardpointError):
            hardpoint.load(path, Greeter, sha256="0" * 64)
        fits(forge)
    assert len(os.listdir("/proc/self/fd")) == before
