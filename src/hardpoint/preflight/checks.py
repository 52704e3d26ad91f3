"""A library's file + a contract -> every problem at once; nothing of the plugin has run yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..elf.integrity import examine
from ..elf.reader import ElfError, ElfFile
from ..errors import IncompatibleError, NotAPluginError, Problem, reasons
from ..ffi.abi import ABI
from ..fields import Fields
from .manifest import Manifest, read_manifests
from .platform import check_host, check_system, dotted
from .vtable import REBUILD, Vtable, find_vtable

if TYPE_CHECKING:
    from ..definition.model import Contract
    from ..file import LibraryFile


class Fit(Fields):
    """A library that fits a contract, and its plugin for it."""

    elf: ElfFile
    contract: Contract
    manifest: Manifest
    vtable: Vtable
    problems: tuple[Problem, ...] = ()
    """Warnings alone."""

    @property
    def plugin(self) -> str:
        """The plugin's name and release, for messages."""
        return f"{self.manifest.plugin} {self.manifest.release}"


class Misfit(Fields):
    """A library that does not fit a contract, and every reason."""

    elf: ElfFile
    contract: Contract
    plugin: str
    """Name and release of the plugin that was meant; "" if the library has none for the contract."""
    problems: tuple[Problem, ...]
    """Reasons and warnings, in the order of the checks."""

    @property
    def reasons(self) -> list[Problem]:
        """The problems that are not warnings."""
        return [problem for problem in self.problems if problem.fatal]


_TOKENS = [f"{start}{name}" for start in ("$", "${") for name in ("ORIGIN", "LIB", "PLATFORM")]
_ELF = {
    "file-unreadable": ("a file that can be read", "look at the disk, or copy the file elsewhere"),
    "elf-magic": ("a shared object (.so)", "give the path of the file that the linker wrote"),
    "elf-type": ("a shared object (.so)", "link it with -shared"),
    "elf-class": ("a 64-bit little-endian library", "build it for x86-64 or AArch64"),
    "elf-truncated": ("a whole file", "copy, download or build it again"),
    "elf-damaged": ("a shared object in good order", "copy, download or build it again"),
    "elf-debug": ("a library with its code", "give the library itself, not its .debug companion"),
    "elf-no-code": ("a library with code", "compile it from sources that have functions"),
}


def read_elf(file: LibraryFile) -> ElfFile:
    """The file as a shared object. NotAPluginError if it is no whole one; IncompatibleError if it is a 32-bit one."""
    try:
        elf = ElfFile(file.fd)
    except (ElfError, OSError) as error:
        raise _unreadable(file, error) from error
    if elf.executable:
        raise _unreadable(file, ElfError("elf-type", "an executable"))
    return elf


def read_library(file: LibraryFile) -> tuple[ElfFile, list[Manifest | Problem]]:
    """The file and the manifests in it. Raises as `read_elf` does, and NotAPluginError if there is no manifest."""
    elf = read_elf(file)
    try:
        manifests = read_manifests(elf)
        missing = None if manifests else _without_manifest(file, elf)
    except (ElfError, OSError) as error:
        raise _unreadable(file, error) from error
    if missing:
        raise missing
    return elf, manifests


def _unreadable(file: LibraryFile, error: ElfError | OSError) -> NotAPluginError | IncompatibleError:
    if isinstance(error, OSError):
        error = ElfError("file-unreadable", error.strerror or str(error))
    needs, fix = _ELF[error.code]
    problem = Problem(error.code, needs, str(error), fix)
    if error.code == "elf-class":
        return IncompatibleError(f"{file.path} does not fit this host: {problem}", path=file.path, problems=[problem])
    return NotAPluginError(f"{file.path} is not a plugin: {problem}", path=file.path, problems=[problem])


def _without_manifest(file: LibraryFile, elf: ElfFile) -> NotAPluginError:
    found = "none"
    if elf.symbols("PyInit_"):
        found = "a Python extension module, which is imported and not loaded"
    elif names := [symbol.name for symbol in elf.symbols("hardpoint_")]:
        found = f"none, though it has the symbol {names[0]}"
    problem = Problem("manifest-missing", "a manifest (an ELF note of the owner 'hardpoint')", found, REBUILD)
    return NotAPluginError(f"{file.path} is not a plugin: {problem}", path=file.path, problems=[problem])


def require_fit(file: LibraryFile, contract: Contract) -> Fit:
    """Check the file against the contract. Raises as `preflight`, and IncompatibleError with every problem."""
    fit = preflight(file, contract)
    if isinstance(fit, Fit):
        return fit
    raise IncompatibleError(
        f"{file.path} does not fit {contract}{reasons(fit.reasons)}", path=file.path, problems=fit.reasons
    )


