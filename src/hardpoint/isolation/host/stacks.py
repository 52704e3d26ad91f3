"""The stack of a process that crashed, as it wrote it: the plugin's frames, without those of its caller."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Texts: re compiles each at its first use, after a crash. A host may be out of descriptors then, so this module is
# imported before.
FRAME = r"(?P<file>[^()\[\]]+)\((?P<symbol>[^()+]*)\+0x(?P<offset>[0-9a-f]+)\) ?\[0x[0-9a-f]+\]"
"""A line of backtrace_symbols_fd(3), which has a blank before the address since glibc 2.41."""
_BARE = r"[^()\[\]]+\(\) ?\[0x[0-9a-f]+\]"
"""Such a line without a symbol, of a program that is not position-independent, as Debian's Python."""
_SANITIZED = r"\s+#\d+ 0x[0-9a-f]+ "
"""A frame in the report of a sanitizer."""
_HOST = (
    r"/hardpoint/isolation/_channel\.|/hardpoint/binding/_native\.|libffi\.so|/_ctypes\.|_cffi_backend\.|libpython3|"
    r"/python[\d.]*[(+]|"
    r" in (_?Py[A-Z_]|_ctypes_|ffi_call|hp_call_function)|\b(Python|Objects|Modules|Parser)/\w+(/\w+)*\.[ch]:\d"
)
"""The caller of a plugin, in a frame: all that follows is of the host too."""


def without_host(lines: Iterable[str]) -> Iterator[str]:
    """Leave out the frames of bindings, libffi and Python, from the first to the end of each stack."""
    skipping = False
    for line in lines:
        is_frame = line == "..." or re.fullmatch(FRAME, line) or re.fullmatch(_BARE, line) or re.match(_SANITIZED, line)
        skipping = bool(is_frame and (skipping or re.search(_HOST, line)))
        if not skipping:
            yield line


def last_words(lines: Iterable[str]) -> list[str]:
    """The output of a worker that died, its frames as `library(function+offset)`, and how to get the line of the first.

    addr2line is not run here: it would read a library that need not be trusted, in the host's own user.
    """
    words: list[str] = []
    how = ""
    for line in without_host(lines):
        found = re.fullmatch(FRAME, line)
        words.append(f"{found['file']}({found['symbol']}+0x{found['offset']})" if found else line)
        if found and not found["symbol"]:
            how = how or f"(addr2line -Cfie {found['file']} 0x{found['offset']} names the function and the line)"
    return [*words, how] if how else words
