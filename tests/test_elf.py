"""The ELF reader, compared with pyelftools over every library of this machine, and files that are not libraries."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from zlib import crc32

import pytest
from elftools.elf.elffile import ELFFile

import hardpoint
from hardpoint.contracts import Greeter
from hardpoint.elf import image as elf_module
from hardpoint.elf.constants import DT_RPATH, DT_RUNPATH, DT_SONAME, EM_AARCH64
from hardpoint.elf.integrity import examine
from hardpoint.elf.reader import ElfError, ElfFile
from hardpoint.file import open_library
from hardpoint.preflight.checks import read_library
from hardpoint.preflight.platform import has_executable_stack, has_static_tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Compiler

NOT_LIBRARIES = {"elf-type", "elf-debug", "elf-class"}
TYPES = {0: "STT_NOTYPE", 1: "STT_OBJECT", 2: "STT_FUNC", 3: "STT_SECTION", 6: "STT_TLS", 10: "STT_LOOS"}
NOTES = {1: "NT_GNU_ABI_TAG", 2: "NT_GNU_HWCAP", 3: "NT_GNU_BUILD_ID", 4: "NT_GNU_GOLD_VERSION",
         5: "NT_GNU_PROPERTY_TYPE_0"}  # fmt: skip
MACHINE, SWAPPED = {"x86_64": ("x86-64", 62 << 8), "aarch64": ("AArch64", 183 << 8)}[os.uname().machine]
SECTIONS = {0: "SHN_UNDEF", 0xFFF1: "SHN_ABS"}
MANY = 2000
"""Compare every symbol of a library up to this number; of more, compare about this many, evenly spread."""


@contextmanager
def opened(path: Path | str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


EVERY = pytest.mark.parametrize("share", [20, pytest.param(1, marks=pytest.mark.long)], ids=["one-in-20", "every"])


def libraries(share: int, *roots: str) -> Iterator[tuple[Path, BinaryIO, ElfFile]]:
    """Yield one in `share` of the shared objects in /usr/lib, or in `roots`; not links, programs, .o or debug files."""
    for folder, _, names in (each for root in roots or ("/usr/lib",) for each in os.walk(root)):
        for path in (Path(folder, name) for name in names):
            if crc32(os.fsencode(path)) % share or path.is_symlink() or not path.is_file():
                continue
            with path.open("rb") as file:
                if file.read(4) == b"\x7fELF":
                    try:
                        ours = ElfFile(file.fileno())
                    except ElfError as error:
                        if error.code in NOT_LIBRARIES:
                            continue
                        raise AssertionError(f"{path} has {error}") from error
                    yield path, file, ours


# -- the oracle ------------------------------------------------------------------------------------------------------


def _theirs(oracle: Any, dynamic: Any) -> dict[str, Any]:
    tags: dict[str, list[Any]] = {}
    for tag in dynamic.iter_tags():
        tags.setdefault(str(tag.entry.d_tag), []).append(tag)
    stacks = [segment for segment in oracle.iter_segments() if segment["p_type"] == "PT_GNU_STACK"]
    return {
        "needed": [tag.needed for tag in tags.get("DT_NEEDED", [])],
        "soname": tags["DT_SONAME"][-1].soname if "DT_SONAME" in tags else None,
        "rpath": tags["DT_RPATH"][-1].rpath if "DT_RPATH" in tags else None,
        "runpath": tags["DT_RUNPATH"][-1].runpath if "DT_RUNPATH" in tags else None,
        "machine": oracle.header["e_machine"],
        "static_tls": any(tag.entry.d_val & 0x10 for tag in tags.get("DT_FLAGS", [])),
        "stack": not stacks or bool(stacks[-1]["p_flags"] & 1),
    }


def _ours(ours: ElfFile) -> dict[str, Any]:
    machines = {3: "EM_386", 62: "EM_X86_64", 183: "EM_AARCH64", 247: "EM_BPF"}
    return {
        "needed": ours.needed,
        "soname": ours.text(DT_SONAME),
        "rpath": ours.text(DT_RPATH),
        "runpath": ours.text(DT_RUNPATH),
        "machine": machines.get(ours.machine, ours.machine),
        "static_tls": has_static_tls(ours),
        "stack": has_executable_stack(ours),
    }


def _compare_notes(ours: ElfFile, oracle: Any) -> None:
    theirs = [
        (note["n_name"].encode("latin-1").rstrip(b"\0"), note["n_type"], bytes(note["n_descdata"]))
        for segment in oracle.iter_segments()
        if segment["p_type"] == "PT_NOTE"
        for note in segment.iter_notes()
    ]
    # pyelftools uses GNU's names for types of any owner.
    found = [(note.owner, NOTES.get(note.type, note.type), note.description) for note in ours.notes()]
    assert found == theirs


def _compare_versions(ours: ElfFile, oracle: Any) -> None:
    needed, defined = oracle.get_section_by_name(".gnu.version_r"), oracle.get_section_by_name(".gnu.version_d")
    theirs = [
        (version.name, auxiliary.name, auxiliary["vna_other"] & 0x7FFF, bool(auxiliary["vna_flags"] & 2))
        for version, auxiliaries in (needed.iter_versions() if needed else ())
        for auxiliary in auxiliaries
    ]
    assert [tuple(version) for version in ours.versions_needed()] == theirs
    own = [
        (next(auxiliaries).name, version["vd_ndx"] & 0x7FFF)
        for version, auxiliaries in (defined.iter_versions() if defined else ())
    ]
    assert [tuple(version) for version in ours.versions_defined()] == own


def _compare_symbols(ours: ElfFile, oracle: Any) -> None:
    table = oracle.get_section_by_name(".dynsym")
    symbols = ours.symbols()
    assert len(symbols) == max(table.num_symbols() - 1, 0)
    for index in range(0, len(symbols), len(symbols) // MANY + 1):
        symbol, entry = symbols[index], table.get_symbol(index + 1)
        theirs = (entry.name, entry["st_info"]["type"], entry["st_shndx"], entry["st_value"], entry["st_size"])
        section = SECTIONS.get(symbol.section, symbol.section)
        found = (symbol.name, TYPES[symbol.type], section, symbol.address, symbol.size)
        assert found == theirs


@EVERY
def test_every_library_of_the_machine_is_read_as_pyelftools_reads_it(share: int) -> None:
    compared = 0
    for path, file, ours in libraries(share):
        oracle = ELFFile(file)
        assert _ours(ours) == _theirs(oracle, oracle.get_section_by_name(".dynamic")), path
        _compare_notes(ours, oracle)
        _compare_versions(ours, oracle)
        _compare_symbols(ours, oracle)
        compared += 1
    assert compared > 100 // share


@EVERY
def test_no_library_of_the_machine_is_damaged(share: int) -> None:
    examined = 0
    for path, _, ours in libraries(share):
        if not ours.executable:
            try:
                examine(ours)
            except ElfError as error:
                raise AssertionError(f"{path} has {error}") from error
            examined += 1
    assert examined > 100 // share


# -- libraries that were linked in other ways ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-Wl,--hash-style=sysv"],
        ["-Wl,--hash-style=gnu"],
        ["-Wl,--hash-style=both"],
        ["-Wl,-z,pack-relative-relocs"],
        ["-Wl,-z,lazy", "-Wl,-z,norelro"],
        ["-Wl,-z,noseparate-code"],
        ["-static-libgcc", "-g"],
        ["-flto"],
        ["-Wl,--strip-all"],
    ],
    ids=lambda words: words[-1].rpartition(",")[2],
)
@pytest.mark.parametrize("headers", [True, False], ids=["with-sections", "without"])
def test_each_way_to_link_a_plugin_can_be_read_and_loaded(
    compiler: Compiler, tmp_path: Path, words: list[str], headers: bool
) -> None:
    library = tmp_path / "english.so"
    shutil.copy(compiler.library("english/english.c", *words), library)
    if not headers:
        _without_section_headers(library)
    with opened(library) as fd:
        ours = ElfFile(fd)
        assert [symbol.name for symbol in ours.symbols("hardpoint_")] == ["hardpoint_greeter_v1"]
        assert [note.owner for note in ours.notes()].count(b"hardpoint") == 1
        assert bool(ours.sections) == headers
    assert hardpoint.load(library, Greeter).lang() == "English"


def _without_section_headers(library: Path) -> None:
    data = bytearray(library.read_bytes())
    struct.pack_into("<Q", data, 40, 0)
    struct.pack_into("<HHH", data, 58, 0, 0, 0)
    library.write_bytes(data)


def test_a_large_library_is_read_in_pieces_and_only_where_it_has_to_be(
    compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = compiler.text("large", 'const char big[100000000] = "x"; void f(void); void f(void) {}')
    assert library.stat().st_size > 100_000_000
    read = 0
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read
        read += size
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", counted)
    with (
        open_library(library) as file,
        pytest.raises(hardpoint.NotAPluginError, match=r"needs a manifest .*, found none"),
    ):
        read_library(file)
    assert 0 < read < 16384


def test_in_pieces_or_at_once_gives_the_same(english: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(english) as fd:
        whole = ElfFile(fd)
        monkeypatch.setattr(elf_module, "WHOLE", 100)
        pieces = ElfFile(fd)
        assert (pieces.symbols(), pieces.notes(), examine(pieces)) == (whole.symbols(), whole.notes(), examine(whole))


def test_a_file_that_shrinks_while_it_is_read(english: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "english.so"
    shutil.copy(english, library)
    monkeypatch.setattr(elf_module, "WHOLE", 100)
    with opened(library) as fd:
        ours = ElfFile(fd)
        os.truncate(library, 200)
        with pytest.raises(ElfError, match="a file that ends within a note") as caught:
            ours.notes()
        assert caught.value.code == "elf-truncated"
        with pytest.raises(ElfError):
            examine(ours)


# -- files that are not libraries ------------------------------------------------------------------------------------


def _refusal(path: Path) -> tuple[str, str]:
    with opened(path) as fd, pytest.raises(ElfError) as caught:
        ElfFile(fd)
    return caught.value.code, str(caught.value)


@pytest.mark.parametrize(
    ("start", "what"),
    [
        (b"", "an empty file"),
        (b"!<arch>\nx", "a static library (.a)"),
        (b"#!/bin/sh", "a script"),
        (b"MZ\x90\0", "a Windows DLL or program"),
        (b"\xcf\xfa\xed\xfe", "a macOS library or program"),
        (b"\xca\xfe\xba\xbe", "a macOS universal file or a Java class"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"PK\x03\x04", "a zip file or wheel"),
        (b"\0asm\1", "a WebAssembly module"),
        (b"BC\xc0\xde", "LLVM bitcode"),
        (b"hello, world", "a file that starts with b'hello, w'"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, start: bytes, what: str) -> None:
    target = tmp_path / "what"
    target.write_bytes(start)
    assert _refusal(target) == ("elf-magic", what)


@pytest.mark.parametrize(
    ("offset", "new", "code", "sentence"),
    [
        (4, b"\1", "elf-class", f"a 32-bit little-endian ELF file for {MACHINE}"),
        (5, b"\2", "elf-class", f"a 64-bit big-endian ELF file for machine {SWAPPED}"),
        (4, b"\1\2\1" + bytes(9) + b"\0\2\0\x16", "elf-class", "a 32-bit big-endian ELF file for s390x"),
        (4, b"\x09", "elf-class", f"a ? little-endian ELF file for {MACHINE}"),
        (16, b"\1\0", "elf-type", "an object file (.o)"),
        (16, b"\4\0", "elf-type", "a core dump"),
        (16, b"\x99\0", "elf-type", "an ELF file of type 153"),
        (54, b"\x20\0", "elf-damaged", "an ELF header whose tables have entries of another size than the ABI's"),
        (56, b"\xff\xff", "elf-damaged", "65535 program headers"),
    ],
)
def test_a_header_that_says_something_else(
    english: Path, tmp_path: Path, offset: int, new: bytes, code: str, sentence: str
) -> None:
    data, target = english.read_bytes(), tmp_path / "forged.so"
    target.write_bytes(data[:offset] + new + data[offset + len(new) :])
    assert _refusal(target) == (code, sentence)


def test_another_machine_is_read_like_any_library(english: Path, tmp_path: Path) -> None:
    data, target = bytearray(english.read_bytes()), tmp_path / "forged.so"
    struct.pack_into("<H", data, 18, 183)
    target.write_bytes(data)
    with opened(target) as fd:
        assert ElfFile(fd).machine == EM_AARCH64


def test_object_files_archives_programs_and_debug_companions(compiler: Compiler, english: Path, tmp_path: Path) -> None:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }")
    compiler.run("-c", "-o", f"{tmp_path}/main.o", str(source))
    subprocess.run(["ar", "rc", f"{tmp_path}/main.a", f"{tmp_path}/main.o"], check=True)
    compiler.run("-static", "-o", f"{tmp_path}/static", str(source))
    subprocess.run(["objcopy", "--only-keep-debug", str(english), f"{tmp_path}/main.debug"], check=True)
    assert _refusal(tmp_path / "main.o") == ("elf-type", "an object file (.o)")
    assert _refusal(tmp_path / "main.a") == ("elf-magic", "a static library (.a)")
    assert _refusal(tmp_path / "static") == ("elf-type", "an executable")
    assert _refusal(tmp_path / "main.debug") == (
        "elf-debug",
        "debug information without the code",
    )
    data = bytearray((tmp_path / "main.debug").read_bytes())
    with (tmp_path / "main.debug").open("rb") as file:
        last = max(at for at, each in enumerate(ELFFile(file).iter_segments()) if each["p_type"] == "PT_LOAD")
    struct.pack_into("<Q", data, 64 + 56 * last + 8, 1 << 20)  # as on AArch64: empty, and beyond the end of the file
    (tmp_path / "far.debug").write_bytes(data)
    assert _refusal(tmp_path / "far.debug")[0] == "elf-debug"
    for words in (["-pie", "-fPIE"], ["-no-pie"]):
        compiler.run(*words, "-o", f"{tmp_path}/program", str(source))
        with opened(tmp_path / "program") as fd:
            assert ElfFile(fd).executable
        with pytest.raises(hardpoint.NotAPluginError, match=r"needs a shared object \(\.so\), found an executable"):
            hardpoint.load(tmp_path / "program", Greeter)


def test_descriptors_are_left_alone(english: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with opened(english) as fd:
        for _ in range(10):
            ElfFile(fd).symbols()
        assert os.lseek(fd, 0, os.SEEK_CUR) == 0
    assert len(os.listdir("/proc/self/fd")) == before
