"""Check a library file against a contract: all problems at once, before any code of the plugin runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..elf.integrity import examine
from ..elf.reader import ElfError, ElfFile
from ..errors import IncompatibleError, NotAPluginError, Problem, reasons
from ..ffi.abi import ABI
from ..fields import Fields
from .manifest import OWNER, Manifest, read_manifests
from .platform import check_host, check_system, dotted, maps_code
from .vtable import Vtable, find_vtable, not_exported

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..definition.model import Contract
    from ..file import LibraryFile


class Fit(Fields):
    """A library that fits a contract, and its plugin for it."""

    elf: ElfFile
    contract: Contract
    manifest: Manifest
    vtable: Vtable
    problems: tuple[Problem, ...] = ()
    """Only warnings."""

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


def read_elf(file: LibraryFile) -> ElfFile:
    """Read the file as a shared object. NotAPluginError if it is not a valid one, IncompatibleError if it is 32-bit."""
    try:
        elf = ElfFile(file.fd)
    except (ElfError, OSError) as error:
        raise _unreadable(file, error) from error
    if elf.executable:
        raise _unreadable(file, ElfError("elf-type", "an executable"))
    if not elf.has_code:
        raise _unreadable(file, ElfError("elf-no-code", "a shared object without any code"))
    return elf


def read_library(file: LibraryFile) -> tuple[ElfFile, list[Manifest | Problem]]:
    """Read the file and its manifests. Raises what `read_elf` raises, and NotAPluginError if there is no manifest."""
    elf = read_elf(file)
    try:
        manifests = read_manifests(elf)
        missing = None if manifests else _without_manifest(file, elf)
    except ElfError as error:
        lost = None if error.code == "elf-too-large" else _lost_note(file, elf)
        raise lost or _unreadable(file, error) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    if missing:
        raise missing
    return elf, manifests


def _unreadable(file: LibraryFile, error: ElfError | OSError) -> NotAPluginError | IncompatibleError:
    if isinstance(error, OSError):
        error = ElfError("file-unreadable", error.strerror or str(error))
    problem = Problem.of(error.code, error)
    if error.code == "elf-class":
        return IncompatibleError(f"{file.path} does not fit this host: {problem}", path=file.path, problems=[problem])
    return NotAPluginError(f"{file.path} is not a plugin: {problem}", path=file.path, problems=[problem])


def _without_manifest(file: LibraryFile, elf: ElfFile) -> NotAPluginError | IncompatibleError:
    if later := max([note.type for note in elf.notes() if note.owner == OWNER], default=0):
        problem = Problem.of("abi-major", f"only notes of ABI {later}", major=ABI[0])
        return IncompatibleError(f"{file.path} does not fit this host: {problem}", path=file.path, problems=[problem])
    from .missing_manifest import missing_manifest  # for the error alone

    problem = missing_manifest(elf)
    return NotAPluginError(f"{file.path} is not a plugin: {problem}", path=file.path, problems=[problem])


def _lost_note(file: LibraryFile, elf: ElfFile) -> NotAPluginError | None:
    """Make the error of a note that cannot be read since its section was removed; None if that is not why."""
    from .missing_manifest import is_note_lost, missing_manifest  # for the error alone

    try:
        problem = missing_manifest(elf) if is_note_lost(elf) else None
    except ElfError:  # the symbols cannot be read, either
        problem = None
    if problem is None:
        return None
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
    """Check a file against a contract, without running any of its code.

    Raises what `read_library` raises if it is not a plugin library; all other problems are in the result.
    """
    elf, manifests = read_library(file)
    try:
        filled = examine(elf)
        problems = [*check_file(file, elf), *_malformed(manifests, contract)]
        manifest = _choose([each for each in manifests if isinstance(each, Manifest)], contract, problems)
        if manifest is None:
            return Misfit(elf, contract, "", tuple(problems))
        problems += check_abi(manifest)
        problems += _check_methods(manifest, contract)
        vtable, more = find_vtable(elf, manifest, contract, filled, origin_of(file))
    except (ElfError, OSError) as error:
        raise _unreadable(file, error) from error
    problems += more
    if vtable is None or any(problem.fatal for problem in problems):
        return Misfit(elf, contract, f"{manifest.plugin} {manifest.release}", tuple(problems))
    return Fit(elf, contract, manifest, vtable, tuple(problems))


def check(file: LibraryFile, contracts: list[Contract]) -> list[Fit | Misfit]:
    """Check a file as `preflight` does, against each contract, and ask the dynamic linker as well.

    For tools that say whether a file fits: `load` leaves the question to dlopen itself, which takes no process.
    """
    fits = [preflight(file, contract) for contract in contracts]
    problems = ask_loader(file, fits[0].elf) if fits else []
    return [_with(fit, [*_check_export(fit), *problems]) for fit in fits]


def _check_export(fit: Fit | Misfit) -> list[Problem]:
    """Check that the hash table leads to the vtable's symbol, which dlsym itself says when a library is loaded."""
    from ..elf.lookup import lookup  # for tools alone

    name = fit.contract.symbol
    return [not_exported(name)] if isinstance(fit, Fit) and lookup(fit.elf, name) is None else []


