"""Properties of the file; none of its code runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ...elf.constants import DT_FLAGS, DT_FLAGS_1, DT_RPATH, DT_RUNPATH, PT_GNU_RELRO
from ...ffi.abi import SERIAL
from ...file import open_library
from ...preflight.checks import Misfit, read_library, require_fit
from ...preflight.checks import check as check_file_and_loader
from ...preflight.manifest import Manifest
from ...preflight.platform import dotted, oldest_glibc
from ..check import FailedError, WarnedError, check

if TYPE_CHECKING:
    from ...elf.reader import ElfFile
    from ..subject import Subject

_DT_BIND_NOW, _DF_BIND_NOW, _DF_1_NOW = 24, 8, 1
_SHT_SYMTAB = 2
_LINKERS = {"_init", "_fini", "_edata", "_end", "__bss_start"}
"""Symbols that older linkers export from every library."""


@check("file.fits", needs=(), runs=False)
def fits(subject: Subject) -> str:
    """It fits its contract and this machine: everything that `hardpoint check` looks at."""
    with open_library(subject.path) as file:
        [fit] = check_file_and_loader(file, [subject.contract])
        stripped = "not " * any(kind == _SHT_SYMTAB for kind, *_ in fit.elf.sections) + "stripped"
        size = -(-fit.elf.size // 1024)
    if isinstance(fit, Misfit):
        raise FailedError("\n".join(map(str, fit.reasons)))
    if fit.problems:
        raise WarnedError("\n".join(map(str, fit.problems)))
    return f"{size:,} KiB, {stripped}"


@check("file.flags", needs=("file.fits",), runs=False)
def flags(subject: Subject) -> str:
    """Its vtable has only flags that the ABI defines."""
    with open_library(subject.path) as file:
        found = require_fit(file, subject.contract).vtable.flags
    if unknown := found & ~SERIAL:
        raise FailedError(f"its vtable has the flags {unknown:#x}, which the ABI does not define; they must be 0")
    return "HP_SERIAL" if found else "none"


@check("file.exports", needs=(), runs=False)
def exports(subject: Subject) -> str:
    """It exports its vtables, and no symbol that could clash with another library's."""
    with open_library(subject.path) as file:
        elf, manifests = read_library(file)
        own = {f"hardpoint_{each.contract}_v{each.version[0]}" for each in manifests if isinstance(each, Manifest)}
        names = {symbol.name for symbol in elf.symbols() if symbol.section and symbol.binding}
        versions = {each.version for each in elf.versions_defined()}
    extra = sorted(names - own - _LINKERS - versions)
    if extra:
        shown = ", ".join(extra[:5]) + (f" and {len(extra) - 5} more" if len(extra) > 5 else "")
        raise WarnedError(
            f"it also exports {shown}; compile with -fvisibility=hidden, and make what is used in one file static"
        )
    return ", ".join(sorted(own))


@check("file.hardening", needs=(), runs=False)
def hardening(subject: Subject) -> str:
    """Its vtable cannot be overwritten: it is linked with relro and immediate binding."""
    with open_library(subject.path) as file:
        elf, _ = read_library(file)
        missing = [flag for flag, there in (("relro", _has_relro(elf)), ("now", _binds_now(elf))) if not there]
    if missing:
        raise WarnedError(f"link it with -Wl,{','.join(f'-z,{flag}' for flag in missing)} (`hardpoint build` does)")
    return "relro, now"


def _has_relro(elf: ElfFile) -> bool:
    return any(segment.type == PT_GNU_RELRO for segment in elf.segments)


def _binds_now(elf: ElfFile) -> bool:
    flags, more = elf.dynamic.get(DT_FLAGS, 0), elf.dynamic.get(DT_FLAGS_1, 0)
    return bool(_DT_BIND_NOW in elf.dynamic or flags & _DF_BIND_NOW or more & _DF_1_NOW)


@check("file.runpath", needs=(), runs=False)
def runpath(subject: Subject) -> str | None:
    """It needs no library by an absolute path, and its RPATH or RUNPATH has none."""
    with open_library(subject.path) as file:
        elf, _ = read_library(file)
        paths = ":".join(filter(None, (elf.text(DT_RPATH), elf.text(DT_RUNPATH)))).split(":")
        absolute = [name for name in (*paths, *elf.needed) if os.path.isabs(name)]
        needed = ", ".join(elf.needed)
    if absolute:
        raise WarnedError(
            f"it names {', '.join(absolute)}, which another machine need not have; "
            "use $ORIGIN in -rpath, or link what it needs statically"
        )
    return f"needs {needed}" if needed else "needs no library"


@check("file.glibc", needs=(), runs=False)
def glibc(subject: Subject) -> str:
    """The oldest glibc that it runs with is known; the older, the more machines it runs on."""
    with open_library(subject.path) as file:
        elf, _ = read_library(file)
        oldest = oldest_glibc(elf)
    return f"glibc {dotted(oldest)} or newer" if oldest else "any glibc"
