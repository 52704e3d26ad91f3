"""Sources in C and C++ -> a library, with the flags that a plugin needs."""

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
"""What the names of sources end in."""

# At a link, they bring crtfastmath.o: code that makes the floats of whichever thread loads the library less exact, the
# host's own among them. To the compiler they mean the plugin's own code alone (gcc 12 has no -mno-daz-ftz).
_FAST_MATH = frozenset({"-Ofast", "-ffast-math", "-funsafe-math-optimizations", "-mdaz-ftz"})
_LIBRARY = re.compile(r"[^-].*\.(a|o|so(\.[0-9]+)*)")


class Language(Fields):
    """One of the two, and who compiles it."""

    name: str
    variable: str
    """The environment's variable that names the compiler, perhaps in several words: `ccache gcc`."""
    candidates: tuple[str, ...]
    standard: str
    package: str


C = Language("C", "CC", ("cc", "gcc", "clang"), "-std=c11", "gcc libc6-dev")
CXX = Language("C++", "CXX", ("c++", "g++", "clang++"), "-std=c++17", "g++")


def include_folder() -> str:
    """The folder of hardpoint.h and the contracts' headers."""
    return os.path.realpath(contracts.__path__[0])


def compile_flags() -> list[str]:
    """What every compilation needs: position-independent code that exports nothing but the vtables, and the headers."""
    return [f"-I{include_folder()}", "-fPIC", "-fvisibility=hidden"]


def link_flags() -> list[str]:
    """How a library is linked: no undefined symbols, nothing writable that need not be, no executable stack."""
    script = f"--version-script={include_folder()}/hardpoint.map"
    return ["-shared", "-Wl,-z,defs,-z,relro,-z,now,-z,noexecstack", "-Xlinker", script]


def find_compiler(language: Language) -> list[str]:
    """The words of the compiler's command. HardpointError, saying what to install, if there is none."""
    words = shlex.split(os.environ.get(language.variable, ""))
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
        f"a {language.name} compiler is missing ({', '.join(language.candidates)}): apt-get install {language.package}, or "
        f"pip install ziglang and {language.variable}='python3 -m ziglang {language.candidates[0]}'"
    )


def compile_library(sources: Sequence[str], target: str, extra: Sequence[str] = (), *, verbose: bool = False) -> None:
    """Make the library `target` of `sources`; $CFLAGS, $CXXFLAGS, $LDFLAGS and then `extra` come behind our own flags.

    It is written under another name first: a host may have the old one mapped, and would die of its being rewritten.
    HardpointError if there is no compiler, or if it fails; its own words are on stderr.
    """
    folder = os.path.dirname(target) or "."
    if not os.path.isdir(folder):
        raise HardpointError(f"{target}: there is no folder {folder} to make it in", path=target)
    languages = {source: CXX if source.endswith(CXX_SUFFIXES) else C for source in sources}
    commands = {language: find_compiler(language) for language in languages.values()}
    with tempfile.TemporaryDirectory(prefix=".hardpoint-build.", dir=folder) as temporary:
        objects: list[str] = []
        compiled = _without_libraries(extra)
        for index, source in enumerate(sources):
            language = languages[source]
            objects.append(os.path.join(temporary, f"{index}.o"))
            flags = [language.standard, "-O2", "-g", "-Wall", "-Wextra", *compile_flags(), *_users(language), *compiled]
            _run([*commands[language], *flags, "-c", source, "-o", objects[-1]], source, verbose=verbose)
        linker = CXX if CXX in commands else C
        users = [word for word in (*_users(linker), *_words("LDFLAGS"), *extra) if word not in _FAST_MATH]
        made = os.path.join(temporary, os.path.basename(target))
        _run([*commands[linker], *link_flags(), *objects, "-o", made, *users], target, verbose=verbose)
        os.replace(made, target)


def _without_libraries(extra: Sequence[str]) -> list[str]:
    """What the compiler is given: of a file for the linker, gcc warns that it does not link it."""
    pairs = zip(("", *extra), extra, strict=False)
    return [word for before, word in pairs if before == "-Xlinker" or not _LIBRARY.fullmatch(word)]


def _users(language: Language) -> list[str]:
    return _words("CFLAGS" if language == C else "CXXFLAGS")


def _words(variable: str) -> list[str]:
    return shlex.split(os.environ.get(variable, ""))


def _run(command: list[str], what: str, *, verbose: bool) -> None:
    if verbose:
        sys.stderr.write(f"{shlex.join(command)}\n")
    status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        raise HardpointError(f"{what}: {command[0]} failed with status {status}; what it said is above", path=what)