def ask_loader(file: LibraryFile, elf: ElfFile) -> list[Problem]:
    """Ask the dynamic linker for its verdict on a file, unless it is plain already that it refuses the file."""
    if any(problem.fatal for problem in check_file(file, elf)):
        return []
    from .loader import ask  # 15 ms with subprocess, which `load` does without

    return ask(file, elf)


def _with(fit: Fit | Misfit, problems: list[Problem]) -> Fit | Misfit:
    every = (*fit.problems, *problems)
    if isinstance(fit, Misfit) or not any(problem.fatal for problem in problems):
        return fit._replace(problems=every)
    return Misfit(fit.elf, fit.contract, fit.plugin, every)


def _malformed(manifests: list[Manifest | Problem], contract: Contract) -> Iterator[Problem]:
    """Yield the problems of malformed manifests, those for other contracts too, which tools cannot describe."""
    texts = [method.text for method in contract.methods]
    for manifest in manifests:
        if isinstance(manifest, Problem):
            yield manifest
        elif [*manifest.methods] != texts[: len(manifest.methods)]:  # else they are the contract's own
            from .describe import describe  # 1 ms, for libraries with several plugins

            described = describe(manifest)
            if isinstance(described, Problem) and not check_abi(manifest):  # a newer ABI may have other types
                yield described


def check_file(file: LibraryFile, elf: ElfFile) -> list[Problem]:
    """Check whether the library can be loaded here, whatever plugins it has."""
    return [*check_host(), *_check_path(file), *check_system(elf, origin_of(file))]


def origin_of(file: LibraryFile) -> str | None:
    """Return the folder that $ORIGIN stands for in the file; None if it is pinned, since a copy in memory has none."""
    return None if file.pinned else os.path.dirname(file.loader_path)


def _check_path(file: LibraryFile) -> list[Problem]:
    """Refuse $ORIGIN, $LIB and $PLATFORM in the path: dlopen would expand them and open an unchecked file."""
    problems: list[Problem] = []
    if "$" in file.loader_path and any(token in file.loader_path for token in _TOKENS):
        problems.append(Problem.of("path-token", file.loader_path))
    if not maps_code(file.fd):
        problems.append(Problem.of("noexec", f"{file.absolute} on one that is mounted noexec"))
    return problems


def _choose(manifests: list[Manifest], contract: Contract, problems: list[Problem]) -> Manifest | None:
    same = [manifest for manifest in manifests if manifest.contract == contract.name]
    fitting = [manifest for manifest in same if manifest.version[0] == contract.major]
    wanted = f"{contract.name} {contract.major}"
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        found = f"{len(fitting)}: {', '.join(manifest.plugin for manifest in fitting)}"
        problems.append(Problem.of("manifest-twice", found, contract=wanted))
    elif same:
        problems.append(Problem.of("contract-major", ", ".join(map(str, same)), contract=wanted))
    elif manifests:
        problems.append(Problem.of("contract-other", f"one for {', '.join(map(str, manifests))}", contract=contract))
    return None


def check_abi(manifest: Manifest) -> list[Problem]:
    """Check that this host knows the ABI that the manifest says it needs."""
    major, minor = manifest.abi
    if major != ABI[0]:
        fix = "rebuild it with this host's hardpoint.h" if major < ABI[0] else ""
        return [Problem.of("abi-major", f"ABI {dotted(manifest.abi)}", fix=fix, major=ABI[0])]
    if minor > ABI[1]:
        return [Problem.of("abi-minor", f"ABI {dotted(manifest.abi)}", version=dotted(ABI))]
    return []


def _check_methods(manifest: Manifest, contract: Contract) -> list[Problem]:
    """Compare the methods' texts as an ordered prefix, since a contract grows by appending."""
    wanted, found = [method.text for method in contract.methods], list(manifest.methods)
    if wanted != found and sorted(wanted) == sorted(found):
        return [Problem.of("method-order", ", ".join(found), methods=", ".join(wanted))]
    if wanted[: len(found)] != found[: len(wanted)]:
        from .growth import inserted  # for the error alone, as below

        if problem := inserted(contract, manifest):
            return [problem]
    problems = [
        Problem.of("method-differs", has, index=index, method=want)
        for index, (want, has) in enumerate(zip(wanted, found, strict=False), start=1)
        if want != has
    ]
    minor = manifest.version[1]
    if lacking := [method for method in contract.methods[len(found) :] if method.since <= minor]:
        from .growth import missing

        problems += [missing(contract, method, manifest) for method in lacking]
    problems += [
        Problem.of("method-unknown", method.text, contract=manifest)
        for method in contract.methods[: len(found)]
        if method.since > minor
    ]
    if minor <= contract.minor:
        problems += [Problem.of("method-unknown", text, contract=contract) for text in found[len(wanted) :]]
    return problems
