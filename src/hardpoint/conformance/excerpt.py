"""The output of a check that crashed, shortened: its start and its end, with the plugin's functions and lines."""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from ..elf.reader import ElfError, ElfFile
from ..isolation.host.stacks import FRAME, without_host

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD, _TAIL = 16, 12
"""Lines at the start, where sanitizers say what is wrong, and at the end."""
_WIDTH = 500
"""Characters of a line."""
_BEFORE = 8
"""Lines before those of the signal: `terminate called ...` and the exception, or the text of an assertion."""
_SIGNAL = re.compile(r"SIG[A-Z]+( at address .*)?:")
_ADDR2LINE = ("addr2line", "llvm-addr2line")
_PATIENCE = 20
"""Seconds for the line numbers of a library that has very many."""


def excerpt(output: str, library: str) -> str:
    """The lines worth reading of what a crashed process wrote. `library` is the path of the plugin's library."""
    lines = [line[:_WIDTH] for line in _named(_without_shadow(without_host(output.splitlines())), library)]
    signal = next((index for index, line in enumerate(lines) if _SIGNAL.fullmatch(line)), len(lines) - _TAIL + _BEFORE)
    tail = max(signal - _BEFORE, _HEAD)
    if tail <= _HEAD + 1:
        return "\n".join(lines)
    return "\n".join([*lines[:_HEAD], f"... ({tail - _HEAD:,} more lines)", *lines[tail:]])


def _without_shadow(lines: Iterator[str]) -> Iterator[str]:
    """Leave out the address sanitizer's table of shadow bytes and its legend."""
    skipping = False
    for line in lines:
        skipping = line.startswith("Shadow bytes around") or (skipping and not line.startswith("=="))
        if not skipping:
            yield line


def _named(lines: Iterator[str], library: str) -> Iterator[str]:
    """Replace frames in the library by functions and lines, as far as there is debug information."""
    after_signal = False
    for line in lines:
        found = re.fullmatch(FRAME, line)
        if found is None:
            yield line
        elif found["file"] != library:
            yield f"{found['file']}({found['symbol']}+0x{found['offset']})"
        else:
            # A frame is the address to return to, which may be another line's; the first is where the signal came.
            offset = _offset(library, found["symbol"], int(found["offset"], 16))
            yield from _lines(library, offset, 0 if after_signal else 1)
        after_signal = _SIGNAL.fullmatch(line) is not None


def _offset(library: str, symbol: str, offset: int) -> int:
    """The offset in the library of one after a symbol that it exports."""
    if not symbol:
        return offset
    with open(library, "rb") as file:
        try:
            found = [each.address for each in ElfFile(file.fileno()).symbols(symbol) if each.name == symbol]
        except ElfError:
            found = []
    return found[0] + offset if found else offset


def _lines(library: str, offset: int, back: int) -> Iterator[str]:
    """The function and the line at an offset; several, if functions were inlined there."""
    where = f"{os.path.basename(library)}+{offset:#x}"
    asked = _ask(library, offset - back).splitlines()
    names = [(name, line) for name, line in zip(asked[::2], asked[1::2], strict=False) if name != "??"]
    for name, line in names:
        at = "" if line.startswith("??") else f" at {line.partition(' (discriminator')[0]}"
        yield f"{name}{at} ({where})"
    if not names:
        yield where


def _ask(library: str, offset: int) -> str:
    import subprocess  # 8 ms, for a crash

    program = next(filter(None, map(shutil.which, _ADDR2LINE)), None)
    if program is None:
        return ""
    try:
        done = subprocess.run(
            [program, "-f", "-C", "-i", "-e", library, hex(offset)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, timeout=_PATIENCE,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
