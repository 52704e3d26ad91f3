"""The output of the dynamic linker's trace mode (rtld.c of glibc) -> problems that say who needs what."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from ..elf.constants import SYMBOL
from ..elf.reader import ElfError, open_elf
from ..elf.search_path import loaded_path
from ..errors import Problem, one_line, shortened
from ..ffi.libc import ffi, libc
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..elf.reader import ElfFile
    from ..file import LibraryFile

_LISTED = re.compile(r"^\t(?:(.*) => )?(.*) \(0x[0-9a-f]+\)$", re.MULTILINE)
_NOT_FOUND = re.compile(r"^\t(.*) => not found$", re.MULTILINE)
_NOT_PRELOADED = re.compile(
    r"^ERROR: ld\.so: object '(.+)' from \S+ cannot be preloaded \((.*)\): ignored\.$", re.MULTILINE
)
_UNDEFINED = re.compile(r"^undefined symbol: ([^\t]*?)(?:, version ([^\t]+))?\t\((.+)\)$", re.MULTILINE)
_NOT_IN_FILE = re.compile(
    r"^symbol ([^\t]*?),? version (\S+) not defined in file .+? with link time reference\t\((.+)\)$", re.MULTILINE
)
_NO_VERSION = re.compile(
    r"^(?!undefined symbol: |symbol ).+?: (\S+): version `(.+)' not found \(required by (.+)\)$", re.MULTILINE
)
_FATAL = re.compile(
    r"^(?!undefined symbol: |symbol ).*?: error while loading shared libraries: (.+?): (.+)$", re.MULTILINE
)
_INCONSISTENT = re.compile(r"^Inconsistency detected by ld\.so: (.+)$", re.MULTILINE)
_HARMLESS = re.compile(
    r"|\tstatically linked|WARNING: ld\.so: .*|ERROR: ld\.so: object .* cannot be preloaded .*: ignored\."
    r"|.*: (no version information available|weak version `.*' not found) \(required by .*\)"
    r"|.*: Symbol `.*' has different size in shared object, consider re-linking"
)
"""Lines about other files, or of no consequence for loading; the second to last is about the program's own copies."""
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

    def readable(self, names: set[str]) -> Answer:
        """Escape control characters of the path and of `names`, so that none ends a line or passes for another."""
        output = self.output
        for name in sorted([*names, self.preloaded], key=len, reverse=True):
            if not name.isprintable():
                output = output.replace(name, one_line(name))
        return self._replace(output=output, preloaded=one_line(self.preloaded))

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
        or list(_unknown(answer))
    )


def odd_names(elf: ElfFile) -> set[str]:
    """Return the names in a file that have control characters: undefined symbols, libraries and versions."""
    table, strings = elf.symbol_table[SYMBOL.size :], elf.strings
    starts = {name for name, _, _, section, _, _ in SYMBOL.iter_unpack(table) if not section}
    names = {strings[at : strings.find(b"\0", at)].decode("utf-8", "surrogateescape") for at in starts}
    names.update(elf.needed, elf.filters, elf.auxiliary, (need.version for need in elf.versions_needed()))
    return {name for name in names if not name.isprintable()}


class _Who:
    """Names libraries by who needs them."""

    def __init__(self, answer: Answer, file: LibraryFile, elf: ElfFile) -> None:
        self.answer, self.own = answer, os.path.basename(file.path)
        self.paths: dict[str, str] = {
            name or path: path for name, path in _LISTED.findall(answer.output) if path != answer.preloaded
        }
        self.needed = {self.own: [*elf.needed, *elf.filters]}
        self.auxiliary = {*elf.auxiliary}

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
        if _has(self.needed[self.own], name):
            return self.own
        for other, path in self.paths.items():
            if other not in self.needed:
                try:
                    with open_elf(self.real(path)) as elf:
                        self.needed[other] = [*elf.needed, *elf.filters]
                        self.auxiliary.update(elf.auxiliary)
                except (ElfError, OSError):
                    self.needed[other] = []
            if _has(self.needed[other], name) and loaded_path(self.real(path)) is None:
                return other
        return ""

    def may_be_missing(self, name: str) -> bool:
        """True if a library is only an auxiliary one (DT_AUXILIARY), without which dlopen goes on."""
        return not self.needing(name) and _has(self.auxiliary, name)


def _has(names: Iterable[str], name: str) -> bool:
    """True if a name of the output, in which control characters are escaped, is one of a file's."""
    return name in names or any(one_line(each) == name for each in names)


def _refused(answer: Answer, who: _Who) -> Iterator[Problem]:
    for path, reason in _NOT_PRELOADED.findall(answer.output):
        if path == answer.preloaded:
            yield Problem.of("loader-refused", f"{_WORDS}: {reason}")
    for path, reason in _FATAL.findall(answer.output):
        yield Problem.of("loader-refused", f"{_WORDS}: {shortened(who.named(path))}: {reason}")
    for reason in _INCONSISTENT.findall(answer.output):
        yield Problem.of("loader-refused", f"{_WORDS}: Inconsistency detected by ld.so: {reason}")


def _missing(answer: Answer, who: _Who) -> Iterator[Problem]:
    for name in answer.missing():
        if who.may_be_missing(name):
            continue
        by = who.needing(name)
        whose = f", which {who.named(who.paths[by])} needs" if by in who.paths else ""
        yield Problem.of(
            "needed-missing",
            "none on the dynamic linker's search path",
            needs=f"the library {shortened(name)}{whose}",
            name=name,
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
                lacking.setdefault(by, []).append(
                    f"{symbol}@{version}" if version else symbol or "a symbol without a name"
                )
                words.setdefault(by, match[0].partition("\t")[0])
    for by, symbols in lacking.items():
        if by == answer.preloaded or loaded_path(who.real(by)) is None:
            more = f" and {len(symbols) - _SHOWN} others" if len(symbols) > _SHOWN else ""
            wanted = ", ".join(symbols[:_SHOWN]) + more
            found = f"{_WORDS}: {words[by]}"
            yield Problem.of("undefined-symbol", found, symbols=wanted, who=who.named(by))


def _unknown(answer: Answer) -> Iterator[Problem]:
    """A problem for the lines that are none of the known ones: a refusal if they are about symbols or the file."""
    known = (_LISTED, _NOT_FOUND, _NOT_PRELOADED, _UNDEFINED, _NOT_IN_FILE, _NO_VERSION, _HARMLESS)
    lines = [line for line in answer.output.split("\n") if not any(each.fullmatch(line) for each in known)]
    about = [line for line in lines if "symbol" in line or answer.preloaded in line]
    if about:
        yield Problem.of("loader-refused", f"{_WORDS}: {shortened(about[0])}")
    elif lines and answer.is_loaded():
        yield Problem.of("loader-unasked", f"an answer with a line that is not known: {shortened(lines[0])}")


def _is_global(symbol: str) -> bool:
    """True if this process has the symbol in its global scope, such as of a library opened with RTLD_GLOBAL."""
    return bool(libc.dlsym(libc.dlopen(ffi.NULL, os.RTLD_LAZY), symbol.encode(errors="surrogateescape")) != ffi.NULL)
