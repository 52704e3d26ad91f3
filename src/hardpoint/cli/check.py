"""Check whether a library fits this host, and print every problem.

None of the plugin's code runs: the dynamic linker is asked in a process of its own, which ends before it would run any.
Without --contract, a plugin is checked against the contract of its name that comes with hardpoint, or else against its
own manifest. The exit status is 1 if there are problems or a file is not a plugin, and 3 if a file does not exist.

examples:
  hardpoint check build/plugins/english.so
  hardpoint check scorer.so --contract scorer:Scorer
  hardpoint check plugins/*.so
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..elf.needed import needed
from ..elf.reader import ElfError
from ..errors import IncompatibleError, NotAPluginError, PluginNotFoundError, Problem, one_line
from ..file import open_library
from ..preflight.checks import ask_loader, check, check_file, origin_of, read_elf, read_library
from ..preflight.dependencies import loaded_before
from ..registry.manifest_contracts import contracts_from_manifests, prefer_bundled
from .contracts import named
from .output import coloured, print_folded, print_json, print_problem, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..definition.model import Contract


class _Verdict(NamedTuple):
    plugin: str
    contract: str
    problems: tuple[Problem, ...]


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="the libraries")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="the contract to check them against")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: Namespace) -> int:
    """Check each file against one contract, or each of its plugins against its own."""
    missing: list[PluginNotFoundError] = []
    outcomes: list[tuple[str, list[_Verdict]]] = []
    loaded: dict[str, str] = {}
    for path in arguments.files:
        try:
            outcomes.append((path, _outcome(path, arguments.contract, loaded)))
        except PluginNotFoundError as error:
            if len(arguments.files) == 1:
                raise
            missing.append(error)
    if arguments.json:
        files = [_as_json(path, verdicts) for path, verdicts in outcomes]
        several = {"fits": not missing and all(each["fits"] for each in files), "files": files}
        print_json(files[0] if len(arguments.files) == 1 else several)
    else:
        for path, verdicts in outcomes:
            _show_all(path, verdicts)
    for each in missing:
        warn(str(each))
    return 3 if missing else 0 if all(_fits(verdicts) for _, verdicts in outcomes) else 1


def report(path: str, contract: Contract | None) -> int:
    """Print how a file fits, and return the exit status."""
    verdicts = _outcome(path, contract, {})
    _show_all(path, verdicts)
    return 0 if _fits(verdicts) else 1


def _fits(verdicts: list[_Verdict]) -> bool:
    return not any(problem.fatal for verdict in verdicts for problem in verdict.problems)


def _outcome(path: str, contract: Contract | None, loaded: dict[str, str]) -> list[_Verdict]:
    """Check one file. `loaded` has the libraries that the files before it need, by name."""
    try:
        verdicts = _check(path, contract)
    except (NotAPluginError, IncompatibleError) as error:
        return [_Verdict("", "", error.problems)]
    clashes = _clashes(path, loaded)
    return [verdict._replace(problems=(*verdict.problems, *clashes)) for verdict in verdicts]


def _check(path: str, contract: Contract | None) -> list[_Verdict]:
    with open_library(path) as file:
        elf, manifests = read_library(file)
        described_here, undescribed = contracts_from_manifests(manifests)
        fits = check(file, [contract] if contract else prefer_bundled(described_here))
        verdicts = [_Verdict(fit.plugin, str(fit.contract), fit.problems) for fit in fits]
        if not fits:
            return [_Verdict("", "", (*check_file(file, elf), *ask_loader(file, elf), *undescribed))]
    shown = {problem for verdict in verdicts for problem in verdict.problems}
    others = tuple(problem for problem in undescribed if problem not in shown)
    return [*verdicts, *([_Verdict("", "", others)] if others and not contract else [])]


def _clashes(path: str, loaded: dict[str, str]) -> list[Problem]:
    """Warn of libraries of one name that differ from those of an earlier file: a process would load only the first."""
    problems: list[Problem] = []
    try:
        with open_library(path) as file:
            for library in needed(read_elf(file), origin_of(file)):
                first = loaded.setdefault(library.name, library.path) if library.path else None
                if first and library.path and not os.path.samefile(first, library.path):
                    problems.append(loaded_before(library.name, library.path, first))
    except (NotAPluginError, IncompatibleError, ElfError, OSError):  # reported by the checks themselves
        pass
    return problems


def _as_json(path: str, verdicts: list[_Verdict]) -> dict[str, Any]:
    plugins = [
        {**verdict._asdict(), "problems": [problem._asdict() for problem in verdict.problems]} for verdict in verdicts
    ]
    return {"file": path, "fits": _fits(verdicts), "plugins": plugins}


def _show_all(path: str, verdicts: list[_Verdict]) -> None:
    for verdict in verdicts:
        _show(path, verdict)


def _show(path: str, verdict: _Verdict) -> None:
    fatal = [problem for problem in verdict.problems if problem.fatal]
    state = (
        coloured("does not fit" if verdict.contract else "is not a plugin that fits", 31)
        if fatal
        else coloured("fits", 32)
    )
    whom = f"{verdict.contract or 'here'}{f' ({verdict.plugin})' if verdict.plugin else ''}"
    print_folded("", f"{one_line(path)}: {state} {whom}")
    for problem in verdict.problems:
        print_problem(problem)
