"""Numbers and structs of the ELF gABI, the GNU extensions and the psABIs of x86-64 and AArch64, named as in <elf.h>."""

from __future__ import annotations

import os
import struct

from ..fields import Fields

EM_386, EM_ARM, EM_X86_64, EM_AARCH64 = 3, 40, 62, 183
MACHINES = {EM_386: "i386", EM_ARM: "arm", EM_X86_64: "x86-64", EM_AARCH64: "AArch64", 243: "RISC-V", 21: "ppc64",
            22: "s390x", 8: "mips", 258: "LoongArch"}  # fmt: skip
ET_EXEC, ET_DYN = 2, 3
FILE_TYPES = {1: "an object file (.o)", ET_EXEC: "an executable", ET_DYN: "a shared object", 4: "a core dump"}
MAGICS = {
    b"!<arch>\n": "a static library (.a)",
    b"#!": "a script",
    b"MZ": "a Windows DLL or program",
    b"\xcf\xfa\xed\xfe": "a macOS library or program",
    b"\xca\xfe\xba\xbe": "a macOS universal file or a Java class",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file or wheel",
    b"\0asm": "a WebAssembly module",
    b"BC\xc0\xde": "LLVM bitcode",
}
"""The first bytes of other files that are mistaken for libraries."""

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE, PT_PHDR, PT_TLS = 1, 2, 3, 4, 6, 7
PT_GNU_EH_FRAME, PT_GNU_STACK, PT_GNU_RELRO, PT_GNU_PROPERTY = 0x6474E550, 0x6474E551, 0x6474E552, 0x6474E553
PF_X, PF_W, PF_R = 1, 2, 4

DT_NEEDED, DT_PLTRELSZ, DT_PLTGOT, DT_HASH, DT_STRTAB, DT_SYMTAB, DT_RELA, DT_RELASZ, DT_RELAENT = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
)
DT_STRSZ, DT_SYMENT, DT_INIT, DT_FINI, DT_SONAME, DT_RPATH, DT_REL = 10, 11, 12, 13, 14, 15, 17
DT_PLTREL, DT_DEBUG, DT_TEXTREL, DT_JMPREL, DT_INIT_ARRAY, DT_FINI_ARRAY = 20, 21, 22, 23, 25, 26
DT_INIT_ARRAYSZ, DT_FINI_ARRAYSZ, DT_RUNPATH, DT_FLAGS, DT_PREINIT_ARRAY = 27, 28, 29, 30, 32
DT_RELRSZ, DT_RELR, DT_RELRENT = 35, 36, 37
DT_GNU_HASH, DT_TLSDESC_GOT, DT_VERSYM = 0x6FFFFEF5, 0x6FFFFEF7, 0x6FFFFFF0
DT_RELACOUNT, DT_FLAGS_1 = 0x6FFFFFF9, 0x6FFFFFFB
DT_VERDEF, DT_VERNEED, DT_AUXILIARY, DT_FILTER = 0x6FFFFFFC, 0x6FFFFFFE, 0x7FFFFFFD, 0x7FFFFFFF
DF_TEXTREL, DF_STATIC_TLS, DF_1_NOOPEN, DF_1_PIE = 4, 0x10, 0x40, 0x08000000

SHT_SYMTAB, SHT_RELA, SHT_HASH, SHT_NOTE, SHT_NOBITS, SHT_DYNSYM = 2, 4, 5, 7, 8, 11
SHT_INIT_ARRAY, SHT_FINI_ARRAY, SHT_RELR = 14, 15, 19
SHT_GNU_HASH, SHT_GNU_VERDEF, SHT_GNU_VERNEED, SHT_GNU_VERSYM = 0x6FFFFFF6, 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_TLS = 1, 2, 4, 0x400

STB_LOCAL, STB_GLOBAL, STB_WEAK, STB_GNU_UNIQUE = 0, 1, 2, 10
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION, STT_COMMON, STT_TLS, STT_GNU_IFUNC = 0, 1, 2, 3, 5, 6, 10
SHN_LORESERVE, SHN_ABS = 0xFF00, 0xFFF1
R_AARCH64_TLS_TPREL = 1030

GLIBC = frozenset({
    "libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2",
    "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1",
})  # fmt: skip
"""Libraries that are part of every glibc; on a glibc host these need no search."""
SYSTEM_FOLDERS = ("/lib", "/usr/lib", "/lib64", "/usr/lib64")
"""The folders of the system's own libraries, whose parts for a machine lie within (hier(7), ld.so(8))."""
PAGE = os.sysconf("SC_PAGESIZE")
"""Bytes in a page of this kernel: 4096 on x86-64, and 4096, 16384 or 65536 on AArch64."""

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # ident type machine version entry phoff shoff flags ehsize phentsize
#                                              phnum shentsize shnum shstrndx
SEGMENT = struct.Struct("<IIQQQQQQ")  # type flags offset vaddr paddr filesz memsz align
SECTION = struct.Struct("<4xIQQQQ24x")  # (name) type flags addr offset size (link info addralign entsize)
DYNAMIC = struct.Struct("<QQ")  # tag value
SYMBOL = struct.Struct("<IBBHQQ")  # name info other shndx value size
GNU_HASH = struct.Struct("<IIII")  # buckets, first symbol, filter words, shift
NOTE = struct.Struct("<III")  # name size, description size, type
VER_FLG_WEAK = 2
VERNEED = struct.Struct("<HHIII")  # version cnt file aux next
VERNAUX = struct.Struct("<IHHII")  # hash flags other name next
VERDEF = struct.Struct("<HHHHIII")  # version flags ndx cnt hash aux next
VERDAUX = struct.Struct("<II")  # name next


class Segment(Fields):
    """A program header (gABI, Elf64_Phdr); `align` is a number of bytes."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int


class Note(Fields):
    """One note (gABI, "Note Section"): its owner without the NUL, its type, its description."""

    owner: bytes
    type: int
    description: bytes


class Symbol(Fields):
    """One dynamic symbol (gABI, Elf64_Sym); `section` is 0 if it is undefined here."""

    name: str
    type: int
    binding: int
    section: int
    address: int
    size: int


class VersionNeeded(Fields):
    """A symbol version that is needed from the library `file`, and its number in DT_VERSYM."""

    file: str
    version: str
    number: int
    weak: bool
    """VER_FLG_WEAK: only weak symbols have it, and ld.so does without it."""


class VersionDefined(Fields):
    """A symbol version that the library defines, and its number in DT_VERSYM."""

    version: str
    number: int
