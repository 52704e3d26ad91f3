"""Call a method on each plugin.

Arguments are converted by the method's signature; bool takes true or false, bytes and bytearray take text as UTF-8.
The leading words that have a slash or end in .so are the files. With several files each line is `name: result`.

examples:
  hardpoint call build/plugins/english.so greet World
  hardpoint call build/plugins/*.so transform 'Hello, World!'
  hardpoint call counter.so add -- -5
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import HardpointError
from ..loading import close, info, load_contract
from .arguments import UsageError, contracts_in, convert, find_method
from .contracts import named
from .output import print_json, status_of, warn

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

_FILE = re.compile(r".*/.*|.+\.so(\.[0-9]+)*")


class _Outcome(NamedTuple):
    name: str
    result: Any
    changed: dict[str, bytearray]


def configure(parser: ArgumentParser) -> None:
    """The command's arguments."""
    parser.usage = "hardpoint call [options] FILE... METHOD [ARG...]"
    parser.add_argument("words", nargs="+", metavar="FILE... METHOD [ARG...]", help="plugins, a method, its arguments")
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="hold the plugin against this contract")
    parser.add_argument("--binding", choices=["cffi", "ctypes"], help="what calls the plugin")
    parser.add_argument("--config", metavar="TEXT", help="what the plugin's create is given")
    parser.add_argument("--json", action="store_true", help="print a list of results as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the plugin's log on stderr")


def run(arguments: Namespace) -> int:
    """Call every plugin, whatever happens to the others; the worst status of all."""
    if arguments.verbose:
        import logging

        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(levelname)s: %(message)s")
    files, rest = _split(arguments.words)
    if not rest:
        arguments.command.error("a method is missing: hardpoint call FILE... METHOD [ARG...]")
    results: list[dict[str, Any]] = []
    worst = 0
    for file in files:
        try:
            outcome = _call(file, rest[0], rest[1:], arguments)
        except UsageError as error:
            warn(str(error))
            worst = max(worst, 2)
            results.append({"file": file, "error": str(error)})
        except HardpointError as error:
            warn(str(error))
            worst = max(worst, status_of(error))
            results.append({"file": file, "error": str(error)})
        else:
            results.append({"file": file, "plugin": outcome.name, "result": outcome.result, "changed": outcome.changed})
            if not arguments.json:
                _show(outcome, many=len(files) > 1)
    if arguments.json:
        print_json(results)
    return worst


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    count = 1
    while count < len(words) and _FILE.fullmatch(words[count]):
        count += 1
    return words[:count], words[count:]


def _call(path: str, name: str, words: list[str], arguments: Namespace) -> _Outcome:
    contract, method = find_method(path, [arguments.contract] if arguments.contract else contracts_in(path), name)
    values = convert(path, method, words)
    try:
        plugin = load_contract(path, contract, config=arguments.config, binding=arguments.binding)
        try:
            result = getattr(plugin, method.name)(*values)
        finally:
            close(plugin)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{path}: {error}") from error
    names = [parameter.name for parameter in method.parameters]
    changed = {key: value for key, value in zip(names, values, strict=True) if isinstance(value, bytearray)}
    return _Outcome(info(plugin).manifest.plugin, result, changed)


def _show(outcome: _Outcome, *, many: bool) -> None:
    for name, value in (("", outcome.result), *outcome.changed.items()):
        if value is None:
            continue
        label = f"{outcome.name}: " if many else ""
        label += f"{name}: " if name else ""
        if isinstance(value, (bytes, bytearray)):
            sys.stdout.flush()
            sys.stdout.buffer.write(label.encode() + value + b"\n")
        else:
            print(f"{label}{str(value).lower() if isinstance(value, bool) else value}")
