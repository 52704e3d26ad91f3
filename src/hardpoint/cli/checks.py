"""A path -> every check that its library goes through before it is loaded, one by one, with its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import IncompatibleError, NotAPluginError, PluginNotFoundError, Problem
from ..file import open_library
from ..preflight.checks import check_file, preflight, read_elf, read_library
from ..registry.manifest_contracts import contracts_from_manifests, prefer_bundled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.model import Contract
    from ..preflight.checks import Fit, Misfit

Outcome = Literal["ok", "problem", "warning", "not reached"]


class Check(NamedTuple):
    """One check, and how it ended for this library."""

    name: str
    about: str
    outcome: Outcome
    contract: str = ""
    """The contract that it is about; "" if it is about the whole library."""
    problems: tuple[Problem, ...] = ()


_STEPS = {
    "file": "it is a regular file that can be read",
    "elf": "it is a whole 64-bit shared object, with code",
    "manifest": "it says in manifests who its plugins are",
    "soundness": "nothing in it would kill the dynamic loader",
}
"""The checks that end it all when they fail, in their order."""
_LIBRARY = {
    "host": "hardpoint runs on this machine and its libc",
    "path": "the dynamic loader takes its path as it stands",
    "machine": "it is for this machine, and for pages of this kernel's size",
    "libc": "it was built for glibc, and for none newer than this one",
    "memory": "it wants no executable stack and no scarce storage",
    "dependencies": "the libraries that it needs are here, and have what it needs",
}
_PLUGIN = {
    "contract": "it has one plugin for the contract",
    "abi": "the plugin needs no newer ABI than this host's",
    "methods": "its methods are the contract's",
    "vtable": "its vtable is exported, of the right size, and has a function in every slot",
}
_LOADING = {"loading": "what is in memory is what was checked; not tried here, since the plugin's code would run"}
PLACES = {
    code: name
    for name, codes in {
        "manifest": "manifest-malformed",
        "host": "host-libc host-machine",
        "path": "path-token",
        "machine": "elf-machine page-size",
        "libc": "libc-musl glibc-version",
        "memory": "executable-stack static-tls",
        "dependencies": "needed-missing needed-damaged version-missing sanitizer pinned-origin",
        "contract": "contract-other contract-major manifest-twice",
        "abi": "abi-major abi-minor",
        "methods": "method-order method-differs method-missing method-unknown",
        "vtable": "symbol-missing symbol-type symbol-size vtable-empty vtable-alignment vtable-size vtable-abi "
        "vtable-flags vtable-manifest manifest-not-copied slot-empty slot-not-code",
    }.items()
    for code in codes.split()
}
"""Which check a problem belongs to, by its code; those of the first steps are raised where they are found."""


def check_library(path: str, contract: Contract | None) -> list[Check]:
    """The checks of one library, against a contract or against those of its own manifests. None of its code runs."""
    passed: list[str] = []
    try:
        with open_library(path) as file:
            passed.append("file")
            read_elf(file)
            passed.append("elf")
            elf, manifests = read_library(file)
            contracts, malformed = contracts_from_manifests(manifests)
            wanted = [contract] if contract else prefer_bundled(contracts)
            if not wanted:
                return _without_contract(passed, malformed, check_file(file, elf))
            passed.append("manifest")
            fits = [preflight(file, each) for each in wanted]
    except PluginNotFoundError:
        missing = Problem("file-missing", "a file at that path", "none", "check the path, or build the plugin")
        return _stopped(passed, [missing])
    except (NotAPluginError, IncompatibleError) as error:
        return _stopped(passed, error.problems)
    return _in_order(fits, malformed)


def _in_order(fits: Sequence[Fit | Misfit], malformed: list[Problem]) -> list[Check]:
    problems = [*malformed, *(problem for problem in fits[0].problems if problem not in malformed)]
    foreign = {"elf-machine", "host-machine"} & {problem.code for problem in problems}
    # Of a library for another machine, neither its dependencies nor what fills the slots can be told.
    checks = _spread({**_STEPS, **_LIBRARY}, problems, {"dependencies"} if foreign else set())
    for fit in fits:
        unreached = {"vtable"} if foreign else set[str]()
        if not fit.plugin:
            unreached = set(_PLUGIN)
        checks += _spread(_PLUGIN, fit.problems, unreached, str(fit.contract))
    return checks + _spread(_LOADING, [], {"loading"})


def _without_contract(passed: list[str], malformed: list[Problem], problems: list[Problem]) -> list[Check]:
    """There are manifests, and none of them describes a plugin."""
    library = _spread(_LIBRARY, problems, set())
    stopped = _stopped(passed, malformed)
    return [*stopped[: len(_STEPS)], *library, *stopped[len(_STEPS) + len(library) :]]


def _stopped(passed: list[str], problems: Sequence[Problem]) -> list[Check]:
    """One of the first steps ended it all."""
    checks = [
        Check(name, about, "ok" if name in passed else "not reached")
        for name, about in {**_STEPS, **_LIBRARY, **_PLUGIN, **_LOADING}.items()
    ]
    checks[len(passed)] = checks[len(passed)]._replace(outcome="problem", problems=tuple(problems))
    return checks


def _spread(
    abouts: dict[str, str], problems: Sequence[Problem], unreached: set[str], contract: str = ""
) -> list[Check]:
    """Each check with the problems that belong to it; one that has any was reached."""
    checks: list[Check] = []
    for name, about in abouts.items():
        own = tuple(problem for problem in problems if PLACES[problem.code] == name)
        outcome: Outcome = "not reached" if name in unreached else "ok"
        if own:
            outcome = "problem" if any(problem.fatal for problem in own) else "warning"
        checks.append(Check(name, about, outcome, contract, own))
    return checks
