"""The output of the dynamic linker's trace mode (rtld.c of glibc) -> problems that say who needs what."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..elf.reader import ElfError, open_elf
from ..elf.search_path import loaded_path
from ..errors import Problem
from ..ffi.libc import ffi, libc
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..elf.reader import ElfFile
    from ..file import LibraryFile

_LISTED = re.compile(r"^\t(?:(.+) => )?(/.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
_NOT_FOUND = re.compile(r"^\t(.+) => not found$", re.MULTILINE)
_NOT_PRELOADED = re.compile(
    r"^ERROR: ld\.so: object '(.+)' from \S+ cannot be preloaded \((.*)\): ignored\.$", re.MULTILINE
)
_UNDEFINED = re.compile(r"^undefined symbol: ([^,\t]+?)(?:, version ([^\t]+))?\t\((.+)\)$", re.MULTILINE)
_NOT_IN_FILE = re.compile(
    r"^symbol ([^,\t]+?),? version (\S+) not defined in file \S+ with link time reference\t\((.+)\)$", re.MULTILINE
)
_NO_VERSION = re.compile(r"^.+?: (\S+): version `(.+)' not found \(required by (.+)\)$", re.MULTILINE)
_FATAL = re.compile(r"^.*: error while loading shared libraries: (.+?): (.+)$", re.MULTILINE)
_WORDS = "in the dynamic linker's words"
_SHOWN = 3
"""How many symbols of one library are named; a library that was forgotten when linking can be missed in hundreds."""


class Answer(Fields):
    """What ld.so wrote when it was asked about a file."""

    output: str
    preloaded: str
    """The path that it was given for the file."""
    prefix: str
    """The start of that path, which stands for `folder`."""
    folder: str

    def missing(self) -> list[str]:
        """Return the names of libraries that were not found."""
        return list(dict.fromkeys(_NOT_FOUND.findall(self.output)))

    def is_loaded(self) -> bool:
        """True if ld.so mapped the file."""
        return any(path == self.preloaded for _, path in _LISTED.findall(self.output))


def problems_of(answer: Answer, file: LibraryFile, elf: ElfFile) -> list[Problem]:
    """Return the reasons for which dlopen would refuse the file; those that follow from others are left out."""
    who = _Who(answer, file, elf)
    return (
        list(_refused(answer, who))
        or list(_missing(answer, who))
        or list(_versions(answer, who))
        or list(_undefined(answer, who))
    )


class _Who:
    """Names libraries by who needs them."""

    def __init__(self, answer: Answer, file: LibraryFile, elf: ElfFile) -> None:
        self.answer, self.own = answer, os.path.basename(file.path)
        self.paths: dict[str, str] = {
            name or path: path for name, path in _LISTED.findall(answer.output) if path != answer.preloaded
        }
        self.needed = {self.own: elf.needed}

    def real(self, path: str) -> str:
        """The path as the host sees it: ld.so was given one under /proc/self/fd."""
        prefix = self.answer.prefix
        return self.answer.folder + path[len(prefix) :] if path.startswith(prefix) else path

    def named(self, path: str) -> str:
        """The file itself by its name; another as `libfoo.so (needed by plugin.so)`."""
        if path == self.answer.preloaded:
            return self.own
        name = next((name for name, there in self.paths.items() if there == path), os.path.basename(path))
        by = self.needing(name)
        return f"{os.path.basename(name)} (needed by {by})" if by else self.real(path)

    def needing(self, name: str) -> str:
        """Return the name of the first library that needs another by this name; "" if there is none."""
        if name in self.needed[self.own]:
            return self.own
        for other, path in self.paths.items():
            if other not in self.needed:
                try:
                    with open_elf(self.real(path)) as elf:
                        self.needed[other] = elf.needed
                except (ElfError, OSError):
                    self.needed[other] = []
            if name in self.needed[other] and loaded_path(self.real(path)) is None:
                return other
        return ""


def _refused(answer: Answer, who: _Who) -> Iterator[Problem]:
    for path, reason in _NOT_PRELOADED.findall(answer.output):
        if path == answer.preloaded:
            yield Problem.of("loader-refused", f"{_WORDS}: {reason}")
    for path, reason in _FATAL.findall(answer.output):
        yield Problem.of("loader-refused", f"{_WORDS}: {who.named(path)}: {reason}")


def _missing(answer: Answer, who: _Who) -> Iterator[Problem]:
    for name in answer.missing():
        by = who.needing(name)
        whose = f", which {who.named(who.paths[by])} needs" if by in who.paths else ""
        yield Problem.of(
            "needed-missing", "none on the dynamic linker's search path", needs=f"the library {name}{whose}", name=name
        )


def _versions(answer: Answer, who: _Who) -> Iterator[Problem]:
    for path, version, by in _NO_VERSION.findall(answer.output):
        if loaded_path(who.real(by)) is None:
            name = next((name for name, there in who.paths.items() if there == path), path)
            needs = f"{version} of {os.path.basename(name)}, which {who.named(by)} needs"
            yield Problem.of(
                "version-missing", f"{who.real(path)} without it", needs=needs, versions=version, name=name
            )


def _undefined(answer: Answer, who: _Who) -> Iterator[Problem]:
    """One problem for each library that lacks symbols. Those of the host's own libraries were resolved long ago."""
    lacking: dict[str, list[str]] = {}
    words: dict[str, str] = {}
    for pattern in (_UNDEFINED, _NOT_IN_FILE):
        for match in pattern.finditer(answer.output):
            symbol, version, by = match.groups()
            if version or not _is_global(symbol):
                lacking.setdefault(by, []).append(f"{symbol}@{version}" if version else symbol)
                words.setdefault(by, match[0].partition("\t")[0])
    for by, symbols in lacking.items():
        if by == answer.preloaded or loaded_path(who.real(by)) is None:
            more = f" and {len(symbols) - _SHOWN} others" if len(symbols) > _SHOWN else ""
            wanted = ", ".join(symbols[:_SHOWN]) + more
            found = f"{_WORDS}: {words[by]}"
            yield Problem.of("undefined-symbol", found, symbols=wanted, who=who.named(by))


def _is_global(symbol: str) -> bool:
    """True if this process has the symbol in its global scope, such as of a library opened with RTLD_GLOBAL."""
    return bool(libc.dlsym(libc.dlopen(ffi.NULL, os.RTLD_LAZY), symbol.encode(errors="surrogateescape")) != ffi.NULL)
