"""The command line: `hardpoint COMMAND ...`, one file a command."""

# PYTHON_ARGCOMPLETE_OK: what argcomplete's completion for all commands looks for.

from __future__ import annotations

import argparse
import io
import os
import sys
import warnings
from typing import TYPE_CHECKING

from ..errors import HardpointError
from ..version import __version__
from . import bench, build, call, check, doctor, header, include, inspect, lock, new, test
from . import list as list_
from .output import give_up, status_of, warn

if TYPE_CHECKING:
    from collections.abc import Sequence

_COMMANDS = (list_, call, inspect, check, doctor, test, bench, lock, new, build, header, include)
_EPILOG = """\
exit status:
  0  fine
  1  problems were found, or a call failed
  2  wrong usage
  3  not found
  4  not a plugin, or one that does not fit (to build, check, doctor and list that is a problem found: 1)
  5  an isolated plugin crashed, or took too long
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit status. Results go to stdout, all else to stderr, and never a traceback."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a path may be no text at all
    warnings.showwarning = lambda message, *_, **__: warn(f"warning: {message}")
    try:
        arguments = _parse(argv)
        status: int = arguments.run(arguments)
        sys.stdout.flush()
    except HardpointError as error:
        warn(str(error))
        return status_of(error)
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # whose reader has seen enough
            warn(str(error))
        give_up(sys.stdout)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; of `call` and `build`, options may stand between the words, which argparse alone does not allow.

    What is behind -- in `build` is the compiler's.
    """
    argv = sys.argv[1:] if argv is None else [*argv]  # `list` is a command here
    flags: list[str] = []
    if argv[:1] == ["build"] and "--" in argv:
        argv, flags = argv[: argv.index("--")], argv[argv.index("--") + 1 :]
    parser = _parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what might come next
        _complete(parser)
    if not argv:
        parser.print_help(sys.stderr)
        parser.exit(2)
    arguments, rest = parser.parse_known_args(argv, argparse.Namespace(flags=flags))
    if rest:
        words: list[str] | None = getattr(arguments, "words", None)
        if words is None or any(word.startswith("-") for word in rest):
            command: argparse.ArgumentParser = arguments.command
            command.error(f"unknown: {' '.join(rest)} (write -- before an argument that starts with a dash)")
        words += rest
    return arguments


def _complete(parser: argparse.ArgumentParser) -> None:
    try:
        from .completion import complete
    except ModuleNotFoundError:  # the shell has argcomplete, and this environment has not
        return
    complete(parser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hardpoint",
        description="Look at, check and call native plugins: C shared libraries with a versioned vtable.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hardpoint {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in _COMMANDS:
        name = module.__name__.rpartition(".")[2]
        description, _, example = (module.__doc__ or "").strip().partition("\n\n")
        command = commands.add_parser(
            name,
            help=description.splitlines()[0],
            description=description,
            epilog=example,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.configure(command)
        command.set_defaults(run=module.run, command=command)
    return parser
