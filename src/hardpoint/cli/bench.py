"""Measure the cost of a plugin's calls, through each binding and isolated.

Two more rows are for comparison: floor is a loop in C over the vtable, and python a Python method that takes the same
arguments and only makes the same result. Every row is measured in separate processes, which take turns. The median of
all values is shown, and half the interquartile range as the spread. Without METHOD, every method of the contract is
measured, with small arguments. The exit status is 1 if a call failed.

examples:
  hardpoint bench build/plugins/english.so greet World
  hardpoint bench build/plugins/uppercase.so transform x --payload 1,1k,1m --threads 1,2
  hardpoint bench english.so --json before.json
  hardpoint bench english.so --compare before.json --plot change.svg
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import TYPE_CHECKING, Any

from ..benchmark.compare import compare, differences, read_result
from ..benchmark.measure import Settings, measure
from ..benchmark.plot import check_matplotlib, draw
from ..benchmark.process import WrongArgumentsError
from ..benchmark.report import notes, tables, title
from ..benchmark.workload import Case, Workload, with_payloads
from ..errors import printable
from ..registry.manifest_contracts import prefer_bundled
from .arguments import contracts_in, convert, find_method
from .contracts import named
from .options import check_writable, count, open_output
from .output import print_json, print_prose, print_table, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_SIZE = re.compile(r"([0-9]{1,10})([kmg]?)i?b?", re.IGNORECASE)
_SHIFTS = {"": 0, "k": 10, "m": 20, "g": 30}
_MOST = 1 << 30


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "hardpoint bench [options] FILE [METHOD [ARG...]]"
    parser.add_argument("words", nargs="+", metavar="FILE [METHOD [ARG...]]", help="a plugin, a method, its arguments")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="measure the plugin for this contract")
    parser.add_argument("--config", metavar="TEXT", help="the config for the plugin's create")
    parser.add_argument("--payload", type=_sizes, default=[], metavar="SIZE,...",
                        help="measure with texts and buffers of these sizes, such as 1,1k,1m")  # fmt: skip
    parser.add_argument("--threads", type=_counts, default=(), metavar="COUNT,...",
                        help="measure also calls by several threads together, such as 1,2")  # fmt: skip
    parser.add_argument("--rounds", type=count, metavar="COUNT", help="processes for each row (5; 2 if quick)")
    parser.add_argument("--quick", action="store_true", help="a rough result in a tenth of the time")
    parser.add_argument("--json", metavar="FILE", help="write the result as JSON; - for stdout, instead of the table")
    parser.add_argument("--plot", type=_picture, metavar="FILE.svg|png", help="plot the result (needs matplotlib)")
    parser.add_argument("--compare", metavar="OLD.json", help="show changes since that result, beyond the noise")


def run(arguments: Namespace) -> int:
    """Measure one library, and show, write, plot and compare the result."""
    try:
        workload = _workload(arguments)
        old = _prepare(arguments)
        result = _measure(workload, _settings(arguments))
    except WrongArgumentsError as error:
        warn(str(error))
        return 2
    _write(result, old, arguments)
    for failed in result["failed"]:
        warn(f"{failed['call']} is not measured: {failed['error']}")
    return 1 if result["failed"] else 0


# -- the workload ------------------------------------------------------------------------------------------------------


def _workload(arguments: Namespace) -> Workload:
    """The methods to measure. As for `hardpoint check`, contracts are classes where known: those say which is quick."""
    path, *rest = arguments.words
    described = contracts_in(path)
    contracts = [arguments.contract] if arguments.contract else prefer_bundled(described)
    if rest:
        contract, method = find_method(path, contracts, rest[0])
        contracts = [contract]
        cases = [Case(0, method, tuple(convert(path, method, rest[1:])))]
    else:
        present = {method.name for contract in described for method in contract.methods}
        cases = [
            Case(index, method, tuple(parameter.kind.new_sample() for parameter in method.parameters))
            for index, contract in enumerate(contracts)
            for method in contract.methods
            if method.name in present
        ]
    sized = [each for case in cases for each in with_payloads(case, arguments.payload)]
    return Workload(path, tuple(contracts), tuple(sized), arguments.config)


def _settings(arguments: Namespace) -> Settings:
    settings = Settings(rounds=2, values=3, seconds=0.002) if arguments.quick else Settings()
    return settings._replace(rounds=arguments.rounds or settings.rounds, threads=arguments.threads)


def _prepare(arguments: Namespace) -> dict[str, Any] | None:
    """Check the options' files now, not after minutes of measuring. Return the result to compare with, if any."""
    if arguments.plot:
        check_matplotlib()
    for path in filter(None, (arguments.plot, arguments.json if arguments.json != "-" else None)):
        check_writable(path)
    if arguments.compare:
        return read_result(arguments.compare)
    return None


def _measure(workload: Workload, settings: Settings) -> dict[str, Any]:
    terminal = sys.stderr.isatty()

    def progress(stage: str, detail: str = "") -> None:
        if terminal:
            print(f"\r\x1b[K{printable(f'{stage} {detail}')[:78]}", end="", file=sys.stderr, flush=True)
        elif not detail:
            warn(stage)

    try:
        return measure(workload, settings, progress)
    finally:
        if terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


# -- the output --------------------------------------------------------------------------------------------------------


def _write(result: dict[str, Any], old: dict[str, Any] | None, arguments: Namespace) -> None:
    if arguments.json and arguments.json != "-":
        with open_output(arguments.json) as file:
            file.write(f"{json.dumps(result, indent=1)}\n".encode())
    if arguments.plot:
        draw(result, arguments.plot)
    if arguments.json == "-":
        print_json(result)
    elif result["cases"]:
        _show(result, old)


def _show(result: dict[str, Any], old: dict[str, Any] | None) -> None:
    print_prose(title(result))
    for table in tables(result):
        print_table(table)
    remarks = notes(result)
    if old:
        for table in compare(old, result):
            print_table(table)
        remarks += differences(old, result)
    for remark in remarks:
        print()
        print_prose(f"{remark}.")


# -- types of options --------------------------------------------------------------------------------------------------


def _sizes(text: str) -> list[int]:
    sizes: list[int] = []
    for word in text.split(","):
        match = _SIZE.fullmatch(word.strip())
        size = int(match[1]) << _SHIFTS[match[2].lower()] if match else -1
        if not 0 <= size <= _MOST:
            raise argparse.ArgumentTypeError(f"sizes are bytes up to 1g, such as 1,1k,1m, not {text!r}")
        sizes.append(size)
    return sizes


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(map(count, text.split(","))))


def _picture(text: str) -> str:
    if not text.endswith((".svg", ".png")):
        raise argparse.ArgumentTypeError(f"a plot's file ends in .svg or .png, not {text!r}")
    return text
