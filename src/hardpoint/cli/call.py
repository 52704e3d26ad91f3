"""Call a method on each plugin.

Arguments are converted by the method's signature; bool takes true or false, bytes and bytearray take text as UTF-8.
Leading words that contain a slash or end in .so are files. With several files, each line is `name: result`, with
newlines and control characters escaped, as control characters are on a terminal in any case. If the first word is not
such a file, it is the name of a plugin, which is searched for where `hardpoint list` searches. With
--isolated, each plugin runs in a process of its own: its stdout and stderr are shown on stderr, and a crash or a
time-out is an error, with exit status 5.

examples:
  hardpoint call build/plugins/english.so greet World
  hardpoint call build/plugins/*.so transform 'Hello, World!'
  HARDPOINT_PATH=build/plugins hardpoint call english greet World
  hardpoint call counter.so add -- -5
  hardpoint call --isolated --timeout 2 --memory 256MiB build/plugins/english.so greet World
  hardpoint call --isolated --watch build/plugins/english.so greet World
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import CrashedError, HardpointError, one_line, printable
from ..isolation.options import Isolation, bytes_of
from ..loading import close, info, load_contract, reload
from .arguments import contracts_in, convert, find_method, find_plugin
from .contracts import named
from .interrupt import end_at_ctrl_c
from .options import seconds
from .output import UsageError, own_stdout, print_json, status_of, warn
from .watch import changes, check_watchfiles

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

    from ..definition.model import Method

_FILE = re.compile(r".*/.*|.+\.so(\.[0-9]+)*", re.DOTALL)


class _Outcome(NamedTuple):
    name: str
    result: Any
    changed: dict[str, bytearray]


def configure(parser: ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.usage = "hardpoint call [options] FILE...|NAME METHOD [ARG...]"
    parser.add_argument("words", nargs="+", metavar="FILE...|NAME METHOD [ARG...]",
                        help="plugins, a method, its arguments")  # fmt: skip
    parser.add_argument("--contract", type=named, metavar="MODULE:CLASS", help="the contract that the plugin must fit")
    parser.add_argument("--binding", choices=["native", "cffi", "ctypes"], help="the binding that calls the plugin")
    parser.add_argument("--config", metavar="TEXT", help="the config that is passed to the plugin's create")
    parser.add_argument(
        "--json", action="store_true", help="print a list of results as JSON, and what a plugin prints on stderr"
    )
    parser.add_argument("--isolated", action="store_true", help="run each plugin in a process of its own")
    parser.add_argument("--timeout", type=seconds, metavar="S",
                        help="seconds that loading and the call may take; needs --isolated")  # fmt: skip
    parser.add_argument("--memory", type=_size, metavar="SIZE",
                        help="memory that the plugin may take, such as 256MiB; needs --isolated")  # fmt: skip
    parser.add_argument("--watch", action="store_true",
                        help="when a file changes, reload it and call again, until Ctrl-C; needs --isolated")  # fmt: skip
    parser.add_argument("-v", "--verbose", action="store_true",
                        help="show the plugin's log on stderr, and the sandbox of an isolated plugin")  # fmt: skip


def run(arguments: Namespace) -> int:
    """Call every plugin, even if others fail; return the worst status."""
    files, rest = _split(arguments.words)
    if not rest:
        arguments.command.error("a method is missing: hardpoint call FILE...|NAME METHOD [ARG...]")
    _check_options(arguments)
    if arguments.json:
        own_stdout()
    if not arguments.isolated:
        end_at_ctrl_c()
    if arguments.verbose or arguments.isolated:
        from .logs import show_logs  # logging takes 5 ms

        show_logs(verbose=arguments.verbose)
    if not _FILE.fullmatch(files[0]):
        file, arguments.contract = find_plugin(files[0], rest[0], arguments.contract)
        files = [file]
    targets = [_Target(file, rest[0], rest[1:], arguments) for file in files]
    many = len(targets) > 1
    if not arguments.watch:
        return _call_each(targets, arguments, many=many)
    changed = changes(files)
    try:
        _call_each(targets, arguments, many=many)
        for paths in changed:
            reloaded = [target for target in targets if target.path in paths and target.reload()]
            _call_each(reloaded, arguments, many=many)
    finally:
        for target in targets:
            target.close()
    return 0  # not reached: Ctrl-C ends it


def _check_options(arguments: Namespace) -> None:
    if not arguments.isolated:
        for option in ("timeout", "memory", "watch"):
            if getattr(arguments, option):
                arguments.command.error(f"--{option} needs --isolated")
    if arguments.watch:
        check_watchfiles()


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    count = 1
    while count < len(words) and _FILE.fullmatch(words[count]):
        count += 1
    return words[:count], words[count:]


class _Target:
    """A plugin to call, and its arguments."""

    def __init__(self, path: str, name: str, words: list[str], arguments: Namespace) -> None:
        self.path = path
        self._name = name
        self._words = words
        self._arguments = arguments
        self._method: Method | None = None
        self._plugin: Any = None

    def call(self) -> _Outcome:
        """Call it, after loading it if need be."""
        try:
            if self._plugin is None:
                self._plugin = self._load()
            method = self._method
            assert method is not None  # noqa: S101 - _load found it
            values = convert(self.path, method, self._words)
            result = getattr(self._plugin, method.name)(*values)
        except (TypeError, ValueError, OverflowError) as error:
            raise UsageError(f"{self.path}: {error}", path=self.path) from error
        names = [parameter.name for parameter in method.parameters]
        changed = {key: value for key, value in zip(names, values, strict=True) if isinstance(value, bytearray)}
        return _Outcome(info(self._plugin).manifest.plugin, result, changed)

    def _load(self) -> Any:
        options, path = self._arguments, self.path
        contracts = [options.contract] if options.contract else contracts_in(path)
        contract, self._method = find_method(path, contracts, self._name)
        convert(path, self._method, self._words)  # errors in them are raised before any code of the plugin runs
        isolated: bool | Isolation = options.isolated
        if isolated:
            limits = {} if options.memory is None else {"memory": options.memory}
            isolated = Isolation(timeout=options.timeout, **limits)
        # A quick method would keep the GIL, which Ctrl-C needs.
        contract = contract._replace(methods=tuple(method._replace(quick=False) for method in contract.methods))
        plugin = load_contract(path, contract, config=options.config, binding=options.binding, isolated=isolated)
        self._show_isolation(plugin)
        return plugin

    def reload(self) -> bool:
        """Replace it by the changed file; warn and return False if that does not fit."""
        if self._plugin is None:  # no version has fitted so far
            return True
        try:
            reload(self._plugin)
        except HardpointError as error:
            warn(f"{error}\nthe old {self.path} stays in use")
            return False
        self._show_isolation(self._plugin)
        return True

    def _show_isolation(self, plugin: Any) -> None:
        isolation = info(plugin).isolation
        if isolation is not None and self._arguments.verbose:
            warn(f"{self.path}: runs in process {', '.join(map(str, isolation.workers))}")
            for line in isolation.sandbox:
                warn(one_line(f"{self.path}: {line}"))

    def close(self) -> None:
        """Close the plugin."""
        if self._plugin is not None:
            close(self._plugin)
            self._plugin = None


def _call_each(targets: list[_Target], arguments: Namespace, *, many: bool) -> int:
    """Call each and show its result, with its name if there are many; return the worst status."""
    results: list[dict[str, Any]] = []
    worst = 0
    for target in targets:
        try:
            outcome = target.call()
        except HardpointError as error:
            warn(_message(error))
            worst = max(worst, status_of(error))
            results.append({"file": target.path, "error": str(error)})
        else:
            results.append(
                {"file": target.path, "plugin": outcome.name, "result": outcome.result, "changed": outcome.changed}
            )
            if not arguments.json:
                _show(outcome, many=many)
        finally:
            if not arguments.watch:
                target.close()
    if arguments.json and results:
        print_json(results)
    sys.stdout.flush()
    return worst


def _message(error: Exception) -> str:
    """The message without a crashed plugin's last output, which was shown when it was written."""
    return str(error).partition("\n  | ")[0] if isinstance(error, CrashedError) else str(error)


def _show(outcome: _Outcome, *, many: bool) -> None:
    """Print a result as it is, but on one line if there are many, and without control characters on a terminal."""
    for name, value in (("", outcome.result), *outcome.changed.items()):
        if value is None:
            continue
        label = f"{outcome.name}: " if many else ""
        label += f"{name}: " if name else ""
        is_bytes = isinstance(value, (bytes, bytearray))
        if many or sys.stdout.isatty():
            text = value.decode(errors="backslashreplace") if is_bytes else _text(value)
            print(label + (one_line(text) if many else printable(text)))
        elif is_bytes:
            sys.stdout.flush()
            sys.stdout.buffer.write(label.encode() + value + b"\n")
        else:
            print(f"{label}{_text(value)}")


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(text: str) -> int:
    try:
        return bytes_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
