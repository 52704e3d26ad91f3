"""Sources in C and C++ -> a library, compiled and linked with the flags that a plugin needs."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from .. import contracts
from ..errors import HardpointError
from ..fields import Fields

if TYPE_CHECKING:
    from collections.abc import Sequence

CXX_SUFFIXES = (".cpp", ".cc", ".cxx")
SUFFIXES = (".c", *CXX_SUFFIXES)
"""The suffixes of sources."""

# At a link, these add crtfastmath.o, whose constructor sets flush-to-zero mode in the thread that loads the library, so
# that the host's own floats get less exact. The compiler applies them to the plugin's code alone (gcc 12 has no
# -mno-daz-ftz).
_FAST_MATH = frozenset({"-Ofast", "-ffast-math", "-funsafe-math-optimizations", "-mdaz-ftz"})
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"\n/]+\.h)"', re.MULTILINE)
_LONGEST_SOURCE = 1 << 20
_LIBRARY = re.compile(r"[^-].*\.(a|o|so(\.[0-9]+)*)")


class Language(Fields):
    """C or C++, and how its compiler is found."""

    name: str
    variable: str
    """The environment variable with the compiler's command, which may have several words: `ccache gcc`."""
    candidates: tuple[str, ...]
    flags: tuple[str, ...]
    """The standard, and the warnings that are errors."""
    package: str


# The GNU standards have POSIX: with -std=c11, `strndup` is undeclared, and so returns an int, half of a pointer.
# The errors are those of gcc 14, whatever the compiler's version; and f(), which has the type of any function, so that
# it would fit a slot with parameters.
_MISTAKES = ("implicit-function-declaration", "implicit-int", "int-conversion", "incompatible-pointer-types",
             "return-type", "strict-prototypes")  # fmt: skip
C = Language(
    "C", "CC", ("cc", "gcc", "clang"), ("-std=gnu11", *(f"-Werror={each}" for each in _MISTAKES)), "gcc libc6-dev"
)
CXX = Language("C++", "CXX", ("c++", "g++", "clang++"), ("-std=gnu++17", "-Werror=return-type"), "g++")


def include_folder() -> str:
    """The directory of hardpoint.h and of the headers of hardpoint's own contracts."""
    return os.path.realpath(contracts.__path__[0])


def compile_flags() -> list[str]:
    """Flags to compile with: the headers, and position-independent code that exports nothing but the vtables."""
    return [f"-I{include_folder()}", "-fPIC", "-fvisibility=hidden"]


def link_flags() -> list[str]:
    """Flags to link with: no undefined symbols, full RELRO, no executable stack."""
    script = f"--version-script={include_folder()}/hardpoint.map"
    return ["-shared", "-Wl,-z,defs,-z,relro,-z,now,-z,noexecstack", "-Xlinker", script]


def find_compiler(language: Language) -> list[str]:
    """Find the compiler's command. Raise HardpointError, which says what to install, if there is none."""
    words = _variable(language.variable)
    if words:
        if shutil.which(words[0]) is None:
            raise HardpointError(
                f"the {language.name} compiler {language.variable}={shlex.join(words)} was not found; correct "
                f"{language.variable}, or install it: apt-get install {language.package}"
            )
        return words
    for candidate in language.candidates:
        if shutil.which(candidate):
            return [candidate]
    raise HardpointError(
        f"a {language.name} compiler is missing ({', '.join(language.candidates)}): "
        f"apt-get install {language.package}, or pip install ziglang and {language.variable}='python3 -m ziglang {language.candidates[0]}'"
    )


def compile_library(sources: Sequence[str], target: str, extra: Sequence[str] = (), *, verbose: bool = False) -> None:
    """Compile and link `sources` to the library `target`.

    $CFLAGS, $CXXFLAGS, $LDFLAGS and then `extra` follow our own flags. The target is replaced, never rewritten: a host
    that has the old file mapped would crash.
    Raises HardpointError if there is no compiler, or if it fails; its messages are on stderr.
    """
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder):
        raise HardpointError(f"{target}: the directory {folder} does not exist; create it", path=target)
    languages = {source: CXX if source.endswith(CXX_SUFFIXES) else C for source in sources}
    commands = {language: find_compiler(language) for language in languages.values()}
    with tempfile.TemporaryDirectory(prefix=".hardpoint-build.", dir=folder) as temporary:
        objects: list[str] = []
        compiler_flags = _without_libraries(extra)
        for index, source in enumerate(sources):
            language = languages[source]
            objects.append(os.path.join(temporary, f"{index}.o"))
            flags = [
                "-O2",
                "-g",
                "-Wall",
                "-Wextra",
                *language.flags,
                *compile_flags(),
                *_user_flags(language),
                *compiler_flags,
            ]
            command = [*commands[language], *flags, "-c", source, "-o", objects[-1]]
            _run(command, source, _missing_headers(source, flags), verbose=verbose)
        linker = CXX if CXX in commands else C
        linker_flags = [
            word for word in (*_user_flags(linker), *_variable("LDFLAGS"), *extra) if word not in _FAST_MATH
        ]
        linked = os.path.join(temporary, os.path.basename(target))
        _run([*commands[linker], *link_flags(), *objects, "-o", linked, *linker_flags], target, verbose=verbose)
        os.replace(linked, target)


def _without_libraries(extra: Sequence[str]) -> list[str]:
    """The words for the compiler, without the linker's files, for which gcc warns "linker input file unused"."""
    pairs = zip(("", *extra), extra, strict=False)
    return [word for before, word in pairs if before == "-Xlinker" or not _LIBRARY.fullmatch(word)]


def _user_flags(language: Language) -> list[str]:
    return _variable("CFLAGS" if language == C else "CXXFLAGS")


def _variable(variable: str) -> list[str]:
    text = os.environ.get(variable, "")
    try:
        return shlex.split(text)
    except ValueError as error:
        why = str(error).lower()
        raise HardpointError(f"{variable}={text} cannot be split into words: {why}; correct its quotes") from error


def _missing_headers(source: str, flags: list[str]) -> str:
    """Advice for headers that a source includes by `#include "NAME.h"` and that are in no folder of the flags' -I."""
    try:
        with open(source, encoding="utf-8", errors="replace") as file:
            names = _INCLUDE.findall(file.read(_LONGEST_SOURCE))
    except OSError:
        return ""
    given = zip(flags, [*flags[1:], ""], strict=True)
    folders = [
        os.path.dirname(source),
        *(after if flag == "-I" else flag[2:] for flag, after in given if flag[:2] == "-I"),
    ]
    missing = [name for name in names if not any(os.path.exists(os.path.join(folder, name)) for folder in folders)]
    if not missing:
        return ""
    return f"; the header of a contract is written by `hardpoint header MODULE:CLASS >{missing[0]}`"


def _run(command: list[str], what: str, advice: str = "", *, verbose: bool) -> None:
    if verbose:
        sys.stderr.write(f"{shlex.join(command)}\n")
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        raise HardpointError(
            f"{what}: {command[0]} failed with status {status}; its messages are above{advice}", path=what
        )
