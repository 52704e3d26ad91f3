"""Check whether a library fits this host, and print every problem.

None of the plugin's code runs. Without --contract, a plugin is checked against the contract of its name that comes with
hardpoint, or else against its own manifest. The exit status is 1 if there are problems or the file is not a plugin.

examples:
  hardpoint check build/plugins/english.so
  hardpoint check scorer.so --contract scorer:Scorer
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import IncompatibleError, NotAPluginError, Problem, one_line
from ..file import open_library
from ..preflight.checks import check_file, preflight, read_library
from ..registry.manifest_contracts import contracts_from_manifests, prefer_bundled
from .contracts import named
from .output import coloured, print_json, print_problem

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..definition.model import Contract


class _Verdict(NamedTuple):
    plugin: str
    contract: str
    problems: tuple[Problem, ...]


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("file", metavar="FILE", help="the library")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="the contract to check it against")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")


def run(arguments: Namespace) -> int:
    """Check one file against one contract, or each of its plugins against its own."""
    return report(arguments.file, arguments.contract, as_json=arguments.json)


def report(path: str, contract: Contract | None, *, as_json: bool = False) -> int:
    """Print how a file fits, and return the exit status."""
    try:
        verdicts = _check(path, contract)
    except (NotAPluginError, IncompatibleError) as error:
        verdicts = [_Verdict("", "", error.problems)]
    fits = not any(problem.fatal for verdict in verdicts for problem in verdict.problems)
    if as_json:
        print_json({"file": path, "fits": fits, "plugins": [_as_dict(verdict) for verdict in verdicts]})
    else:
        for verdict in verdicts:
            _show(path, verdict)
    return 0 if fits else 1


def _check(path: str, contract: Contract | None) -> list[_Verdict]:
    with open_library(path) as file:
        elf, manifests = read_library(file)
        described_here, malformed = contracts_from_manifests(manifests)
        fits = [preflight(file, each) for each in ([contract] if contract else prefer_bundled(described_here))]
        if not fits:
            return [_Verdict("", "", (*check_file(file, elf), *malformed))]
    return [_Verdict(fit.plugin, str(fit.contract), fit.problems) for fit in fits]


def _as_dict(verdict: _Verdict) -> dict[str, Any]:
    return {**verdict._asdict(), "problems": [problem._asdict() for problem in verdict.problems]}


def _show(path: str, verdict: _Verdict) -> None:
    fatal = [problem for problem in verdict.problems if problem.fatal]
    state = (
        coloured("does not fit" if verdict.contract else "is not a plugin that fits", 31)
        if fatal
        else coloured("fits", 32)
    )
    whom = f"{verdict.contract or 'here'}{f' ({verdict.plugin})' if verdict.plugin else ''}"
    print(f"{one_line(path)}: {state} {whom}")
    for problem in verdict.problems:
        print_problem(problem)