def preflight(file: LibraryFile, contract: Contract) -> Fit | Misfit:
    """Hold a file against a contract: everything that can be known without running any of its code.

    Raises as `read_library` does for what is no plugin library; all else is in the problems of the result.
    """
    elf, manifests = read_library(file)
    try:
        filled = examine(elf)
        problems = [*check_file(file, elf), *(each for each in manifests if isinstance(each, Problem))]
        manifest = _choose([each for each in manifests if isinstance(each, Manifest)], contract, problems)
        if manifest is None:
            return Misfit(elf, contract, "", tuple(problems))
        problems += _check_abi(manifest)
        problems += _check_methods(manifest, contract)
        vtable, more = find_vtable(elf, manifest, contract, filled)
    except (ElfError, OSError) as error:
        raise _unreadable(file, error) from error
    problems += more
    if vtable is None or any(problem.fatal for problem in problems):
        return Misfit(elf, contract, f"{manifest.plugin} {manifest.release}", tuple(problems))
    return Fit(elf, contract, manifest, vtable, tuple(problems))


def check_file(file: LibraryFile, elf: ElfFile) -> list[Problem]:
    """What speaks against loading the library here, whatever plugins it holds."""
    origin = None if file.pinned else os.path.dirname(file.loader_path)
    return [*check_host(), *_check_path(file), *check_system(elf, origin)]


def _check_path(file: LibraryFile) -> list[Problem]:
    """Dlopen replaces $ORIGIN, $LIB and $PLATFORM in a path, and so would open another file than the one checked."""
    if "$" not in file.loader_path or not any(token in file.loader_path for token in _TOKENS):
        return []
    fix = "rename the folder or the file, or load it with sha256="
    return [Problem("path-token", "a path without $ORIGIN, $LIB and $PLATFORM", file.loader_path, fix)]


def _choose(manifests: list[Manifest], contract: Contract, problems: list[Problem]) -> Manifest | None:
    same = [manifest for manifest in manifests if manifest.contract == contract.name]
    fitting = [manifest for manifest in same if manifest.version[0] == contract.major]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = f"{len(fitting)}: {', '.join(manifest.plugin for manifest in fitting)}"
        needs = f"one plugin for {contract.name} {contract.major}"
        problems.append(Problem("manifest-twice", needs, found, "keep one of them in each library"))
    elif same:
        found = ", ".join(str(manifest) for manifest in same)
        fix = f"use a plugin for {contract.name} {contract.major}, or load it with that version's class"
        problems.append(Problem("contract-major", f"a plugin for {contract.name} {contract.major}.x", found, fix))
    elif manifests:
        found = "one for " + ", ".join(str(manifest) for manifest in manifests)
        fix = "load it with that contract's class, or use another plugin"
        problems.append(Problem("contract-other", f"a plugin for {contract}", found, fix))
    return None


def _check_abi(manifest: Manifest) -> list[Problem]:
    major, minor = manifest.abi
    if major != ABI[0]:
        fix = (
            "rebuild it with this host's hardpoint.h" if major < ABI[0] else "use a newer hardpoint, or an older plugin"
        )
        return [Problem("abi-major", f"a plugin for ABI {ABI[0]}", f"ABI {dotted(manifest.abi)}", fix)]
    if minor > ABI[1]:
        fix = "use a newer hardpoint, or have the plugin built with HP_NEEDS_ABI set to what it really needs"
        return [Problem("abi-minor", f"a plugin that does with ABI {dotted(ABI)}", f"ABI {dotted(manifest.abi)}", fix)]
    return []


def _check_methods(manifest: Manifest, contract: Contract) -> list[Problem]:
    """The texts are compared as an ordered prefix: a contract grows by appending."""
    wanted, found = [method.text for method in contract.methods], list(manifest.methods)
    if wanted != found and sorted(wanted) == sorted(found):
        return [Problem("method-order", f"the methods in the order {', '.join(wanted)}", ", ".join(found), REBUILD)]
    problems = [
        Problem("method-differs", f"method {index} to be {want}", has, REBUILD)
        for index, (want, has) in enumerate(zip(wanted, found, strict=False), start=1)
        if want != has
    ]
    minor = manifest.version[1]
    problems += [
        Problem("method-missing", f"the method {method.text}", f"a list of {len(found)} that ends before it", REBUILD)
        for method in contract.methods[len(found) :]
        if method.since <= minor
    ]
    if minor <= contract.minor:
        problems += [
            Problem("method-unknown", f"no more methods than {contract} has", text, REBUILD)
            for text in found[len(wanted) :]
        ]
    return problems
