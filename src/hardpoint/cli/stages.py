"""Take a library through every stage of the checks before loading, one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from ..errors import IncompatibleError, NotAPluginError, PluginNotFoundError, Problem
from ..file import open_library
from ..preflight.checks import ask_loader, check, check_file, read_elf, read_library
from ..problems import ROWS
from ..registry.manifest_contracts import contracts_from_manifests, prefer_bundled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..definition.model import Contract
    from ..preflight.checks import Fit, Misfit

State = Literal["ok", "problem", "warning", "not reached"]


class StageResult(NamedTuple):
    """The result of one stage for this library."""

    name: str
    about: str
    outcome: State
    contract: str = ""
    """The contract that is checked; "" if the check is about the whole library."""
    problems: tuple[Problem, ...] = ()


_STEPS = {
    "file": "it is a readable regular file",
    "elf": "it is a complete 64-bit shared object, with code",
    "manifest": "it has manifests that describe its plugins",
    "integrity": "nothing in it would crash the dynamic linker",
}
"""The checks whose failure ends the rest, in order."""
_LIBRARY = {
    "host": "hardpoint runs on this machine and its libc",
    "path": "the dynamic linker opens its path unchanged, and may map its code",
    "machine": "it is for this machine, its processor's level and pages of this kernel's size",
    "libc": "it was built for this glibc or an older one",
    "memory": "it needs no executable stack, writable code or static thread-local storage",
    "dependencies": "the libraries that it needs are here, and have the versions that it needs",
    "linking": "the dynamic linker takes it, and finds every symbol; asked in a process of its own",
}
_PLUGIN = {
    "contract": "it has one plugin for the contract",
    "abi": "the plugin needs this host's ABI or an older one",
    "methods": "its methods are the contract's",
    "vtable": "its vtable is exported, has the right size, and a function in every slot",
}
_LOADING = {"loading": "the library in memory is the one that was checked; not tried here, since its code would run"}
STAGES = {**_STEPS, **_LIBRARY, **_PLUGIN, **_LOADING}
"""Every check in its order, with a sentence; problems name theirs as their `stage` (hardpoint.problems)."""


def check_library(path: str, contract: Contract | None) -> list[StageResult]:
    """StageResult one library, against a contract or against those of its own manifests, without running its code."""
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
                return _without_contract(passed, malformed, [*check_file(file, elf), *ask_loader(file, elf)])
            passed.append("manifest")
            fits = check(file, wanted)
    except PluginNotFoundError:
        return _stopped(passed, [Problem.of("file-missing", "none")])
    except (NotAPluginError, IncompatibleError) as error:
        return _stopped(passed, error.problems)
    return _in_order(fits, [] if contract else malformed)


def _in_order(fits: Sequence[Fit | Misfit], malformed: list[Problem]) -> list[StageResult]:
    problems = [*malformed, *(problem for problem in fits[0].problems if problem not in malformed)]
    foreign = {"elf-machine", "host-machine"} & {problem.code for problem in problems}
    # The dependencies and slots of a library for another machine cannot be checked.
    refused = {ROWS[problem.code].stage for problem in problems if problem.fatal}
    unreached = {"linking"} if refused & _LIBRARY.keys() else set[str]()  # unless it has problems itself
    checks = _spread({**_STEPS, **_LIBRARY}, problems, unreached | ({"dependencies"} if foreign else set()))
    for fit in fits:
        unreached = {"vtable"} if foreign else set[str]()
        if not fit.plugin:
            unreached = set(_PLUGIN)
        checks += _spread(_PLUGIN, fit.problems, unreached, str(fit.contract))
    return checks + _spread(_LOADING, [], {"loading"})


def _without_contract(passed: list[str], malformed: list[Problem], problems: list[Problem]) -> list[StageResult]:
    """Return the checks of a library with manifests of which none describes a plugin."""
    library = _spread(_LIBRARY, problems, set())
    stopped = _stopped(passed, malformed)
    return [*stopped[: len(_STEPS)], *library, *stopped[len(_STEPS) + len(library) :]]


def _stopped(passed: list[str], problems: Sequence[Problem]) -> list[StageResult]:
    """Return the checks where one of the first steps ended the rest."""
    checks = [StageResult(name, about, "ok" if name in passed else "not reached") for name, about in STAGES.items()]
    checks[len(passed)] = checks[len(passed)]._replace(outcome="problem", problems=tuple(problems))
    return checks


def _spread(
    abouts: dict[str, str], problems: Sequence[Problem], unreached: set[str], contract: str = ""
) -> list[StageResult]:
    """Return each check with its own problems; one that has any was reached."""
    checks: list[StageResult] = []
    for name, about in abouts.items():
        own = tuple(problem for problem in problems if ROWS[problem.code].stage == name)
        outcome: State = "not reached" if name in unreached else "ok"
        if own:
            outcome = "problem" if any(problem.fatal for problem in own) else "warning"
        checks.append(StageResult(name, about, outcome, contract, own))
    return checks
