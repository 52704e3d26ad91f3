"""Test a plugin with the conformance kit: hostile input, lack of memory, threads, leaks, and properties of the file.

The kit tests a plugin for any contract. Each check runs in a process of its own, so a crash or a hang is reported like
any other outcome. Without --contract, every plugin in the library is tested, as with `hardpoint check`. The exit status
is 1 if a check failed, crashed or timed out; warnings do not count. --list shows all checks.

examples:
  hardpoint test build/plugins/english.so
  hardpoint test exam.so --contract scorer:Scorer --config '{"wanted": 5}' --skip memory
  hardpoint test exam.so --only calls.random --seed 3141592653
  hardpoint test exam.so --junit report.xml
  gdb --args python -m hardpoint test exam.so --in-process --only calls.huge
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from .. import conformance
from ..errors import one_line, printable
from ..registry.manifest_contracts import prefer_bundled
from .arguments import contracts_in
from .contracts import named
from .options import cannot_write, check_writable, count, open_output, seconds
from .output import coloured, print_folded, print_json, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from ..conformance import Outcome, Report

_COLOURS = {"passed": 32, "failed": 31, "crashed": 31, "timed out": 31, "skipped": 90, "warning": 33}
_WIDTH = 20


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "hardpoint test [options] FILE"
    parser.add_argument("file", nargs="?", metavar="FILE", help="the library")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="test the plugin for this contract")
    parser.add_argument("--config", metavar="TEXT", help="the config for the plugin's create")
    parser.add_argument("--only", action="append", default=[], metavar="CHECK",
                        help="run only this check, topic (calls) or pattern (*.bounds); can be repeated")  # fmt: skip
    parser.add_argument("--skip", action="append", default=[], metavar="CHECK", help="skip it; can be repeated")
    parser.add_argument("--seed", type=int, help="seed of the random input; by default a new one each time")
    parser.add_argument("--timeout", type=seconds, metavar="S", help="time limit of a check in seconds (30)")
    parser.add_argument("--jobs", type=count, metavar="N", help="checks to run at once; by default one a CPU")
    parser.add_argument("--in-process", action="store_true",
                        help="run all checks in this process, for a debugger; a crash ends it")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the outcomes as JSON")
    parser.add_argument("--junit", metavar="FILE", help="write the outcomes as JUnit XML as well")
    parser.add_argument("--list", action="store_true", help="list the checks, and run none")


def run(arguments: Namespace) -> int:
    """Test every plugin in one library."""
    try:
        checks = conformance.choose(arguments.only, arguments.skip)
    except conformance.UnknownCheckError as error:
        warn(str(error))
        return 2
    if arguments.list:
        for check in checks:
            print_folded(f"{check.name:<{_WIDTH}} ", check.about)
        return 0
    if not arguments.file:
        arguments.command.error("a FILE is missing: hardpoint test FILE")
    if arguments.junit:
        check_writable(arguments.junit)
    start = time.monotonic()
    reports = _test(arguments)
    if arguments.junit:
        _write(arguments.junit, reports)
    if arguments.json:
        print_json([_as_dict(report) for report in reports])
    else:
        _summarize(reports, time.monotonic() - start)
    return 1 if any(report.bad for report in reports) else 0


def _test(arguments: Namespace) -> list[Report]:
    here, seed = contracts_in(arguments.file), arguments.seed
    reports: list[Report] = []
    for contract in [arguments.contract] if arguments.contract else prefer_bundled(here):
        if not arguments.json:
            print_folded("", one_line(f"{arguments.file}: {contract}"))
            sys.stdout.flush()
        reports.append(
            conformance.run(
                arguments.file, contract, config=arguments.config, only=arguments.only, skip=arguments.skip,
                seed=seed, timeout=arguments.timeout or conformance.TIMEOUT, jobs=arguments.jobs,
                in_process=arguments.in_process, on_outcome=_ignore if arguments.json else _show,
            )
        )  # fmt: skip
        seed = reports[0].seed  # the same for all
    return reports


def _write(path: str, reports: Sequence[Report]) -> None:
    from ..conformance import junit  # xml.etree takes 4 ms

    try:
        with open_output(path) as file:
            junit.write(file, reports)
    except OSError as error:
        raise cannot_write(path, error.strerror) from error


def _ignore(_: Outcome) -> None:
    """Print nothing: --json prints all outcomes at the end."""


def _show(outcome: Outcome) -> None:
    """Print one line, and below it the reason of a failure."""
    bad = outcome.status not in {"passed", "skipped"}
    about = outcome.about.rstrip(".") + (f" ({outcome.detail})" if outcome.detail and not bad else "")
    state = coloured(f"{outcome.status:<9}", _COLOURS[outcome.status])
    print_folded(f"  {state} {one_line(outcome.name):<{_WIDTH}} ", one_line(about))
    if bad:
        for line in outcome.detail.splitlines():
            print_folded("    ", printable(line))
        for line in outcome.output.splitlines():
            print_folded("    | ", printable(line))
    sys.stdout.flush()


def _summarize(reports: Sequence[Report], took: float) -> None:
    counts: Counter[str] = Counter(outcome.status for report in reports for outcome in report.outcomes)
    totals = ", ".join(f"{counts[status]} {status}" for status in _COLOURS if counts[status]) or "no check was run"
    print_folded("", f"{totals}; seed {reports[0].seed}; {took:.1f} s")


def _as_dict(report: Report) -> dict[str, object]:
    outcomes = [outcome._asdict() for outcome in report.outcomes]
    return {"file": report.path, "contract": report.contract, "seed": report.seed, "checks": outcomes}
