"""The name by which the dynamic linker opens a library, and the one by which it knows it afterwards."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..ffi.libc import ffi, libc
from ..file import Identity

if TYPE_CHECKING:
    from ..elf.reader import ElfFile
    from ..file import LibraryFile

_PLACE = (b"ORIGIN", b"\0dladdr", b"\0dlopen\0", b"\0dlmopen\0", b"\0dlinfo\0")
"""Parts of the string table of a library that needs the folder that it lies in, or can ask for it."""
_names = [0]


def needs_place(elf: ElfFile) -> bool:
    """True if the library may ask for the folder that it lies in, so that it has to be opened by its path."""
    return any(word in elf.strings for word in _PLACE)


def loader_name(file: LibraryFile, elf: ElfFile) -> str:
    """The name for dlopen: one of the open descriptor's, so that it opens what was checked; else the path.

    A library that needs its own folder is opened by its path. glibc compares names before it opens a file, and numbers
    of descriptors are used again, so each name is another one: the bits of a counter as `/` and `./`, which mean
    nothing to the kernel. /proc/self would be a debugger's own, in a debugger.
    """
    if file.pinned or needs_place(elf):
        return file.loader_path
    _names[0] += 1
    bits = f"{_names[0]:b}".replace("1", "./").replace("0", "/")
    try:
        name = f"/proc/{os.readlink('/proc/self')}/fd/{bits}{file.fd}"
    except OSError:  # no /proc
        return file.loader_path
    return name if is_current(file, name) else file.loader_path  # /proc may be closed (PR_SET_DUMPABLE)


def is_current(file: LibraryFile, name: str) -> bool:
    """True if the file that dlopen will find by that name is the checked one, and was not rewritten."""
    try:
        return Identity.of(os.stat(name)) == file.identity
    except OSError:
        return False


def rename(link: Any, name: str, path: str) -> None:
    """Have the dynamic linker call the library by its path, for dladdr(3), debuggers and sanitizers."""
    size = len(os.fsencode(path)) + 1
    if ffi.string(link.l_name) == name.encode():  # else it was open already
        memory = libc.realloc(ffi.NULL, size)  # of malloc, as glibc's own
        if memory != ffi.NULL:
            libc.memcpy(memory, os.fsencode(path) + b"\0", size)
            link.l_name = memory
